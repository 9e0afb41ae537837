"""ConStyle v2: the prompter, its training, and the networks that take its encoder."""

import json
import random
from copy import deepcopy

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from constyle_arch.archs import OriginConv, Prompter
from constyle_arch.checkpoints.loading import load_network, own_names
from constyle_arch.checkpoints.published_names import to_published
from constyle_arch.data.classified_image_dataset import ClassifiedImageDataset
from constyle_arch.errors import CheckpointError, DataError, OptionsError
from constyle_arch.losses import ClassDistanceLoss, ClassLoss
from constyle_arch.models.constyle_model import encoder_weights
from tests.golden.formula_weights import formula_input, formula_tensor
from tests.networks import GOLDEN, assert_agrees
from tests.resuming import assert_same
from tests.shared import paired_dataset, trained, training_options

CLASSES = 3
DEGRADATIONS = [
    {"type": "one_of", "choices": [[{"type": "noise", "sigma": [5, 50]}], [{"type": "jpeg"}]]}
]


def published(num_classes=1000):
    tensors = to_published(Prompter().state_dict(), "Prompter")
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    shapes["encoder_q.classifier.3.weight"] = (num_classes, 512)
    shapes["encoder_q.classifier.3.bias"] = (num_classes,)
    return {
        name: torch.from_numpy(np.asarray(formula_tensor(name, shape)))
        for name, shape in shapes.items()
    }


def test_prompter_agrees_with_the_release():
    golden = np.load(GOLDEN / "prompter.npz")
    network = Prompter()
    extras = {"encoder_k.stage1.0.0.weight": torch.zeros(16, 3, 3, 3), "queue": torch.zeros(128, 4)}
    network.load_state_dict(own_names({**published(), **extras, "queue_ptr": torch.zeros(1)}))
    image = torch.from_numpy(formula_input(golden["input_shape"], int(golden["input_seed"])))
    with torch.no_grad():
        codes, features, scores = network.eval()(image)
    for actual, name in ((codes.c1, "0_0"), (codes.c2, "0_1"), (scores, "2_0")):
        assert_agrees(actual, golden[f"encoder_q_{name}"])
    for number, feature in enumerate(features):
        measured = [feature.mean(), feature.std()]
        np.testing.assert_allclose(measured, golden[f"encoder_q_1_{number}"], rtol=1e-4)
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_835_416


def test_origin_conv_agrees_with_the_release(tmp_path):
    golden = np.load(GOLDEN / "origin_conv.npz")
    names = to_published(OriginConv().state_dict(), "OriginConv").items()
    weights = {name: torch.from_numpy(formula_tensor(name, tensor.shape)) for name, tensor in names}
    torch.save({"params": weights}, tmp_path / "release.pth")
    network = load_network(tmp_path / "release.pth")
    image = torch.from_numpy(formula_input(golden["input_shape"], int(golden["input_seed"])))
    with torch.no_grad():
        assert_agrees(network(image), golden["output"])
        assert network(image[..., :50, :41]).shape == (1, 3, 50, 41)
    assert sum(parameter.numel() for parameter in network.parameters()) == 5_032_995


def test_losses_of_classes_follow_their_equations():
    scores, clean = torch.randn(5, 4), torch.randn(5, 4, requires_grad=True)
    classes = torch.tensor([0, 3, 1, 1, 2])
    p, q = clean.softmax(1), scores.softmax(1)
    expected = -sum(q[row, number].log() for row, number in enumerate(classes)) / 5
    torch.testing.assert_close(ClassLoss()(scores, classes), expected)
    distance = ClassDistanceLoss(loss_weight=2)(scores.requires_grad_(), clean)
    torch.testing.assert_close(distance, 2 * (p * (p.log() - q.log())).sum() / 5)
    distance.backward()
    assert clean.grad is None
    assert scores.grad.abs().max() > 0


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Photographs of three classes, told apart by their colour."""
    folder = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(0)
    for number in range(CLASSES):
        (folder / f"class{number}").mkdir()
        for image in range(4):
            pixels = rng.integers(0, 100, (60 + image, 80, 3), dtype=np.uint8)
            pixels[..., number] += 120
            cv2.imwrite(str(folder / f"class{number}" / f"{image}.png"), pixels)
    return folder


def dataset_options(images, phase):
    options = {"name": phase, "type": "ClassifiedImageDataset", "dataroot_gt": str(images)}
    return {**options, "gt_size": 32, "degradations": DEGRADATIONS}


def test_samples_are_independent_parts_of_an_image_with_its_class(images):
    dataset = ClassifiedImageDataset({**dataset_options(images, "train"), "phase": "train"})
    assert len(dataset) == 12
    assert dataset.classes == ["class0", "class1", "class2"]
    for index in (0, 5, 11):
        random.seed(index)
        torch.manual_seed(index)
        sample = dataset[index]
        assert sample["class"] == index // 4
        assert sample["name"] == f"class{index // 4}/{index % 4}"
        assert sample["lq"].shape == sample["gt"].shape == (3, 32, 32)
        assert sample["gt"].mean(dim=(1, 2)).argmax() == 2 - sample["class"]  # RGB, written as BGR
        sides = sample["lq"], sample["gt"]
        details = [(side - side.mean(dim=(1, 2), keepdim=True)).ravel() for side in sides]
        assert np.corrcoef(*details)[0, 1] < 0.5
        random.seed(index)
        torch.manual_seed(index)
        assert torch.equal(dataset[index]["lq"], sample["lq"])


def test_measured_parts_are_the_middle_degraded_alike(images):
    options = dataset_options(images, "val") | {"phase": "val"}
    options["degradations"] = [{"type": "noise", "sigma": 5}]
    dataset = ClassifiedImageDataset(options)
    first, again = dataset[0], dataset[0]
    assert torch.equal(first["lq"], again["lq"])
    assert float((first["lq"] - first["gt"]).std()) * 255 == pytest.approx(5, rel=0.1)
    image = cv2.imread(str(images / "class0" / "0.png"))[..., ::-1]  # 60×80; 32 are cut out of 37
    reduced = cv2.resize(np.ascontiguousarray(image), (49, 37), interpolation=cv2.INTER_AREA)
    middle = reduced[2:34, 8:40] / 255
    np.testing.assert_allclose(first["gt"].permute(1, 2, 0).numpy(), middle, atol=1e-6)


def test_images_in_no_class_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(DataError, match=r"a\.png is in no folder of a class"):
        ClassifiedImageDataset({**dataset_options(tmp_path, "train"), "phase": "train"})


def first_stage(images, **train):
    options = training_options(images, total_iter=6, **train)
    options["model_type"] = "PrompterModel"
    options["network_g"] = {"type": "Prompter", "num_classes": CLASSES}
    loader = {"num_worker_per_gpu": 0, "batch_size_per_gpu": 4}
    options["datasets"] = {
        "train": dataset_options(images, "train") | loader,
        "val": dataset_options(images, "val"),
    }
    del options["train"]["pixel_opt"]
    options["train"]["class_opt"] = {"type": "ClassLoss"}
    options["train"]["kl_opt"] = {"type": "ClassDistanceLoss"}
    options["val"] = {"val_freq": 3, "save_img": False}
    return options


LOSSES = {"contrastive_opt": {"type": "InfoNCELoss"}, "class_opt": {"type": "ClassLoss"}}
LOSSES |= {"kl_opt": {"type": "ClassDistanceLoss"}}


@pytest.fixture
def prompter_model(make_model):
    def make(**train):
        network = {"type": "Prompter", "num_classes": CLASSES}
        losses = {"pixel_opt": None, **LOSSES, **train}
        model = make_model(network_g=network, model_type="PrompterModel", **losses)
        for module in (*model.net_g.modules(), *model.contrast.encoder.modules()):
            if isinstance(module, torch.nn.Dropout):
                module.p = 0
        return model

    return make


def test_a_step_computes_the_papers_losses_until_their_iterations(prompter_model):
    model = prompter_model(class_iter=1, kl_iter=2)
    for iteration in (1, 2, 3):
        net, key = deepcopy(model.net_g), deepcopy(model.contrast.encoder)
        for k, q in zip(key.parameters(), net.parameters(), strict=True):
            k.data = 0.999 * k.data + 0.001 * q.data
        lq, gt = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32)
        classes = torch.tensor([0, 2, 1, 1])
        queue = model.contrast.queue.clone()
        model.feed_data({"lq": lq, "gt": gt, "class": classes})
        model.optimize_parameters(iteration)
        prompt, clean = net(lq), key(gt)
        c2, k2 = prompt.codes.c2, clean.codes.c2
        logits = torch.cat([(c2 * k2).sum(1, keepdim=True), c2 @ queue], dim=1) / 0.07
        of_clean, of_degraded = (one.scores.log_softmax(1) for one in (clean, prompt))
        expected = {
            "l_contrastive": F.cross_entropy(logits, torch.zeros(4, dtype=torch.long)),
            "l_content": F.mse_loss(c2, k2),
            "l_class": F.cross_entropy(prompt.scores, classes),
            "l_kl": (of_clean.exp() * (of_clean - of_degraded)).sum() / 4,
        }
        logged = {name for name in model.get_current_log() if name.startswith("l_")}
        assert ("l_class" in logged, "l_kl" in logged) == (iteration <= 1, iteration <= 2)
        for name in logged & expected.keys():
            wanted = pytest.approx(expected[name].item(), rel=1e-3, abs=1e-6)
            assert model.get_current_log()[name] == wanted, name


@pytest.mark.parametrize("loss", ["class", "kl"])
def test_the_losses_of_classes_can_be_left_out(prompter_model, loss):
    model = prompter_model(**{f"{loss}_opt": None})
    images = torch.rand(2, 4, 3, 32, 32)
    model.feed_data({"lq": images[0], "gt": images[1], "class": torch.tensor([0, 2, 1, 1])})
    model.optimize_parameters(1)
    logged = {name for name in model.get_current_log() if name.startswith("l_")}
    assert logged == {"l_contrastive", "l_content", "l_style", "l_class", "l_kl"} - {f"l_{loss}"}


def test_classes_the_network_does_not_know_are_refused(prompter_model):
    model, images = prompter_model(), torch.rand(2, 3, 32, 32)
    with pytest.raises(OptionsError, match="num_classes is 3 and the images have more"):
        model.feed_data({"lq": images, "gt": images, "class": torch.tensor([0, 3])})
    with pytest.raises(DataError, match="gives no classes"):
        model.feed_data({"lq": images, "gt": images})


def outcome(home):
    files = [
        *sorted((home / "models").glob("net_g_[bl]*.pth")),
        home / "training_states" / "6.state",
    ]
    return {file.name: torch.load(file, weights_only=True) for file in files}


def trained_and_resumed(cwd, options, processes):
    """Train six iterations, then the last two again, as if the run had been cut off: both end
    alike."""
    cwd.mkdir()
    home = trained(options, cwd, processes=processes)
    whole = outcome(home)
    for file in ("models/net_g_latest.pth", "training_states/6.state"):
        (home / file).unlink()
    trained(options, cwd, "--auto_resume", processes=processes)
    assert_same(whole, outcome(home))
    return home


@pytest.mark.parametrize("processes", [1, 2])
def test_both_stages_train_and_resume_exactly(images, ten_pairs, tmp_path, processes):
    first = trained_and_resumed(tmp_path / "first", first_stage(images, class_iter=5), processes)
    history = json.loads((first / "models" / "metrics_history.json").read_text())
    assert [record["iter"] for record in history] == [3, 6]
    for record in history:
        assert 0 <= record["scores"]["top1"] <= record["scores"]["top5"] == 100  # of three classes

    prompter = first / "models" / "net_g_latest.pth"
    options = training_options(ten_pairs, total_iter=6, constyle_iter=0)
    options |= {"name": "second", "path": {"pretrain_constyle": str(prompter)}}
    data = options["datasets"]["train"]
    noise = {"type": "DegradedImageDataset", "dataroot_gt": str(images)}
    noise["degradations"] = [{"type": "noise", "sigma": [0, 50]}]
    sets = [{key: data.pop(key) for key in paired_dataset(ten_pairs)}, noise]
    data |= {"name": "mixed", "type": "MixedDataset", "sets": sets, "balanced": processes > 1}
    for loss in ("contrastive_opt", "content_opt", "style_opt"):
        del options["train"][loss]
    second = trained_and_resumed(tmp_path / "second", options, processes)
    weights = torch.load(second / "models" / "net_g_latest.pth", weights_only=True)["params_ema"]
    of_prompter = torch.load(prompter, weights_only=True)["params_ema"]
    encoder = {
        name.removeprefix("encoder."): one
        for name, one in weights.items()
        if name.startswith("encoder.")
    }
    assert {name.partition(".")[0] for name in of_prompter.keys() - encoder.keys()} == {
        "classifier"
    }
    for name, tensor in encoder.items():
        torch.testing.assert_close(tensor, of_prompter[name])
    # averaged, not those of a new network
    assert of_prompter["projections.0.1.running_mean"].abs().max() > 0


def test_constyle_is_taken_from_a_release_and_from_a_guided_network(make_model, tmp_path):
    torch.save({"params_ema": published()}, tmp_path / "release.pth")
    model = make_model(
        path={"pretrain_network_constyle": str(tmp_path / "release.pth")}, constyle_iter=0
    )
    expected = published()["encoder_q.stage2.1.0.weight"]
    for network in (model.net_g, model.net_g_ema):
        assert torch.equal(network.encoder.stages[1][2].weight, expected)
    torch.save(model.net_g.state_dict(), tmp_path / "guided.pth")
    assert torch.equal(encoder_weights(str(tmp_path / "guided.pth"))["stages.1.2.weight"], expected)
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="does not fit ConStyle"):
        encoder_weights(str(tmp_path / "other.pth"))

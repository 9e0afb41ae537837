"""One training step does what the paper says, against a second way of computing it."""

import re
from copy import deepcopy

import numpy as np
import pytest
import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch.nn import functional as F

from constyle_arch.archs.constyle_arch import Codes, ConStyle
from constyle_arch.checkpoints.published_names import from_published
from constyle_arch.errors import RunError
from constyle_arch.losses import ContentLoss, FFTLoss, InfoNCELoss, PSNRLoss, StyleLoss
from constyle_arch.losses.options import by_log_name
from constyle_arch.models.momentum_contrast import MomentumContrast, contrast_health
from constyle_arch.models.restoration_model import RestorationModel
from constyle_arch.options.schema import Validation
from tests.golden.formula_weights import formula_input
from tests.processes import run_command
from tests.shared import (
    BATCH,
    GOLDEN,
    QUEUE,
    SMALL_NAFNET,
    TINY,
    batch,
    equal,
    everything,
    published_state_dict,
    training_options,
    write_options,
)


class ReferenceTraining:
    """SPEC in plain tensor arithmetic, sharing with the model under test only the network's forward
    pass."""

    def __init__(self, model):
        self.net = deepcopy(model.net_g)
        self.ema = {name: tensor.clone() for name, tensor in model.net_g_ema.state_dict().items()}
        self.key_encoder = deepcopy(self.net.encoder)
        self.queue = model.contrast.queue.clone()
        self.pointer = 0
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=0.001, weight_decay=0.0001)

    def step(self, lq, gt):
        with torch.no_grad():
            for key, query in zip(
                self.key_encoder.parameters(), self.net.encoder.parameters(), strict=True
            ):
                key.copy_(0.999 * key + 0.001 * query)
            positive = self.key_encoder(gt).codes.c2
        restored, (c1, c2) = self.net(lq, return_codes=True)
        about_to_leave = [(self.pointer + i) % QUEUE for i in range(BATCH)]
        after_those = [(self.pointer + BATCH + i) % QUEUE for i in range(BATCH)]
        n2 = torch.stack([self.queue[:, i] for i in about_to_leave])
        n1 = torch.stack([self.queue[:, i] for i in after_those])

        contrastive = 0
        for query, key in zip(c2, positive, strict=True):
            scores = (
                torch.stack([query @ key, *(query @ self.queue[:, i] for i in range(QUEUE))]) / 0.07
            )
            contrastive = contrastive + (scores.logsumexp(dim=0) - scores[0]) / BATCH
        content = ((c2 - positive) ** 2).sum() / (BATCH * 128)
        style = 0
        for i in range(BATCH):
            for j in range(BATCH):
                for code, negative in ((c1, n1), (c2, n2)):
                    difference = (code[i] @ code[j] - negative[i] @ negative[j]) / (BATCH * 128)
                    style = style - difference**2 / BATCH**2
        losses = {
            "l_pix": (restored - gt).abs().mean(),
            "l_contrastive": contrastive,
            "l_content": content,
            "l_style": style,
        }
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        self.optimizer.step()
        for name, tensor in self.net.state_dict().items():
            averaged = 0.9 * self.ema[name] + 0.1 * tensor if tensor.is_floating_point() else tensor
            self.ema[name] = averaged.clone()
        for i, code in zip(about_to_leave, c2.detach(), strict=True):
            self.queue[:, i] = code
        self.pointer = (self.pointer + BATCH) % QUEUE
        return {name: loss.item() for name, loss in losses.items()}


def test_training_steps_equal_an_independent_computation(make_model):
    model = make_model(contrast={"queue_size": QUEUE, "normalize": False})
    for module in (model.net_g, model.net_g_ema, model.contrast):
        # AdamW's first steps are signs of gradients: float32 rounding would decide some of them
        module.double()
    reference = ReferenceTraining(model)
    for iteration in range(1, 5):  # 20 codes: once and a half around the queue
        images = {name: image.double() for name, image in batch(iteration).items()}
        model.feed_data(images)
        model.optimize_parameters(iteration)
        losses = reference.step(**images)

        logged = model.get_current_log()
        for name, loss in losses.items():
            assert logged[name] == pytest.approx(loss, rel=1e-9), (iteration, name)
        assert int(model.contrast.pointer) == reference.pointer
        torch.testing.assert_close(model.contrast.queue, reference.queue)
        for actual, expected in (
            (model.net_g, reference.net.state_dict()),
            (model.contrast.encoder, reference.key_encoder.state_dict()),
            (model.net_g_ema, reference.ema),
        ):
            for name, tensor in actual.state_dict().items():
                torch.testing.assert_close(
                    tensor, expected[name], rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
                )


@pytest.mark.parametrize("size", [16, 20])
def test_query_and_positive_see_the_same_image_alike(make_model, size):
    model = make_model()
    image = torch.rand(BATCH, 3, size, size)
    model.feed_data({"lq": image, "gt": image})
    model.optimize_parameters(1)
    torch.testing.assert_close(model.codes[0].c2, model.positives[0], rtol=1e-3, atol=1e-3)


def test_normalised_contrast_trains_on_normalised_codes(make_model):
    model = make_model(contrast={"queue_size": QUEUE})
    queue = model.contrast.queue.clone()
    model.feed_data(batch(1))
    model.optimize_parameters(1)
    query, positive = model.codes[0].c2, model.positives[0]
    for code in (*model.codes[0], positive):
        torch.testing.assert_close(code.norm(dim=1), torch.ones(BATCH))
    logits = torch.cat([(query * positive).sum(1, keepdim=True), query @ queue], dim=1) / 0.07
    loss = F.cross_entropy(logits, torch.zeros(BATCH, dtype=torch.long))
    assert model.get_current_log()["l_contrastive"] == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(model.contrast.queue[:, :BATCH], query.detach().T)


def test_mixup_mixes_what_the_step_trains_on(make_model):
    model = make_model(mixing_augs={"mixup": True, "mixup_beta": 1.2, "use_identity": False})
    images = batch(1)
    restored = []
    model.net_g.register_forward_hook(lambda network, lq, output: restored.append(output[0]))
    model.feed_data(images)
    model.optimize_parameters(1)
    assert not torch.equal(model.lq, images["lq"])
    assert not torch.equal(model.gt, images["gt"])
    assert model.get_current_log()["l_pix"] == pytest.approx(
        (restored[0] - model.gt).abs().mean().item()
    )


def snapshot(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(before, module):
    return {
        name
        for name, tensor in module.state_dict().items()
        if not torch.equal(tensor, before[name])
    }


def test_constyle_is_frozen_after_constyle_iter(make_model):
    model = make_model(constyle_iter=2, ema_decay=0)
    for iteration in (1, 2):
        model.feed_data(batch(iteration))
        model.optimize_parameters(iteration)
    assert set(model.get_current_log()) >= {"l_pix", "l_contrastive", "l_content", "l_style"}

    network, contrast = snapshot(model.net_g), snapshot(model.contrast)
    for iteration in (3, 4):
        model.feed_data(batch(iteration))
        model.optimize_parameters(iteration)
        model.test()  # a validation in between must not thaw it
    assert not changed(contrast, model.contrast)
    moved = changed(network, model.net_g)
    assert moved
    assert not [name for name in moved if name.startswith("encoder.")]
    assert "preprocess.weight" in moved
    assert set(model.get_current_log()) == {"l_pix"}


def test_constyle_trains_the_whole_run_by_default(make_model):
    model = make_model(total_iter=3)
    before = snapshot(model.contrast)
    for iteration in (1, 2, 3):
        encoder = snapshot(model.net_g.encoder)
        model.feed_data(batch(iteration))
        model.optimize_parameters(iteration)
        assert changed(encoder, model.net_g.encoder)
    assert changed(before, model.contrast) >= {"queue", "pointer", "encoder.stages.0.0.weight"}


@pytest.mark.parametrize("missing", ["pixel_opt", "contrastive_opt", "content_opt", "style_opt"])
def test_each_loss_may_be_left_out(make_model, missing):
    model = make_model(**{missing: None})
    model.feed_data(batch(1))
    model.optimize_parameters(1)
    names = {
        "pixel_opt": "l_pix",
        "contrastive_opt": "l_contrastive",
        "content_opt": "l_content",
        "style_opt": "l_style",
    }
    logged = {name for name in model.get_current_log() if name.startswith("l_")}
    assert logged == set(names.values()) - {names[missing]}


def optimized_once(model, **more):
    model.feed_data({**batch(1), **more})
    model.optimize_parameters(1)
    return {name: parameter.grad for name, parameter in model.net_g.named_parameters()}


@pytest.mark.parametrize("kind", ["ConStyleRestormer", "ConStyleNAFNet", "ConStyleMaxim"])
@pytest.mark.parametrize(
    "ablation",
    [{"use_code": False}, {"use_features": False}, {"use_code": False, "use_features": False}],
)
def test_network_without_code_or_features_trains(make_model, kind, ablation):
    network = {"type": kind, "dim": 8, "num_blocks_bottleneck": 1, **ablation}
    if kind != "ConStyleMaxim":
        network |= {"num_blocks_down": [1, 1, 1], "num_blocks_up": [1, 1, 1]}
    gradients = optimized_once(make_model(network_g=network))
    assert all(gradient is not None for gradient in gradients.values())
    assert ("project_code.weight" in gradients) == ablation.get("use_code", True)
    assert ("project_features.0.0.weight" in gradients) == ablation.get("use_features", True)


def test_code_and_features_reach_the_image_only_where_they_are_used():
    for ablation, linked in (({}, True), ({"use_code": False, "use_features": False}, False)):
        network = TINY["ConStyleNAFNet"](**ablation).train()
        image = torch.rand(2, 3, 16, 16)
        assert (
            torch.autograd.grad(
                network(image).sum(), network.encoder.stages[0][0].weight, allow_unused=True
            )[0]
            is not None
        ) == linked


def test_positive_may_be_another_crop_of_the_degraded_image(make_model):
    model = make_model(contrast={"queue_size": 24, "positive": "degraded", "normalize": False})
    other = torch.rand(BATCH, 3, 16, 16)
    encoder = deepcopy(model.contrast.encoder)
    optimized_once(model, lq_other=other)
    torch.testing.assert_close(model.positives[0], encoder(other).codes.c2)


@pytest.mark.parametrize("enqueue", ["query", "key"])
def test_queue_takes_codes_of_queries_or_of_keys(make_model, enqueue):
    model = make_model(contrast={"queue_size": 24, "enqueue": enqueue, "positive": "degraded"})
    optimized_once(model, lq_other=torch.rand(BATCH, 3, 16, 16))
    query, key = model.codes[0].c2, model.positives[0]
    assert not torch.allclose(query, key)
    torch.testing.assert_close(
        model.contrast.queue[:, :BATCH].T, key if enqueue == "key" else query
    )


def test_loss_weights_scale_the_losses():
    codes = Codes(torch.randn(4, 128), torch.randn(4, 128))
    others = Codes(torch.randn(4, 128), torch.randn(4, 128))
    queue = torch.randn(128, 10)
    for loss, inputs in (
        (InfoNCELoss, (codes.c2, others.c2, queue)),
        (ContentLoss, (codes.c2, others.c2)),
        (StyleLoss, (codes, others)),
    ):
        torch.testing.assert_close(loss(loss_weight=2.5)(*inputs), 2.5 * loss()(*inputs))


@pytest.mark.parametrize("batch_size", [1, 4, 7, 10, 23])
def test_any_batch_size_goes_with_any_queue(batch_size):
    contrast = MomentumContrast(ConStyle(), queue_size=7)
    ring = [contrast.queue[:, i].clone() for i in range(7)]
    pointer = 0
    for _ in range(5):
        negatives = contrast.negatives(batch_size)
        expected_c2 = [ring[(pointer + i) % 7] for i in range(batch_size)]
        expected_c1 = [ring[(pointer + batch_size + i) % 7] for i in range(batch_size)]
        torch.testing.assert_close(negatives.c2, torch.stack(expected_c2))
        torch.testing.assert_close(negatives.c1, torch.stack(expected_c1))
        codes = torch.randn(batch_size, 128)
        contrast.enqueue(codes)
        for code in codes:
            ring[pointer] = code
            pointer = (pointer + 1) % 7
        torch.testing.assert_close(contrast.queue, torch.stack(ring, dim=1))
        assert int(contrast.pointer) == pointer


def test_normalised_codes_have_unit_length_everywhere():
    contrast = MomentumContrast(ConStyle(), queue_size=6)
    torch.testing.assert_close(contrast.queue.norm(dim=0), torch.ones(6))
    torch.testing.assert_close(
        contrast.positive(torch.rand(3, 3, 16, 16)).norm(dim=1), torch.ones(3)
    )
    prepared = contrast.prepared(Codes(torch.randn(3, 128), torch.randn(3, 128)))
    torch.testing.assert_close(prepared.c1.norm(dim=1), torch.ones(3))


def test_published_codes_are_not_normalised():
    codes = Codes(torch.randn(3, 128), torch.randn(3, 128))
    assert MomentumContrast(ConStyle(), queue_size=6, normalize=False).prepared(codes) is codes


def test_contrast_health_equals_its_definition():
    query, positive, queue = torch.randn(6, 128), torch.randn(6, 128), torch.randn(128, 9)
    health = contrast_health(query, positive, queue)
    cosines = [F.cosine_similarity(q, n, dim=0) for q in query for n in queue.T]
    torch.testing.assert_close(health["cos_negatives"], torch.stack(cosines).mean())
    diagonal = [F.cosine_similarity(q, k, dim=0) for q, k in zip(query, positive, strict=True)]
    torch.testing.assert_close(health["cos_positive"], torch.stack(diagonal).mean())
    nearer = [q @ k > max(q @ n for n in queue.T) for q, k in zip(query, positive, strict=True)]
    assert health["contrast_acc"] == pytest.approx(sum(nearer) / 6)
    assert contrast_health(queue[:, :6].T, queue[:, :6].T * 2, queue)["contrast_acc"] == 1
    assert contrast_health(query[:1].expand(6, -1), positive, queue)["code_std"] < 1e-6


def test_contrast_is_resumed_and_the_network_loads_strictly_for_test(make_model, tmp_path):
    model = make_model()
    for iteration in (1, 2):
        model.feed_data(batch(iteration))
        model.optimize_parameters(iteration)
    model.save(epoch=0, current_iter=2)

    resumed = make_model(seed=1)
    resumed.resume_training(torch.load(tmp_path / "2.state", weights_only=True))
    assert not changed(snapshot(model.contrast), resumed.contrast)

    checkpoint = torch.load(tmp_path / "net_g_2.pth", weights_only=True)
    for key, net in (("params", model.net_g), ("params_ema", model.net_g_ema)):
        resumed.net_g.load_state_dict(checkpoint[key], strict=True)
        assert not changed(snapshot(net), resumed.net_g)


def test_gradients_are_clipped_to_the_norm_asked_for(make_model):
    model = make_model(grad_clip_norm=1e-3)
    model.feed_data(batch(1))
    model.optimize_parameters(1)
    gradients = [
        parameter.grad.norm()
        for parameter in model.net_g.parameters()
        if parameter.grad is not None
    ]
    assert torch.stack(gradients).norm() == pytest.approx(1e-3, rel=1e-3)
    assert model.get_current_log()["grad_norm"] > 1e-3


def test_three_steps_reproduce_the_golden_training(make_model):
    """ConStyle-NAFNet (dim 16) from the formula weights, as the authors' code trained it.

    In float64: AdamW's first steps are signs of small gradients, which float32's rounding turns
    here and there.
    """
    golden = np.load(GOLDEN / "golden.npz")
    network = {"type": "ConStyleNAFNet", **SMALL_NAFNET}
    optimizer = {"type": "AdamW", "lr": 3e-4, "weight_decay": 1e-4, "betas": [0.9, 0.999]}
    contrast = {"queue_size": 96, "normalize": False}
    model = make_model(network_g=network, optim_g=optimizer, contrast=contrast, grad_clip_norm=1e9)
    published = published_state_dict("ConStyleNAFNet_small_train")
    model.net_g.load_state_dict(from_published(published), strict=True)
    # the recorded run starts from a copy
    model.contrast.encoder.load_state_dict(model.net_g.encoder.state_dict())
    model.contrast.queue.copy_(published["ConStyle.queue"])
    for module in (model.net_g, model.net_g_ema, model.contrast):
        module.double()

    lq_seed, gt_seed = golden["train/lq_gt_seed"]
    for step, expected in enumerate(golden["train/losses_pix_con_content_style_gradnorm_ptr"]):
        images = (
            torch.from_numpy(formula_input((4, 3, 32, 32), seed + step)).double()
            for seed in (lq_seed, gt_seed)
        )
        model.feed_data(dict(zip(("lq", "gt"), images, strict=True)))
        model.optimize_parameters(step + 1)
        logged = model.get_current_log()
        names = ("l_pix", "l_contrastive", "l_content", "l_style", "grad_norm")
        tolerance = 1e-4 if step == 0 else 2e-3
        assert [logged[name] for name in names] == pytest.approx(
            expected[:5].tolist(), rel=tolerance
        ), step
        assert int(model.contrast.pointer) == expected[5]

    model.net_g.eval()
    model.contrast.encoder.eval()
    image = torch.from_numpy(formula_input((1, 3, 32, 32), 7)).double()
    with torch.no_grad():
        actual = {
            "queue_after": model.contrast.queue,
            "output_after": model.net_g(image),
            "key_code2_after": model.contrast.encoder(image).codes.c2,
        }
    for name, tensor in actual.items():
        expected = torch.from_numpy(golden[f"train/{name}"])
        assert (tensor - expected).abs().max() < 2e-3 * expected.std(), name


@pytest.mark.parametrize("where", ["lq", "gt"])
def test_step_that_is_not_finite_changes_nothing_and_is_counted(make_model, where, caplog):
    model = make_model(contrast={"queue_size": QUEUE})
    model.feed_data(batch(1))
    model.optimize_parameters(1)
    before = everything(model)
    broken = batch(2)
    broken[where][0, 0, 0, 0] = float("nan")
    model.feed_data(broken)
    model.optimize_parameters(2)
    assert equal(everything(model), before)
    assert model.non_finite.total == model.non_finite.in_a_row == 1
    assert "Iteration 2 was skipped: its loss or gradient is not finite (l_pix nan" in caplog.text
    model.feed_data(batch(3))
    model.optimize_parameters(3)
    assert not equal(everything(model), before)
    assert (model.non_finite.total, model.non_finite.in_a_row) == (1, 0)


def test_run_stops_after_some_steps_in_a_row_that_are_not_finite(make_model):
    model = make_model(contrast={"queue_size": QUEUE}, max_skipped_steps=3)
    broken = batch(2)
    broken["gt"][:] = float("inf")
    for iteration in (1, 2):
        model.feed_data(broken)
        model.optimize_parameters(iteration)
    model.feed_data(broken)
    with pytest.raises(
        RunError,
        match=r"not finite in 3 steps in a row, the last one iteration 3 .*checkpoints saved",
    ):
        model.optimize_parameters(3)


def test_what_the_last_good_step_left_is_saved_though_later_ones_were_not_finite(
    make_model, tmp_path
):
    model = make_model(contrast={"queue_size": QUEUE}, total_iter=4)
    model.feed_data(batch(1))
    model.optimize_parameters(1)
    good = deepcopy(model.net_g.state_dict())
    broken = batch(2)
    broken["gt"][:] = float("inf")
    for iteration in (2, 3, 4):
        model.feed_data(broken)
        model.optimize_parameters(iteration)
        if iteration == 2:
            model.save(epoch=0, current_iter=2)
    with pytest.raises(
        RunError, match=r"diverged: its last 3 steps were not finite.* iteration 1 left it"
    ):
        model.save(epoch=0, current_iter=-1)
    for name in ("net_g_2.pth", "net_g_latest.pth"):
        assert equal(torch.load(tmp_path / name, weights_only=True)["params"], good)
    resumed = make_model(contrast={"queue_size": QUEUE})
    resumed.resume_training(torch.load(tmp_path / "2.state", weights_only=True))
    # so that a resumed run stops where it would have stopped
    assert resumed.non_finite.in_a_row == 1


def test_single_step_at_the_end_that_was_not_finite_does_not_fail_the_run(make_model, tmp_path):
    model = make_model(contrast={"queue_size": QUEUE}, total_iter=1)
    broken = batch(1)
    broken["gt"][:] = float("inf")
    model.feed_data(broken)
    model.optimize_parameters(1)
    model.save(epoch=0, current_iter=-1)
    assert (tmp_path / "net_g_latest.pth").is_file()


def test_memory_that_runs_out_names_what_to_lower(make_model, monkeypatch):
    model = make_model(contrast={"queue_size": QUEUE})

    def without_memory(*_):
        raise RuntimeError(
            "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."
        )

    monkeypatch.setattr(model, "compute_losses", without_memory)
    model.feed_data(batch(1))
    with pytest.raises(
        RunError,
        match=r"iteration 1\. Lower datasets\.train\.batch_size_per_gpu \(4\) or .*gt_size \(16\)",
    ):
        model.optimize_parameters(1)


def test_old_checkpoints_are_removed_and_the_newest_can_be_resumed_from(make_model, tmp_path):
    model = make_model()
    model.opt["logger"]["keep_checkpoints"] = 2
    # 9 is of an earlier, longer run
    for name in (
        "net_g_best.pth",
        "net_g_latest.pth",
        "net_g_9.pth",
        "9.state",
    ):
        (tmp_path / name).touch()
    for iteration in (2, 4, 5, 6):
        model.save(0, iteration)
        assert (tmp_path / f"{iteration}.state").is_file()
    kept = {path.name for path in tmp_path.iterdir() if path.is_file()}
    numbered = {
        name for iteration in (5, 6, 9) for name in (f"net_g_{iteration}.pth", f"{iteration}.state")
    }
    assert kept == {"net_g_best.pth", "net_g_latest.pth", *numbered}
    assert torch.load(tmp_path / "6.state")["iter"] == 6


def test_images_to_measure_on_are_restored_in_tiles_where_that_is_asked_for(make_model):
    model, image = make_model(), torch.rand(1, 3, 80, 90)
    outputs = []
    for options in ({}, {"tile": 128}, {"tile": 64, "tile_overlap": 8}, {"amp": "bf16"}):
        model.val = Validation.read({"save_img": False, **options})
        model.feed_data({"lq": image})
        model.test()
        outputs.append(model.output)
        assert model.net_g.training
    torch.testing.assert_close(outputs[1], outputs[0])
    for other in outputs[2:]:
        assert not torch.equal(other, outputs[0])
    assert all(output.shape == image.shape for output in outputs)


def test_model_of_ones_own_has_options_of_its_own(make_model):
    @MODEL_REGISTRY.register()
    class ModelOfOnesOwn(RestorationModel):
        pass

    model = make_model(
        model_type="ModelOfOnesOwn", own_gain=2, contrast={"own": 1, "momentum": 0.5}
    )
    assert (model.opt["train"]["own_gain"], model.opt["train"]["contrast"]["own"]) == (2, 1)
    assert (model.train.ema_decay, model.train.contrast.momentum) == (0.9, 0.5)


PLUGIN = """
import torch
from basicsr.utils.registry import LOSS_REGISTRY

@LOSS_REGISTRY.register()
class MeanColorLoss(torch.nn.Module):
    def __init__(self, loss_weight=1.0):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, restored, clean):
        return self.loss_weight * (restored - clean).mean(dim=(2, 3)).square().mean()

@LOSS_REGISTRY.register()
class CodeNormLoss(torch.nn.Module):
    TAKES = ("query",)

    def forward(self, query):
        return query.square().mean()
"""


def test_losses_of_a_plugin_are_built_added_and_logged_under_their_names(tmp_path, ten_pairs):
    """Whatever they are called; those of the contrast as long as ConStyle trains."""
    (tmp_path / "losses.py").write_text(PLUGIN)
    options = training_options(ten_pairs, total_iter=2, constyle_iter=1)
    options["train"] |= {
        "color_opt": {"type": "MeanColorLoss", "loss_weight": 3},
        "norm_opt": {"type": "CodeNormLoss"},
    }
    file = write_options(tmp_path / "run.yml", options)
    result = run_command("train", "-opt", file, "--plugin", "losses.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    first, second = (
        set(re.findall(r"(l_\w+): ", line))
        for line in result.stderr.splitlines()
        if re.search(r"iter: +[12],", line)
    )
    assert second == {"l_pix", "l_color"}
    assert first == {"l_pix", "l_contrastive", "l_content", "l_style", "l_color", "l_norm"}


def test_every_restoration_loss_is_added_to_what_is_minimised(make_model):
    extra = {
        "charbonnier_opt": {"type": "CharbonnierLoss", "loss_weight": 0.5},
        "psnr_opt": {"type": "PSNRLoss", "loss_weight": 0.01},
        "fft_opt": {"type": "FFTLoss", "loss_weight": 0.1},
    }
    plain, more = make_model(), make_model(**extra)
    without, with_them = (
        optimized_once(plain)["output.weight"],
        optimized_once(more)["output.weight"],
    )
    logged = more.get_current_log()
    assert list(logged)[:7] == [
        *("l_pix", "l_contrastive", "l_content", "l_style"),
        *("l_charbonnier", "l_psnr", "l_fft"),
    ]
    assert logged["l_pix"] == plain.get_current_log()["l_pix"]
    assert not torch.allclose(without, with_them)


def test_losses_are_their_formulas():
    restored, clean = torch.rand(2, 3, 3, 8, 10)
    psnr = [
        10 * np.log10(1 / np.mean((one - other).numpy() ** 2))
        for one, other in zip(restored, clean, strict=True)
    ]
    assert PSNRLoss()(restored, clean).item() == pytest.approx(-np.mean(psnr), rel=1e-5)
    assert PSNRLoss(loss_weight=2)(clean, clean).item() == pytest.approx(-160)
    spectrum = np.fft.rfft2((restored - clean).numpy())
    parts = np.stack([spectrum.real, spectrum.imag])
    assert FFTLoss()(restored, clean).item() == pytest.approx(np.abs(parts).mean(), rel=1e-4)
    assert PSNRLoss(0.5)(restored, clean) == 0.5 * PSNRLoss()(restored, clean)
    assert FFTLoss(0.5)(restored, clean) == 0.5 * FFTLoss()(restored, clean)


def test_perceptual_loss_keeps_the_names_of_its_parts_in_the_log():
    one = torch.tensor(1.0)
    assert by_log_name("perceptual_opt", (one, None)) == {"l_percep": one}
    assert by_log_name("perceptual_opt", (None, one)) == {"l_percep_style": one}

"""One training step does what the paper says, against a second way of computing it."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from constyle_arch.archs.constyle_arch import Codes, ConStyle
from constyle_arch.checkpoints.published_names import from_published
from constyle_arch.models.momentum_contrast import MomentumContrast, contrast_health
from tests.golden.formula_weights import formula_input
from tests.networks import GOLDEN, SMALL_NAFNET, TINY, published_state_dict
from tests.steps import BATCH, QUEUE, batch, optimized_once


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

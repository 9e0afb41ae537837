"""What makes training fast changes how a step is computed, not what it computes."""

import json
import resource
import sys
from copy import deepcopy

import pytest
import torch
from basicsr.archs.srresnet_arch import MSRResNet
from torch import nn

from constyle_arch.allocator import keep_freed_memory
from constyle_arch.archs import ConStyleNAFNet, NAFNet
from constyle_arch.archs.layers import Stage, compile_blocks
from constyle_arch.archs.restormer_arch import TransposedAttention
from constyle_arch.errors import RunError
from constyle_arch.models.acceleration import Acceleration
from constyle_arch.models.non_finite_steps import NonFiniteSteps
from constyle_arch.models.optimization import Optimization
from constyle_arch.reporting.complexity import PeakMemory
from tests.networks import SMALL_NAFNET, TINY
from tests.processes import run_forked
from tests.shared import equal
from tests.steps import QUEUE, batch, everything

GUIDED = ("ConStyleRestormer", "ConStyleNAFNet", "ConStyleMaxim")


def trained(make_model, steps=3, **options):
    model = make_model(contrast={"queue_size": QUEUE}, **options)
    for iteration in range(1, steps + 1):
        model.feed_data(batch(iteration))
        model.optimize_parameters(iteration)
    return model


def test_half_precision_stays_near_float32_and_keeps_its_state_in_float32(make_model):
    full, half = trained(make_model, steps=1), trained(make_model, steps=1, amp="bf16")
    for name, value in full.get_current_log().items():
        if name.startswith("l_"):
            assert half.get_current_log()[name] == pytest.approx(value, rel=0.05), name
    for tensor in (
        *half.net_g.parameters(),
        *half.net_g_ema.parameters(),
        half.contrast.queue,
        *half.codes[0],
    ):
        assert tensor.dtype == torch.float32
    assert half.get_current_log()["l_pix"] != full.get_current_log()["l_pix"]


@pytest.mark.parametrize("name", TINY)
def test_every_network_computes_under_autocast(name):
    torch.manual_seed(0)
    # in training, BatchNorm makes signs of two codes
    network, lq = (TINY[name]().eval(), torch.rand(2, 3, 64, 64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        restored = network(lq)
    assert restored.dtype == torch.float32
    torch.testing.assert_close(restored, network(lq), rtol=0, atol=0.05)


def test_unquoted_off_is_what_yaml_makes_of_it(make_model):
    assert make_model(amp=False).acceleration == make_model().acceleration == Acceleration()


def test_acceleration_is_said_in_words():
    assert str(Acceleration()) == "precision float32, layout as built, not compiled"
    options = {
        "amp": "bf16",
        "channels_last": False,
        "compile": True,
        "checkpointing": True,
        "accumulate": 2,
    }
    assert str(Acceleration(**options)) == (
        "precision bf16, channels first, compiled, blocks recomputed in the backward pass, "
        "batches in 2 parts"
    )


def test_batch_in_parts_gives_the_gradients_of_the_whole(make_model):
    """With ConStyle frozen: BatchNorm, and the style loss, see each part alone."""
    models = [make_model(constyle_iter=0, accumulate=parts) for parts in (1, 2, 4)]
    for model in models:
        model.feed_data(batch(1))
        model.optimize_parameters(1)
    whole, *in_parts = (
        [
            torch.tensor(model.get_current_log()["l_pix"]),
            *(
                parameter.grad
                for parameter in model.net_g.parameters()
                if parameter.grad is not None
            ),
        ]
        for model in models
    )
    for one in in_parts:
        torch.testing.assert_close(one, whole, rtol=1e-4, atol=1e-6)


def test_parts_of_a_batch_take_their_own_negatives_and_all_codes_enter_the_queue(make_model):
    model = make_model(contrast={"queue_size": QUEUE}, accumulate=2)
    queue = model.contrast.queue.clone()
    model.feed_data(batch(1))
    model.optimize_parameters(1)
    codes = torch.cat([codes.c2 for codes in model.codes])
    assert len(model.codes) == 2
    assert int(model.contrast.pointer) == len(codes)
    assert torch.equal(model.contrast.queue[:, : len(codes)], codes.T)
    assert torch.equal(model.contrast.queue[:, len(codes) :], queue[:, len(codes) :])


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == "Maxim" else name for name in TINY],
)
def test_checkpointing_keeps_less_and_changes_no_gradient(name):
    network, lq = TINY[name](), torch.rand(2, 3, 64, 64)
    gradients, kept = [], []
    for checkpointing in (False, True):
        Acceleration(checkpointing=checkpointing).prepare(network)
        network.zero_grad()
        one = deepcopy(network)  # BatchNorm's statistics move
        one(lq).square().mean().backward()
        gradients.append([parameter.grad for parameter in one.parameters()])
        with PeakMemory() as memory:
            deepcopy(network).to("meta")(lq.to("meta")).mean().backward()
        kept.append(memory.peak)
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert kept[1] < 0.9 * kept[0]


def test_peak_memory_is_what_lives_at_a_time():
    with PeakMemory() as memory:
        for _ in range(3):
            x = torch.empty(1000, device="meta")
            y = x + 1
            del x, y
    assert memory.peak == 2 * 4000


def test_layout_is_an_option(make_model):
    for options in ({}, {"channels_last": True}, {"channels_last": False}):
        weight = trained(make_model, steps=1, **options).net_g.preprocess.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) == options.get(
            "channels_last", True
        )


QUICK = [("ConStyleNAFNet", True)]
SHALLOW = {"num_blocks_down": (1, 0, 0), "num_blocks_bottleneck": 1, "num_blocks_up": (0, 0, 1)}


@pytest.mark.parametrize(
    ("name", "training"),
    [
        pytest.param(name, training, marks=[] if (name, training) in QUICK else pytest.mark.slow)
        for name in TINY
        for training in (True, False)
    ],
)
def test_network_is_one_graph_for_all_sizes(name, training):
    """No break in the graph; the first size gives one graph, the second one for all sizes, others
    nothing new.

    Sides of up to 64 pixels aside: at 1/8 of their size, MAXIM's groups would have one member, a
    case of its own.
    """
    torch._dynamo.reset()
    graphs = []

    def compiler(graph, inputs):
        graphs.append(graph)
        return graph.forward

    shallow = SHALLOW if name in ("ConStyleRestormer", "ConStyleNAFNet") else {}
    network = TINY[name](**shallow).train(training)
    compiled = torch.compile(network, backend=compiler, fullgraph=True)
    with torch.set_grad_enabled(training):
        for size in ((128, 192), (192, 256), (320, 128)):
            lq = torch.rand(2, 3, *size)
            assert compiled(lq).shape == lq.shape
    assert len(graphs) == 2
    torch._dynamo.reset()


def test_blocks_of_one_width_share_what_is_compiled(monkeypatch):
    """Also where there are more widths and blocks than forms of one function are compiled."""
    torch._dynamo.reset()
    graphs = []

    def compiler(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compile_module = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda self, **how: compile_module(self, backend=compiler, **how)
    )
    network = NAFNet(
        width=4, enc_blk_nums=[2] * 5, middle_blk_num=2, dec_blk_nums=[2] * 5
    )  # 22 blocks on 11 levels, of 6 widths
    lq = torch.rand(1, 3, 64, 64)
    eager = network(lq)
    compile_blocks(network, dynamic=False)
    torch.testing.assert_close(network(lq), eager)
    assert 6 <= len(graphs) <= 11
    number, whole = len(graphs), MSRResNet(num_block=2)  # without stages
    compile_blocks(whole, dynamic=False)
    whole(lq)
    assert len(graphs) == number + 1
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize("name", GUIDED)
def test_compiled_network_trains_and_restores_alike(name):
    network, lq = TINY[name](), torch.rand(2, 3, 64, 64)
    compiled = deepcopy(network)
    Acceleration(compile=True).prepare(compiled)
    outputs = []
    for one in (network, compiled):
        restored, codes = one(lq, return_codes=True)
        (restored.square().mean() + codes.c2.square().mean()).backward()
        outputs.append([restored.detach(), codes.c2.detach(), one.output.weight.grad])
        with torch.no_grad():
            outputs[-1].append(one.eval()(lq))
    torch.testing.assert_close(*outputs, rtol=1e-3, atol=1e-4)
    assert compiled.state_dict().keys() == network.state_dict().keys()


@pytest.mark.parametrize("optimizer", ["AdamW", "Adam", "SGD", "RMSprop"])
def test_optimizers_are_fused_where_they_can_be_and_skip_alike(make_model, optimizer):
    model = make_model(contrast={"queue_size": QUEUE}, optim_g={"type": optimizer, "lr": 1e-3})
    assert bool(model.optimizer_g.param_groups[0].get("fused")) == (optimizer in ("Adam", "AdamW"))
    model.feed_data(batch(1))
    model.optimize_parameters(1)
    before = everything(model)
    broken = batch(2)
    broken["gt"][0, 0, 0, 0] = float("nan")
    model.feed_data(broken)
    model.optimize_parameters(2)
    assert equal(everything(model), before)
    model.feed_data(batch(3))
    model.optimize_parameters(3)
    assert not equal(everything(model)["net"], before["net"])


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD"])
def test_first_step_that_is_skipped_leaves_no_trace(make_model, optimizer):
    options = {"type": optimizer, "lr": 1e-3, **({"momentum": 0.9} if optimizer == "SGD" else {})}
    disturbed, other = (
        make_model(contrast={"queue_size": QUEUE}, optim_g=dict(options)) for _ in range(2)
    )
    broken = batch(1)
    broken["gt"][0, 0, 0, 0] = float("nan")
    disturbed.feed_data(broken)
    disturbed.optimize_parameters(1)
    for iteration in (2, 3):
        for model in (disturbed, other):
            model.feed_data(batch(iteration))
            model.optimize_parameters(iteration)
    assert equal(everything(disturbed)["net"], everything(other)["net"])


def test_state_of_another_implementation_and_layout_is_gone_on_with(make_model):
    """As releases before this one wrote it: an optimizer that is not fused, weights that are not
    channels-last."""
    optimizers = {"type": "AdamW", "lr": 1e-3, "fused": False}, {"type": "AdamW", "lr": 1e-3}
    before, now = (
        make_model(contrast={"queue_size": QUEUE}, optim_g=optimizer, channels_last=channels_last)
        for optimizer, channels_last in zip(optimizers, (False, True), strict=True)
    )
    for model in (before, now):
        for module in (model.net_g, model.net_g_ema, model.contrast):
            module.double()  # Adam makes steps of what rounding leaves of a gradient

    def step(model, iteration):
        model.feed_data({side: image.double() for side, image in batch(iteration).items()})
        model.optimize_parameters(iteration)

    for iteration in (1, 2, 3):
        step(before, iteration)
    state = deepcopy(before.training_state() | {"epoch": 0, "iter": 3})
    del state["loss_scaler"]
    for network in ("net_g", "net_g_ema"):
        getattr(now, network).load_state_dict(getattr(before, network).state_dict())
    now.resume_training(state)
    assert now.optimizer_g.param_groups[0]["fused"]
    for model in (before, now):
        step(model, 4)
    for (name, tensor), other in zip(
        now.net_g.named_parameters(), before.net_g.parameters(), strict=True
    ):
        torch.testing.assert_close(
            tensor, other, rtol=1e-5, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize(("scale", "counted"), [(2.0**16, 0), (1.0, 1)])
def test_gradient_that_is_not_finite_counts_where_no_scale_is_to_blame(make_model, scale, counted):
    model = make_model(contrast={"queue_size": QUEUE})
    model.loss_scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    model.net_g.output.weight.register_hook(lambda gradient: gradient * float("nan"))
    model.feed_data(batch(1))
    model.optimize_parameters(1)
    assert model.non_finite.total == counted


def test_attention_in_fp16_does_not_overflow():
    attention = TransposedAttention(16, heads=2, bias=False)
    x = 100 * torch.randn(1, 16, 64, 64)
    with torch.autocast("cpu", dtype=torch.float16):
        half = attention(x).float()
    torch.testing.assert_close(half, attention(x), rtol=0.05, atol=1)


def test_optimizer_that_is_asked_not_to_be_fused_is_not():
    for asked in ({"fused": False}, {"foreach": True}):
        optimizer = Optimization.get_optimizer(
            None, "AdamW", [nn.Parameter(torch.zeros(2))], 1e-3, **asked
        )
        assert not optimizer.param_groups[0]["fused"]


def test_decisions_of_a_gpu_are_read_one_step_late():
    steps = NonFiniteSteps(most=2, device=torch.device("cuda"))
    steps.note(1, torch.tensor([1.0, 0.0]), {})
    assert (steps.read(), steps.total) == (0, 0)
    steps.note(2, torch.tensor([0.0, 15.0]), {})
    assert (steps.read(), steps.total, steps.in_a_row) == (0, 1, 1)
    assert (steps.read(all_of_them=True), steps.in_a_row) == (15, 0)
    for iteration in (3, 4):
        steps.note(iteration, torch.tensor([1.0, 0.0]), {})
    with pytest.raises(RunError, match="2 steps in a row, the last one iteration 4"):
        steps.read(all_of_them=True)


def test_scaled_gradients_that_overflow_lower_the_scale_and_are_not_counted(make_model):
    model = trained(make_model, steps=1)
    model.loss_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    before = everything(model)
    model.feed_data(batch(2))
    model.optimize_parameters(2)
    assert equal(everything(model), before)
    assert model.non_finite.total == 0
    assert model.loss_scaler.get_scale() == 2.0**126
    assert model.training_state()["loss_scaler"]["scale"] == 2.0**126


def test_scaled_loss_changes_nothing_but_the_way(make_model):
    scaled, plain = (make_model(contrast={"queue_size": QUEUE}) for _ in range(2))
    scaled.loss_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    for model in (scaled, plain):
        model.feed_data(batch(1))
        model.optimize_parameters(1)
    assert equal(everything(scaled), everything(plain))


def test_stages_hold_every_block_that_checkpointing_recomputes():
    stages = [
        module for module in ConStyleNAFNet(**SMALL_NAFNET).modules() if isinstance(module, Stage)
    ]
    blocks = sum(len(stage) for stage in stages)
    assert blocks == sum(SMALL_NAFNET["num_blocks_down"] + SMALL_NAFNET["num_blocks_up"]) + 2


def count_page_faults(keeps, file):
    """Note whether freed memory is kept, and the page faults of allocating tensors repeatedly."""
    kept = keeps and keep_freed_memory()
    for repetition in range(8):
        if repetition == 4:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        tensors = [torch.ones(millions * 1_000_000) for millions in (25, 10, 15)]
        del tensors
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    file.write_text(json.dumps([kept, faults]))


@pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted on Linux")
def test_freed_memory_is_kept(tmp_path):
    """By the library's defaults and by ours."""
    files = {True: tmp_path / "kept", False: tmp_path / "default"}
    run_forked(count_page_faults, list(files.items()))
    (kept, ours), (_, default) = (json.loads(file.read_text()) for file in files.values())
    if not kept:
        pytest.skip("no glibc")
    assert ours < default / 4  # now and then a block has no hole of its size yet

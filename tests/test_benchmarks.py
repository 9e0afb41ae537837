"""The benchmarks run and count right; what they measure is nobody's pass or failure."""

import re
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import gpu, networks, peers, photograph, rehaze
from benchmarks.measuring import Subject, Variant, marks_of, own_process, prepare_process
from benchmarks.networks import Measured, compare, growth_figure, growth_table
from benchmarks.peers import AS_IT_COMES, KEPT, Compared, Pair, Task, allocators, rows
from benchmarks.roofline import Ledger, Spent, row, traffic
from benchmarks.scaling import sent
from constyle_arch import archs
from constyle_arch.data.degradations.weather import add_haze


def test_traffic_counts_what_operators_read_and_write():
    convolution = nn.Conv2d(3, 8, 1, bias=False)
    pixels = 2 * 16 * 16
    assert traffic(nn.Sequential(convolution, nn.ReLU()), batch=2, side=16) == 4 * (
        pixels * (3 + 8 + 8 + 8) + 24
    )


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_least_time_of_an_operator_is_what_its_products_or_its_bytes_need(mode):
    image, weight = torch.rand(2, 3, 16, 16), torch.rand(8, 3, 1, 1)
    with mode(), Ledger({torch.float32: 1e6}, byte_rate=1e6) as ledger:
        torch.nn.functional.conv2d(image, weight).relu()
    pixels = 2 * 16 * 16
    convolution = ledger.spent["convolution, 1×1"]
    assert (convolution.flop, convolution.bytes) == (
        2 * pixels * 3 * 8,
        4 * (pixels * (3 + 8) + 24),
    )
    assert convolution.least == max(convolution.flop, convolution.bytes) / 1e6
    assert ledger.spent["relu"].least == 4 * pixels * (8 + 8) / 1e6


def test_resizing_is_one_operator_as_it_is_when_nothing_looks():
    image = torch.rand(1, 3, 8, 8)
    with torch.inference_mode(), Ledger() as ledger:
        nn.functional.interpolate(image, scale_factor=2, mode="bilinear")
    assert [*ledger.spent] == ["upsample_bilinear2d"]


@pytest.mark.parametrize(
    "convolution", [nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ConvTranspose2d(8, 4, 2, stride=2)]
)
def test_backward_pass_of_a_convolution_takes_two_of_its_size(convolution):
    with Ledger() as ledger:
        convolution(torch.rand(2, 8, 6, 6, requires_grad=True)).sum().backward()
    forward, backward = (
        one for name, one in ledger.spent.items() if name.startswith("convolution")
    )
    assert backward.flop == 2 * forward.flop > 0


def test_row_of_the_roofline_lists_the_largest_losses():
    ledger = Ledger()
    for name, seconds in (("add", 0.5), ("gelu", 2.0), ("mul", 0.2), ("mm", 1.0)):
        ledger.spent[name] = Spent(calls=3, seconds=seconds, flop=1e9, bytes=1e9, least=0.1)
    text = row("NAFNet", "step", "bf16", ledger)
    assert text.startswith(
        "| NAFNet | step | bf16 | 4 | 4.0 | 0.40 | 3.70 | 11% | gelu 1.90 s (of 2.00, 3 calls); "
        "mm 0.90"
    )
    assert "mul" not in text


def test_gradients_go_around_the_ring_and_codes_to_all():
    parameters = sum(parameter.numel() for parameter in archs.ConStyleNAFNet().parameters())
    gradients, others = sent("ConStyleNAFNet", 2)
    assert gradients == 4 * parameters
    assert sent("ConStyleNAFNet", 512)[0] == pytest.approx(2 * gradients, rel=0.01)
    assert sent("ConStyleNAFNet", 3)[1] - others == 8 * 128 * 4  # the codes of eight more images


def test_variants_are_measured_in_turn_each_in_a_process_of_its_own(monkeypatch):
    asked = []

    def own_process(prepare, keep_memory):
        def submit(measured, variant, *sizes):
            asked.append((variant.label, keep_memory))
            result = Measured(len(asked), 10 * len(asked), 100 * len(asked))
            return SimpleNamespace(result=lambda: result)

        return nullcontext(SimpleNamespace(submit=submit))

    monkeypatch.setattr(networks, "own_process", own_process)
    variants = [Variant("a", "NAFNet"), Variant("b", "NAFNet", tuned_memory=False)]
    results = compare(variants, 2, 16, rounds=3, device="cpu")
    assert asked == 3 * [("a", True), ("b", False)]
    assert results["a"] == Measured(3, 30, 300)


def test_network_is_measured_in_a_process_of_its_own():
    with own_process(prepare_process, False) as process:
        one = process.submit(networks.measured, Variant("", "NAFNet"), 1, 16, 1, "cpu").result()
    assert min(one.forward, one.step, one.memory) > 0


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    blocks = {"num_blocks_down": (1, 1, 1), "num_blocks_bottleneck": 1, "num_blocks_up": (1, 1, 1)}
    small = {
        "ConStyleNAFNet": {"dim": 8, **blocks},
        "NAFNet": {"width": 8, "enc_blk_nums": (1, 1), "middle_blk_num": 1, "dec_blk_nums": (1, 1)},
        "Restormer": {"dim": 8, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1},
    }
    for name, options in small.items():
        monkeypatch.setattr(archs, name, partial(getattr(archs, name), **options))


@pytest.mark.parametrize("plain", [False, True])
def test_subject_makes_a_step_and_tells_its_memory(plain):
    subject = Subject(Variant("", "ConStyleNAFNet", plain=plain), 2, 16, queue=32, device="cpu")
    before = [parameter.clone() for parameter in subject.network.parameters()]
    assert subject.seconds("forward") > 0
    assert subject.seconds("step") > 0
    assert subject.peak() > 0
    assert not all(map(torch.equal, before, subject.network.parameters()))
    assert int(subject.contrast.pointer) == 2


@pytest.mark.parametrize("network", peers.PEERS)
def test_peers_restore_alike_and_have_the_same_gradients(network):
    pair, forward, step = (
        Pair(network),
        Task("forward", KEPT, 1, 24, 16),
        Task("step", KEPT, 2, 16, 16),
    )
    restored = pair.subject(forward, True).forward()
    assert (
        0
        < pair.difference(forward, False)
        < peers.TOLERANCE
        < 0.1 * (restored - restored.mean()).abs().max()
    )
    lengths = []
    for peer in (True, False):
        assert pair.seconds(step, peer) > 0
        gradients = [parameter.grad for parameter in pair.subject(step, peer).network.parameters()]
        lengths.append(float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-3)
    assert pair.memory(step, True) >= 0


def test_a_photograph_is_restored_by_both_tile_by_tile(monkeypatch):
    monkeypatch.setattr(peers, "TILE", 48)
    seconds = peers.photographed("NAFNet", 48, 64)
    assert [len(one) for one in seconds] == [2, 2]
    assert min(*seconds[0], *seconds[1]) > 0


def test_table_has_ratios_of_each_round_and_the_allocators_share():
    seconds = {
        KEPT: ([2.0, 4.0, 9.0], [1.0, 1.0, 3.0]),
        AS_IT_COMES: ([4.0, 10.0, 18.0], [2.0, 2.0, 6.0]),
    }
    results = {
        Task("forward", way, 1, 64, 64): Compared(both, (0.0, 0.0), (3.0, 2.0))
        for way, both in seconds.items()
    }
    kept, as_it_comes = rows("NAFNet", results)
    assert (
        kept == "| NAFNet | forward, 1×64×64 | float32 | 4.000 | 1.000 | 3.00 (2.50–3.50) | 3.00 | "
        "2.00 |"
    )
    assert "| 10.000 | 2.000 | 3.00 (2.50–4.00) |" in as_it_comes
    assert allocators("NAFNet", results) == ["- NAFNet, forward, 1×64×64: 2.00 (2.00–2.25)"]


@pytest.mark.slow
def test_the_gpus_benchmark_runs_on_the_cpu(tmp_path):
    """Each way of computing of a network, with the real processes; and what time does not do for is
    named."""
    file = tmp_path / "RESULTS.md"
    for minutes, wanted in (
        ("9", "| bf16, channels first |"),
        ("0", "- ConStyleMaxim, fp16, is missing: time was up."),
    ):
        begin, end = marks_of("gpu")
        file.write_text(f"before\n{begin}\n{end}\nafter\n")
        what = f"--device cpu --eager --networks ConStyleMaxim --minutes {minutes}"
        sizes = f"--batch 2 --side 64 --rounds 1 --results {file}"
        gpu.main([*what.split(), *sizes.split()])
        text = file.read_text()
        assert wanted in text
        assert text.startswith("before\n") and text.endswith("\nafter\n")


def test_a_folder_of_photographs_is_restored_and_the_cores_share_told():
    assert "2 photographs of 480×320 pixels" in (text := photograph.folder(2, "denoise"))
    assert 0 < int(re.search(r"(\d+)% of \d+ cores busy", text)[1]) <= 110


def test_growth_is_a_table_and_a_picture():
    series = {
        "side in pixels": [(64, Measured(0.1, 0.2, 0.3)), (128, Measured(0.4, 0.5, 0.6))],
        "batch": [(2, Measured(0.1, 0.2, 0.3))],
        "queue": [(1024, Measured(0.1, 0.2, 0.3))],
    }
    grown = dict.fromkeys(networks.GUIDED, series)
    assert "| ConStyleMaxim | side in pixels 128 | 0.400 | 0.500 | 0.60 |" in growth_table(grown)
    lines = [line for axes in growth_figure(grown).axes for line in axes.lines]
    assert len(lines) == 18
    assert list(lines[0].get_xdata()) == [64, 128]
    assert list(lines[0].get_ydata()) == [0.2, 0.5]


def test_depth_of_a_room_is_found_and_hazes_it_again(tmp_path):
    rng = np.random.default_rng(0)
    clean = cv2.resize(rng.uniform(0.1, 0.7, (6, 8, 3)), (80, 60)).astype(np.float32)
    clean[10:14, 20:24] = 1  # white: haze does not show
    depth = np.linspace(0.2, 0.8, 80, dtype=np.float32) * np.ones((60, 1), np.float32)
    room, photographs, out = (tmp_path / name for name in ("room", "photographs", "out"))
    for folder in (room / "gt", room / "hazy", photographs):
        folder.mkdir(parents=True)
    cv2.imwrite(str(room / "gt" / "1400.png"), np.round(clean * 255))
    cv2.imwrite(str(photographs / "boat.png"), np.round(clean[:40] * 255))
    hazy = {}
    for number, beta in rehaze.DENSITIES.items():
        hazy[beta] = np.round(255 * add_haze(clean, depth, beta, 1)) / 255
        cv2.imwrite(str(room / "hazy" / f"1400_{number}.png"), hazy[beta] * 255)

    assert np.abs(rehaze.depth_of(clean, hazy.items()) - depth).max() < 0.02
    command = [sys.executable, "-m", "benchmarks.rehaze", room, photographs, "--out", out]
    subprocess.run(command, check=True)
    for part, names in (("rooms", [f"1400_{n}" for n in range(16)]), ("photographs", ["boat"])):
        for name in names:
            gt, lq = (cv2.imread(str(out / part / side / f"{name}.png")) for side in ("gt", "lq"))
            assert gt.shape == lq.shape
            assert (lq.astype(int) >= gt.astype(int) - 1).mean() > 0.95  # haze is bright
            assert lq.mean() > gt.mean() + 5

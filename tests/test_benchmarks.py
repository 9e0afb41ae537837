"""The benchmarks run and count right; what they measure is nobody's pass or failure."""

import torch
from torch import nn

from benchmarks import networks
from benchmarks.networks import Measured, Variant, compare, growth_table, plot, traffic
from constyle_arch import archs


def test_traffic_counts_what_operators_read_and_write():
    convolution = nn.Conv2d(3, 8, 1, bias=False)
    pixels = 2 * 16 * 16
    assert traffic(nn.Sequential(convolution, nn.ReLU()), batch=2, side=16) == 4 * (pixels * (3 + 8 + 8 + 8) + 24)


def test_variants_are_measured_in_turn_and_plain_by_its_equations(monkeypatch):
    asked = []

    class Worker:
        def __init__(self, variant, *_):
            self.label = variant.label

        def ask(self, task):
            asked.append((self.label, task))
            return len(asked)

        def end(self):
            asked.append((self.label, "end"))

    monkeypatch.setattr(networks, "Worker", Worker)
    results = compare([Variant("a", "NAFNet"), Variant("b", "NAFNet")], 2, 16, rounds=3, device="cpu")
    round_ = [(label, task) for label in "ab" for task in ("forward", "forward", "step", "step", "peak", "end")]
    assert asked == 3 * round_
    assert results["a"] == Measured(2 + 12, 4 + 12, 5 + 12)


def test_subject_makes_a_step_and_tells_its_memory():
    archs_before = archs.ConStyleNAFNet
    try:
        archs.ConStyleNAFNet = lambda: archs_before(
            dim=8, num_blocks_down=(1, 1, 1), num_blocks_bottleneck=1, num_blocks_up=(1, 1, 1)
        )
        for plain in (False, True):
            subject = networks.Subject(Variant("", "ConStyleNAFNet", plain=plain), 2, 16, queue=32, device="cpu")
            before = [parameter.clone() for parameter in subject.network.parameters()]
            assert subject.seconds("forward") > 0
            assert subject.seconds("step") > 0
            assert subject.peak() > 0
            assert not all(map(torch.equal, before, subject.network.parameters()))
            assert int(subject.contrast.pointer) == 2
    finally:
        archs.ConStyleNAFNet = archs_before


def test_growth_is_a_table_and_a_picture(tmp_path):
    series = {
        "side in pixels": [(64, Measured(0.1, 0.2, 0.3)), (128, Measured(0.4, 0.5, 0.6))],
        "batch": [(2, Measured(0.1, 0.2, 0.3))],
        "queue": [(1024, Measured(0.1, 0.2, 0.3))],
    }
    grown = dict.fromkeys(networks.GUIDED, series)
    assert "| ConStyleMaxim | side in pixels 128 | 0.400 | 0.500 | 0.60 |" in growth_table(grown)
    plot(grown, tmp_path / "growth.svg")
    assert (tmp_path / "growth.svg").read_text().count("<polyline") == 18

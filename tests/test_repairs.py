"""What BasicSR 1.4.2 gets wrong stays repaired."""

import math
import re
import subprocess
import sys
import time

import basicsr.train
import pytest
import torch
from basicsr.models import lr_scheduler as basicsr_schedulers
from basicsr.utils import misc
from torch import nn

from constyle_arch import register
from constyle_arch.basicsr_repairs import runs
from constyle_arch.errors import OptionsError, RunError
from constyle_arch.files import save_atomically
from constyle_arch.models.lr_scheduler import CosineAnnealingRestartCyclicLR
from constyle_arch.models.mixup import mixup
from constyle_arch.models.optimization import find_optimizer, find_scheduler
from tests.shared import REPOSITORY


def rates(scheduler, optimizer, iterations):
    """The rate at iterations 1, 2, … as BasicSR's loop steps the schedule."""
    seen = []
    for iteration in range(1, iterations + 1):
        if iteration > 1:
            optimizer.step()
            scheduler.step()
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


def sgd(lr):
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)


def test_cyclic_schedule_is_constant_then_a_cosine():
    optimizer = sgd(3e-4)
    scheduler = CosineAnnealingRestartCyclicLR(optimizer, [10, 20], [1, 1], [3e-4, 1e-6])
    seen = rates(scheduler, optimizer, 40)
    assert seen[:11] == pytest.approx([3e-4] * 11)
    cosine = [1e-6 + 0.5 * (3e-4 - 1e-6) * (1 + math.cos(math.pi * i / 20)) for i in range(1, 21)]
    assert seen[11:31] == pytest.approx(cosine)
    assert seen[31:] == pytest.approx([1e-6] * 9)


def test_cyclic_schedule_with_one_floor_is_basicsrs():
    optimizers = sgd(0.1), sgd(0.1)
    ours = CosineAnnealingRestartCyclicLR(optimizers[0], [5, 7, 9], [1, 0.5, 0.25], [1e-3] * 3)
    basicsrs = basicsr_schedulers.CosineAnnealingRestartLR(
        optimizers[1], [5, 7, 9], [1, 0.5, 0.25], 1e-3
    )
    assert rates(ours, optimizers[0], 21) == pytest.approx(rates(basicsrs, optimizers[1], 21))


def test_any_optimizer_and_schedule_is_found():
    assert find_optimizer("AdamW") is torch.optim.AdamW
    assert find_optimizer("RAdam") is torch.optim.RAdam
    assert find_scheduler("MultiStepLR") is basicsr_schedulers.MultiStepRestartLR
    assert find_scheduler("CosineAnnealingRestartCyclicLR") is CosineAnnealingRestartCyclicLR
    assert find_scheduler("TrueCosineAnnealingLR") is torch.optim.lr_scheduler.CosineAnnealingLR
    assert find_scheduler("OneCycleLR") is torch.optim.lr_scheduler.OneCycleLR
    for find in (find_optimizer, find_scheduler):
        with pytest.raises(OptionsError):
            find("os")


def test_ema_follows_its_formula_for_parameters_and_buffers(make_model):
    model = make_model(ema_decay=0.75)
    assert all(
        torch.equal(average, model.net_g.state_dict()[name])
        for name, average in model.net_g_ema.state_dict().items()
    )
    before = {name: tensor.clone() for name, tensor in model.net_g_ema.state_dict().items()}
    model.feed_data({"lq": torch.rand(4, 3, 16, 16), "gt": torch.rand(4, 3, 16, 16)})
    model.optimize_parameters(1)
    after = model.net_g.state_dict()
    assert not torch.equal(
        before["encoder.projections.0.1.running_mean"],
        after["encoder.projections.0.1.running_mean"],
    )
    for name, average in model.net_g_ema.state_dict().items():
        if average.is_floating_point():
            torch.testing.assert_close(average, 0.75 * before[name] + 0.25 * after[name])
        else:
            assert torch.equal(average, after[name])


def test_end_of_a_run_that_is_too_short_is_an_error(make_model, tmp_path):
    model = make_model(total_iter=5)
    model.current_iter = 4
    with pytest.raises(RunError, match=r"ended after 4 of train\.total_iter 5"):
        model.save(epoch=-1, current_iter=-1)
    assert not list(tmp_path.glob("*.pth"))


def test_checkpoint_that_cannot_be_written_is_an_error_and_keeps_the_old_one(
    make_model, tmp_path, monkeypatch
):
    model = make_model()
    model.save(epoch=0, current_iter=2)
    before = (tmp_path / "net_g_2.pth").read_bytes()

    def disk_full(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(RunError, match=r"net_g_2\.pth cannot be written: .*No space left"):
        model.save(epoch=0, current_iter=2)
    assert (tmp_path / "net_g_2.pth").read_bytes() == before
    assert not list(tmp_path.glob("*.unfinished"))


@pytest.mark.skipif(sys.platform == "win32", reason="no limits")
def test_full_disk_is_told_and_not_torchs_position_in_the_file(tmp_path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # as a full disk does, writing fails midway
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(RunError) as error:
            save_atomically({"params": torch.zeros(100_000)}, tmp_path / "net.pth")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(error.value).endswith(
        "net.pth cannot be written: File too large. What was there before is untouched."
    )
    assert list(tmp_path.iterdir()) == []


def test_mixup_blends_both_images_alike():
    torch.manual_seed(0)
    lq, gt = torch.rand(6, 3, 4, 4), torch.rand(6, 3, 4, 4)
    mixed_lq, mixed_gt = mixup(lq, gt, beta=1.2, use_identity=False)
    assert not torch.equal(mixed_lq, lq)
    solved = 0
    for i in range(6):
        for j in range(6):
            if i != j:
                weight = ((mixed_lq[i] - lq[j]) * (lq[i] - lq[j])).sum() / (
                    lq[i] - lq[j]
                ).square().sum()
                if torch.allclose(mixed_lq[i], lq[j].lerp(lq[i], weight), atol=1e-6):
                    torch.testing.assert_close(mixed_gt[i], gt[j].lerp(gt[i], weight))
                    solved += 1
    assert solved >= 4  # an image paired with itself stays as it is
    untouched = sum(mixup(lq, gt, beta=1.2, use_identity=True)[0] is lq for _ in range(200))
    assert 60 < untouched < 140


def test_basicsr_imports_without_functional_tensor_and_operators():
    import torchvision.transforms.functional as F
    from basicsr.data.degradations import rgb_to_grayscale

    assert rgb_to_grayscale is F.rgb_to_grayscale


def test_importing_the_package_is_cheap():
    program = (
        "import sys\nfrom constyle_arch.cli import main\n"
        "assert main(['prepare', 'folders', '--gt', 'gone', '-o', 'out']) == 2\n"
        "assert not {'torch', 'basicsr', 'cv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_errors_and_commands_without_a_network_do_not_wait_for_torch(tmp_path):
    """A second or more, each time a name is mistyped; matplotlib and OpenCV stay where they are
    needed."""
    commands = [
        "train -opt gone.yml",
        "check -opt gone.yml",
        "test -opt gone.yml",
        "test --weights gone.pth --gt gone --lq gone",
        "info gone.pth",
        "info gone.yml",
        "export gone.pth net.onnx",
        "convert gone.pth net.pth",
        "convert-options gone.yml mine.yml",
        "restore -i gone.png -o out --weights gone.pth",
        f"restore -i {REPOSITORY}/docs/assets/denoise.jpg -o out --weights gone.pth",
        "web --weights gone.pth",
        "init derain --gt gone -o mine.yml",
        "compare gone",
        "plot gone",
        "prepare sots",
    ]
    program = (
        "import sys\nfrom constyle_arch import cli\nfor command in sys.argv[1:]:\n"
        "    assert cli.main(command.split()) == 2, command\n"
        "    assert not {'torch', 'basicsr', 'matplotlib'} & set(sys.modules), command\n"
    )
    subprocess.run([sys.executable, "-c", program, *commands], check=True, cwd=tmp_path)


def test_restoring_does_not_wait_for_basicsr_which_is_whole_when_it_comes(tmp_path):
    """Its registries are loaded alone, and are those that it fills."""
    program = (
        "import sys, constyle_arch\n"
        "constyle_arch.load_network('denoise')\n"
        "assert 'basicsr' not in sys.modules\n"
        "from constyle_arch.registry import is_architecture\n"
        "assert is_architecture('EDSR') and not is_architecture('Unknown')\n"
        "import basicsr.utils.registry\n"
        "known = basicsr.utils.registry.ARCH_REGISTRY\n"
        "assert known is basicsr.archs.ARCH_REGISTRY and {'EDSR', 'ConStyleConv'} <= known.keys()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)


def test_folders_archived_within_a_second_are_all_kept(tmp_path, monkeypatch):
    register()
    monkeypatch.setattr(runs, "get_time_str", lambda: "20260101_000000")
    for number in range(4):
        misc.mkdir_and_rename(str(tmp_path / "results"))
        (tmp_path / "results" / str(number)).touch()
    archive = "results_archived_20260101_000000"
    names = (archive, f"{archive}_2", f"{archive}_3", "results")
    expected = {tmp_path / name / str(number) for number, name in enumerate(names)}
    assert set(tmp_path.glob("*/*")) == expected


def test_time_left_ends_at_zero(monkeypatch):
    register()
    said = []
    options = {"name": "run", "train": {"total_iter": 4}}
    options["logger"] = {"print_freq": 1, "use_tb_logger": False}
    logger = basicsr.train.MessageLogger(options, 0)
    monkeypatch.setattr(logger.logger, "info", said.append)
    monkeypatch.setattr(logger, "start_time", time.time() - 100)
    for iteration in (1, 4):
        logger({"epoch": 0, "iter": iteration, "lrs": [], "time": 1.0, "data_time": 0.0})
    left = [re.search(r"eta: (.*?),", message)[1] for message in said]
    assert left == ["0:02:30", "0:00:00"]  # three steps of (100 s / 2 counted steps), then none

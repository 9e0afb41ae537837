"""`basicsr info` and `basicsr --version`."""

import importlib.metadata
import json
import os
import subprocess
import sys

import pytest
import torch
import yaml

from constyle_arch import cli
from tests.networks import built, published_state_dict
from tests.shared import OPTIONS, small_network, training_options


def info(capsys, *arguments):
    """The facts that are printed, by what they are."""
    assert cli.main(["info", *map(str, arguments)]) == 0
    lines = capsys.readouterr().out.splitlines()
    return dict(line.split("  ", 1) for line in lines if "  " in line)


def facts(capsys, *arguments):
    return {what: fact.strip() for what, fact in info(capsys, *arguments).items()}


def test_checkpoint_tells_its_network_and_keys(tmp_path, capsys):
    network = built(small_network())
    state = network.state_dict()
    path = tmp_path / "net_g_1200.pth"
    torch.save({"params": state, "params_ema": state}, path)
    told = facts(capsys, path, "--size", "64", "--names")
    parameters = sum(parameter.numel() for parameter in network.parameters())
    encoder = sum(parameter.numel() for parameter in network.encoder.parameters())
    assert told["network"] == "ConStyleRestormer"
    assert "dim 8" in told["options"]
    assert (
        told["parameters"] == f"{parameters / 1e6:.3f} M, {encoder / 1e6:.3f} M of them ConStyle's"
    )
    assert (
        told["keys"]
        == f"params ({len(state)} tensors), params_ema ({len(state)} tensors, described here)"
    )
    assert told["iteration"] == "1200"
    assert told["computations"].endswith("GMACs for 64×64 pixels")
    small, large = (
        float(facts(capsys, path, "--size", size)["computations"].split()[0]) for size in (256, 512)
    )
    assert large / small == pytest.approx(4, rel=0.01)
    assert told["encoder.stages.0.0.weight"] == "float32 (16, 3, 3, 3)"
    assert "iteration" in facts(capsys, path, "--key", "params")


def test_describing_does_not_wait_for_the_compiler_of_torch(tmp_path):
    program = (
        "import sys\nfrom constyle_arch import cli\nassert cli.main(['info', 'denoise']) == 0\n"
        "assert not {'torch._dynamo', 'sympy', 'basicsr'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)


def test_published_names_are_told(tmp_path, capsys):
    torch.save(
        {"params": published_state_dict("ConStyleRestormer_small")}, tmp_path / "release.pth"
    )
    told = facts(capsys, tmp_path / "release.pth")
    assert told["tensors"] == "names of the publication"
    assert told["network"] == "ConStyleRestormer"
    assert told["iteration"] == "not in the file's name or its folder"


def test_weights_of_no_network_here_are_described_by_their_size(tmp_path, capsys):
    torch.save({"state_dict": {"one": torch.zeros(1000, 1000)}}, tmp_path / "other.pth")
    told = facts(capsys, tmp_path / "other.pth")
    assert told["tensors"] == "of no network of this package"
    assert told["parameters"] == "1.000 M"


def test_experiment_tells_the_iteration_of_its_best_and_its_last_network(
    tmp_path, capsys, ten_pairs
):
    models = tmp_path / "models"
    models.mkdir()
    options = training_options(ten_pairs, ten_pairs, total_iter=700)
    (tmp_path / "run.yml").write_text(yaml.safe_dump(options))
    records = [
        {"dataset": "pairs", "iter": i, "scores": {"psnr": s}}
        for i, s in ((200, 20.0), (400, 22.0), (600, 21.0))
    ]
    (models / "metrics_history.json").write_text(json.dumps(records))
    for version in ("best", "latest"):
        torch.save(
            {"params": built(options["network_g"]).state_dict()}, models / f"net_g_{version}.pth"
        )
    assert facts(capsys, tmp_path)["iteration"] == "400"
    assert facts(capsys, models / "net_g_latest.pth")["iteration"] == "700"


def test_training_state_is_told_from_weights(tmp_path, capsys):
    torch.save({"epoch": 3, "iter": 40, "optimizers": [], "schedulers": []}, tmp_path / "40.state")
    told = facts(capsys, tmp_path / "40.state")
    assert told["iteration"] == "40"
    assert told["holds"].startswith("a training state")


@pytest.mark.parametrize(
    "file",
    [*sorted(OPTIONS.glob("dehaze_*.yml")), OPTIONS / "test" / "dehaze_nafnet.yml"],
    ids=lambda file: file.stem,
)
def test_option_files_are_described(capsys, file):
    options = yaml.safe_load(file.read_text())
    told = facts(capsys, file, "--size", "64")
    assert told["network"] == options["network_g"]["type"]
    assert told["name"] == options["name"]


def test_what_cannot_be_described_is_one_clear_error(tmp_path, capsys):
    (tmp_path / "no.yml").write_text("name: x\n")
    (tmp_path / "odd.yml").write_text("network_g: {type: Unknown}\n")
    for arguments, message in (
        ([tmp_path / "none.pth"], "none.pth does not exist"),
        ([tmp_path / "no.yml"], "network_g.type is missing"),
        ([tmp_path / "odd.yml"], "There is no architecture 'Unknown'"),
        ([tmp_path], "holds no network"),
        ([tmp_path / "no.yml", "--size", "0"], "--size is 0; it must be at least 1"),
    ):
        assert cli.main(["info", *map(str, arguments)]) == 2
        assert message in capsys.readouterr().err


def test_versions_are_those_installed(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    told = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert told == {
        "constyle-arch": importlib.metadata.version("constyle-arch"),
        "basicsr": importlib.metadata.version("basicsr"),
        "torch": torch.__version__,
        "CUDA": torch.version.cuda or "none",
    }


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_reads_is_no_traceback(unbuffered):
    read, write = os.pipe()
    os.close(read)
    command, environment = (
        [sys.executable, "-m", "constyle_arch", "info"],
        {**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    with os.fdopen(write, "w") as output:
        ended = subprocess.run(
            command, stdout=output, stderr=subprocess.PIPE, env=environment, check=False
        )
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_output_that_is_closed_or_lacks_a_letter_is_no_traceback():
    info = f"{sys.executable} -m constyle_arch info"
    for command, printed in (
        (f"{info} >&- 2>&-", b""),
        (f"PYTHONIOENCODING=latin-1 {info}", rb"\u03c3 up to 50"),
    ):
        ended = subprocess.run(command, shell=True, capture_output=True, check=False)
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert printed in ended.stdout

"""Networks written for the Hugging Face Hub come back as they were, and their cards tell what is
known."""

import inspect
import json
import shutil
import sys

import pytest
import torch
import yaml
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from constyle_arch import load_network
from constyle_arch.checkpoints.hub import from_pretrained, push_to_hub, save_pretrained
from constyle_arch.errors import CheckpointError, RunError, UnknownNetworkError
from constyle_arch.training.metrics_history import MetricsHistory
from tests.shared import small_network, training_options, write_options

NETWORKS = {
    "ConStyleRestormer": {k: v for k, v in small_network().items() if k != "type"}
    | {"use_code": False},
    "ConStyleConv": {"dim": 8},
    "NAFNet": {"width": 8, "enc_blk_nums": [1, 2], "middle_blk_num": 1, "dec_blk_nums": [1, 1]},
}


@pytest.mark.parametrize("architecture", NETWORKS)
def test_a_network_comes_back_as_it_was(tmp_path, architecture):
    network = ARCH_REGISTRY.get(architecture)(**NETWORKS[architecture]).eval()
    save_pretrained(network, tmp_path / "net")
    again = from_pretrained(tmp_path / "net")
    assert type(again) is type(network) and not again.training
    assert again.state_dict().keys() == network.state_dict().keys()
    image = torch.rand(1, 3, 24, 40)
    with torch.inference_mode():
        torch.testing.assert_close(again(image), network(image), rtol=0, atol=0)


def test_the_config_builds_the_network_without_its_weights(tmp_path):
    network = ARCH_REGISTRY.get("ConStyleConv")(dim=8)
    save_pretrained(network, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    built = ARCH_REGISTRY.get(config["architecture"])(**config["options"])
    assert {k: v.shape for k, v in built.state_dict().items()} == {
        k: v.shape for k, v in network.state_dict().items()
    }


def front_matter(folder):
    _, facts, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(facts), body


def test_the_card_tells_what_training_knows(tmp_path):
    experiment = tmp_path / "experiments" / "mine"
    (experiment / "models").mkdir(parents=True)
    network = ARCH_REGISTRY.get("ConStyleConv")(dim=8)
    torch.save({"params": network.state_dict()}, experiment / "models" / "net_g_latest.pth")
    write_options(experiment / "mine.yml", training_options(tmp_path / "pairs"))
    history = MetricsHistory(experiment / "models")
    history.add("val-set", 2, {"psnr": 20.0})
    history.add("val-set", 4, {"psnr": 21.5, "ssim": None})
    history.write()
    save_pretrained(experiment, tmp_path / "out", name="somebody/mine", license="cc-by-4.0")
    facts, body = front_matter(tmp_path / "out")
    assert facts["license"] == "cc-by-4.0" and facts["pipeline_tag"] == "image-to-image"
    assert "# mine\n" in body and 'from_pretrained("somebody/mine")' in body
    assert "`mine.yml`, ConStyleModel, 4 iterations, seed 3" in body
    assert "PairedRestorationDataset, crops of 16 pixels" in body
    assert [row.split() for row in body.splitlines() if row.startswith("| val-set")] == [
        ["|", "val-set,", "psnr", "|", "4", "|", "21.5000", "|"],
        ["|", "val-set,", "ssim", "|", "4", "|", "none", "|"],
    ]


def test_a_trained_network_keeps_its_card(tmp_path):
    save_pretrained("derain", tmp_path)
    facts, body = front_matter(tmp_path)
    assert "license" not in facts
    assert "## Where it fails" in body
    again = from_pretrained(tmp_path).state_dict()
    assert all(
        torch.equal(again[name], tensor)
        for name, tensor in load_network("derain").state_dict().items()
    )


def test_what_is_no_network_of_this_package_is_refused(tmp_path):
    with pytest.raises(UnknownNetworkError, match="of no network of this package"):
        save_pretrained(nn.Conv2d(3, 3, 1), tmp_path / "net")
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("config", [None, "{", "[]", '{"architecture": "ConStyleConv"}'])
def test_a_folder_without_a_config_is_refused(tmp_path, config):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(
        CheckpointError, match=r"config\.json cannot be read .* wanted what save_pretrained wrote"
    ):
        from_pretrained(tmp_path)


def test_damaged_weights_are_refused(tmp_path):
    save_pretrained(ARCH_REGISTRY.get("ConStyleConv")(dim=8), tmp_path)
    content = bytearray((tmp_path / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        from_pretrained(tmp_path)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder in place of the Hub, behind the calls that are made of huggingface_hub."""
    library = pytest.importorskip("huggingface_hub")
    store = tmp_path / "hub"

    def create_repo(name, *, private, exist_ok):
        (store / name).mkdir(parents=True, exist_ok=exist_ok)
        return f"https://hub/{name}"

    def upload_folder(*, repo_id, folder_path, commit_message):
        shutil.copytree(folder_path, store / repo_id, dirs_exist_ok=True)

    def snapshot_download(name, *, revision, allow_patterns):
        target = tmp_path / "cache" / name
        target.mkdir(parents=True)
        for pattern in allow_patterns:
            shutil.copy(store / name / pattern, target)
        return str(target)

    for replacement in (create_repo, upload_folder, snapshot_download):
        wanted = set(inspect.signature(replacement).parameters) - {"name"}
        assert wanted <= set(inspect.signature(getattr(library, replacement.__name__)).parameters)
        monkeypatch.setattr(library, replacement.__name__, replacement)
    return store


def test_what_is_pushed_is_what_is_pulled(hub):
    network = ARCH_REGISTRY.get("ConStyleConv")(dim=8)
    assert push_to_hub(network, "somebody/net") == "https://hub/somebody/net"
    assert sorted(path.name for path in (hub / "somebody/net").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    again = from_pretrained("somebody/net").state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in network.state_dict().items())


def test_a_name_the_hub_does_not_take_is_one_sentence():
    pytest.importorskip("huggingface_hub")
    with pytest.raises(CheckpointError, match="neither a folder nor a repository"):
        from_pretrained("no such/name/at all")


def test_without_the_library_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(RunError, match=r'pip install "constyle-arch\[hub\]"'):
        from_pretrained("somebody/net")

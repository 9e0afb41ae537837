"""Small data sets and runs that several test files share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch

import constyle_arch
from tests.networks import random_network
from tests.shared import training_options, write_pairs

constyle_arch.register()


@pytest.fixture(scope="session")
def ten_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("ten"), 10)


@pytest.fixture(scope="session")
def two_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("two"), 2, height=37, width=51)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network's, all random."""
    path = tmp_path_factory.mktemp("weights") / "net.pth"
    torch.save({"params": random_network().state_dict()}, path)
    return path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, and nothing downloaded before."""

    def urlopen(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.urlopen", urlopen)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))


@pytest.fixture
def make_model(ten_pairs: Path, tmp_path: Path) -> Callable[..., Any]:
    """Build a training model in this process, as BasicSR's pipeline does."""

    def make(
        seed: int = 0,
        network_g: dict[str, Any] | None = None,
        path: dict[str, Any] | None = None,
        model_type: str = "ConStyleModel",
        **train_options: Any,
    ) -> Any:
        from basicsr.models import build_model

        options = training_options(ten_pairs, **train_options)
        options["network_g"] = network_g or options["network_g"]
        options |= {
            "is_train": True,
            "dist": False,
            "rank": 0,
            "world_size": 1,
            "model_type": model_type,
        }
        options["path"] |= {
            **(path or {}),
            "models": str(tmp_path),
            "training_states": str(tmp_path),
        }
        torch.manual_seed(seed)
        return build_model(options)

    return make

"""Repairs of how a run reads its data."""

import logging
import math
from typing import Any

import basicsr.train
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.utils.file_client import BaseStorageBackend, FileClient
from basicsr.utils.registry import MODEL_REGISTRY
from torch.utils.data import DataLoader

from constyle_arch.data.image_stores import shared_environment
from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset
from constyle_arch.data.training_sampler import SeededDataset, WholeBatchSampler, collate
from constyle_arch.data.workers import listen_to_parent_alone
from constyle_arch.errors import OptionsError
from constyle_arch.models.constyle_model import ConStyleModel
from constyle_arch.models.restoration_model import RestorationModel
from constyle_arch.training.resuming import start_of

Options = dict[str, Any]


def train_whole_epochs() -> None:
    """Epochs are counted with `ceil` but the last batch is dropped; workers draw alike every epoch.

    So a run stopped early or, with fewer images than a batch, never trained, and still ended
    without an error; and with two workers every epoch saw the same crops and flips.
    """
    basicsr.train.create_train_val_dataloader = create_train_val_dataloader


def share_lmdb_environments() -> None:
    """Two data sets that read one LMDB fail: lmdb opens a file once in a process."""
    FileClient._backends["lmdb"] = SharedLmdbBackend


def create_train_val_dataloader(
    opt: Options, logger: logging.Logger
) -> tuple[DataLoader[Any], WholeBatchSampler, list[DataLoader[Any]], int, int]:
    """Build the loaders of a training run.

    Returns:
        The training loader, its sampler, the validation loaders, the number of epochs and of
        iterations.
    """
    train_opt = opt["datasets"]["train"]
    if train_opt.get("num_worker_per_gpu", 0) > 0 and train_opt.get("prefetch_mode") != "cpu":
        train_opt.setdefault("persistent_workers", True)
    dataset = build_dataset(train_opt)
    if isinstance(dataset, PairedRestorationDataset):
        feed_data = MODEL_REGISTRY.get(opt["model_type"]).feed_data  # a user's own may want floats
        dataset.integers = feed_data in (RestorationModel.feed_data, ConStyleModel.feed_data)
    start = start_of(opt)
    if start.images not in (None, len(dataset)):
        raise OptionsError(
            f"datasets.train has {len(dataset)} images, and had {start.images} when the state was "
            "written; the run cannot resume where it was among them. Start again under another "
            "name (path.pretrain_network_g takes the weights along)."
        )
    sampler = WholeBatchSampler(
        num_images=len(dataset),
        batch_size=train_opt["batch_size_per_gpu"],
        num_replicas=opt["world_size"],
        rank=opt["rank"],
        enlarge_ratio=train_opt.get("dataset_enlarge_ratio", 1),
        seed=opt["manual_seed"],
        done=start.iterations_done,
        batch=getattr(dataset, "batch_of_sets", ()),
    )
    start.images, start.batches = len(dataset), sampler.batches
    train_loader = build_dataloader(
        SeededDataset(dataset),
        train_opt,
        num_gpu=min(opt["num_gpu"], 1),
        dist=opt["dist"],
        sampler=sampler,
    )
    train_loader.collate_fn = collate
    _leave_alone(train_loader)
    total_iters = int(opt["train"]["total_iter"])
    total_epochs = math.ceil(total_iters / sampler.batches)
    statistics = {
        "Number of train images": len(dataset),
        "Dataset enlarge ratio": train_opt.get("dataset_enlarge_ratio", 1),
        "Batch size per process": train_opt["batch_size_per_gpu"],
        "Number of processes": opt["world_size"],
        "Iterations per epoch": sampler.batches,
        "Total epochs": f"{total_epochs}; iterations: {total_iters}.",
    }
    lines = "".join(f"\n\t{what}: {number}" for what, number in statistics.items())
    logger.info(f"Training statistics:{lines}")

    val_loaders = []
    for phase, dataset_opt in opt["datasets"].items():
        if phase.split("_")[0] == "val":
            val_set = build_dataset(dataset_opt)
            logger.info(f"Number of val images in {dataset_opt['name']}: {len(val_set)}")
            val_loader = build_dataloader(
                val_set, dataset_opt, num_gpu=opt["num_gpu"], dist=opt["dist"]
            )
            _leave_alone(val_loader)
            val_loaders.append(val_loader)
    return train_loader, sampler, val_loaders, total_epochs, total_iters


def _leave_alone(loader: DataLoader[Any]) -> None:
    """Have a loader draw none of the run's random numbers, and its workers ignore signals."""
    loader.generator = torch.Generator().manual_seed(0)
    loader.worker_init_fn = listen_to_parent_alone


class SharedLmdbBackend(BaseStorageBackend):  # type: ignore[misc]  # BasicSR publishes no types
    """One read-only LMDB environment a path in each process; may be forked and pickled."""

    def __init__(
        self, db_paths: list[str] | str, client_keys: list[str] | str = "default", **_: Any
    ) -> None:
        paths = [db_paths] if isinstance(db_paths, str) else db_paths
        keys = [client_keys] if isinstance(client_keys, str) else client_keys
        self.paths = dict(zip(keys, paths, strict=True))

    def get(self, filepath: str, client_key: str) -> bytes | None:
        """The content under the key `filepath` of the LMDB called `client_key`, or None."""
        with shared_environment(self.paths[client_key]).begin() as transaction:
            content: bytes | None = transaction.get(str(filepath).encode())
        return content

    def get_text(self, filepath: str) -> str:
        """Not offered, as in BasicSR."""
        raise NotImplementedError

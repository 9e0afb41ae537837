"""Repairs of devices and process groups."""

import os
import warnings
from datetime import timedelta
from typing import Any

import basicsr.utils.dist_util
import basicsr.utils.options
import torch
from basicsr.models.base_model import BaseModel
from torch import distributed, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.nn.parallel import DistributedDataParallel

from constyle_arch.errors import RunError

TIMEOUT = timedelta(hours=1)
"""How long ranks wait for each other: one may have larger images to validate on than the others."""


def start_processes_without_cuda() -> None:
    """`init_dist` demands GPUs and nccl, and picks the wrong GPU on a second node."""
    basicsr.utils.dist_util.init_dist = init_dist
    basicsr.utils.options.init_dist = init_dist


def wrap_networks_without_cuda() -> None:
    """`model_to_device` asks for a CUDA device of every distributed run."""
    BaseModel.model_to_device = model_to_device


def init_dist(launcher: str, backend: str | None = None, **kwargs: Any) -> None:
    """Join the launcher's process group: by nccl with the local rank's GPU, or by gloo on CPUs.

    The launcher is `pytorch` (torchrun) or `slurm`, which takes a `port` as in BasicSR; the other
    arguments are passed on.

    Raises:
        ValueError: the launcher is unknown.
    """
    if launcher == "slurm":
        _describe_slurm_job(kwargs.pop("port", None))
    elif launcher != "pytorch":
        raise ValueError(f"launcher is {launcher!r}; it must be 'pytorch' or 'slurm'.")
    backend = backend or ("nccl" if torch.cuda.is_available() else "gloo")
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    distributed.init_process_group(backend, timeout=TIMEOUT, **_meeting_place(), **kwargs)


def _meeting_place() -> dict[str, Any]:
    """Where the processes of this attempt meet.

    After a restart (`torchrun --max-restarts`) the launcher's store still holds the addresses of
    the processes before, and gloo would wait for those: each attempt needs a corner of its own.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    size = int(os.environ["WORLD_SIZE"])
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = distributed.TCPStore(  # type: ignore[attr-defined]  # public, but not declared
        address, port, size, is_master=False, timeout=TIMEOUT
    )
    corner = f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    return {
        "store": PrefixStore(corner, store),
        "rank": int(os.environ["RANK"]),
        "world_size": size,
    }


def leave_process_group() -> None:
    """Leave the process group, which BasicSR leaves open, so that some runs die at exit."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def model_to_device(self: BaseModel, net: nn.Module) -> nn.Module:
    """Move `net` to the model's device and wrap it for a distributed run, on CPUs too."""
    net = net.to(self.device)
    if not self.opt["dist"]:
        return net
    # of 1×1 kernels, whose strides may differ where their layout in memory does not
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    return DistributedDataParallel(
        net,
        device_ids=[torch.cuda.current_device()] if self.device.type == "cuda" else None,
        find_unused_parameters=self.opt.get("find_unused_parameters", False),
    )


def _describe_slurm_job(port: int | None) -> None:
    """Set torch's variables from Slurm's, as BasicSR does; `scontrol` expands the list of nodes."""
    import subprocess

    command = ["scontrol", "show", "hostnames", os.environ["SLURM_NODELIST"]]
    try:
        nodes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        reason = str(getattr(error, "stderr", "") or error).strip()
        raise RunError(
            f"--launcher slurm: `{' '.join(command)}`, which names the nodes, fails: {reason}"
        ) from error
    os.environ["MASTER_ADDR"] = nodes[0]
    os.environ["MASTER_PORT"] = str(port or os.environ.get("MASTER_PORT", 29500))
    os.environ["RANK"] = os.environ["SLURM_PROCID"]
    os.environ["WORLD_SIZE"] = os.environ["SLURM_NTASKS"]
    os.environ["LOCAL_RANK"] = os.environ.get("SLURM_LOCALID", "0")

"""`RestorationModel`: trains and tests networks that restore images at their size."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from constyle_arch.archs.layers import channels_of
from constyle_arch.archs.local_statistics import local_window, use_local_statistics
from constyle_arch.checkpoints.loading import window_for_crops, window_of
from constyle_arch.checkpoints.reading import read_checkpoint
from constyle_arch.checkpoints.trained import located
from constyle_arch.images import in_unit_range, to_gray
from constyle_arch.inference.restoring import restore
from constyle_arch.models.acceleration import PRECISIONS, Acceleration
from constyle_arch.models.optimization import Optimization
from constyle_arch.models.saving import Saving
from constyle_arch.models.synced_batch_norm import synchronize
from constyle_arch.models.training_step import TrainingStep
from constyle_arch.models.validations import Validations
from constyle_arch.options.schema import RunPaths, Train, Validation, validation_of
from constyle_arch.reporting.complexity import count_parameters
from constyle_arch.training.resuming import options_of_training

Options = dict[str, Any]


@MODEL_REGISTRY.register()
class RestorationModel(TrainingStep, Validations, Saving, Optimization, SRModel):  # type: ignore[misc]
    """BasicSR's `SRModel` for restoration: any losses, mixup, clipping, EMA, best network.

    Its options are described in `options.schema`: `Train`, `Validation`, `Paths` and `Logger`.
    `opt` is the dictionary that BasicSR hands around.
    """

    net_g: nn.Module
    lq: Tensor
    gt: Tensor  # absent where a data set to test on has no clean images
    output: Tensor
    train: Train  # of a training alone
    val: Validation
    paths: RunPaths

    def __init__(self, opt: Options) -> None:
        self.current_iter = 0
        self.options_of_training = options_of_training(opt)  # BasicSR takes some out in use
        self.paths = RunPaths.read(opt["path"])
        self.val = validation_of(opt)
        if opt["is_train"]:
            self.train = Train.read(opt["train"])
            self.acceleration = Acceleration.of(self.train)
        self.prepare_validations(opt)
        path = opt["path"]
        path.setdefault("param_key_g", None)  # BasicSR would take `params`
        weights = self.paths.pretrain_network_g
        if weights and Path(weights).is_dir():  # an experiment's; the log and reports name the file
            path["pretrain_network_g"] = self.paths.pretrain_network_g = str(located(weights))
        super().__init__(opt)
        self.use_windows()
        if not self.is_train:
            self.begin_report()

    def init_training_settings(self) -> None:
        """Build what training needs besides the network: EMA, losses, optimizer, schedule."""
        self.net_g.train()
        get_root_logger().info(f"Training computes on {self.device}: {self.acceleration}.")
        self.prepare_steps()
        if self.train.ema_decay > 0:
            net = self.get_bare_model(self.net_g)
            self.net_g_ema = deepcopy(net).requires_grad_(False).eval()
            source = self.paths.pretrain_network_g
            if source is not None and "params_ema" in read_checkpoint(source):
                self.load_network(self.net_g_ema, source, self.paths.strict_load_g, "params_ema")
        self.setup_optimizers()
        self.setup_schedulers()

    def use_windows(self) -> None:
        """Restore with the windows of `val.tlc`; training mode goes without."""
        if self.is_train:
            window = window_for_crops(self.opt) if self.val.tlc == "auto" else self.val.tlc or None
        else:
            window = window_of(located(self.opt["path"]["pretrain_network_g"]), self.val.tlc)
        if not window:
            return
        with torch.compiler.set_stance("force_eager"):
            for net in filter(None, (self.net_g, getattr(self, "net_g_ema", None))):
                use_local_statistics(self.get_bare_model(net), window)
        if local_window(self.get_bare_model(self.net_g)):
            get_root_logger().info(
                f"Images are restored with the statistics of windows of {window} pixels."
            )

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Lay out, perhaps compile, move and perhaps wrap the network."""
        if self.is_train:
            self.acceleration.prepare(net)
            if self.train.sync_bn:
                synchronize(net)
        return super().model_to_device(net)

    def print_network(self, net: nn.Module) -> None:
        """Log the network's name and number of parameters."""
        name = type(self.get_bare_model(net)).__name__
        get_root_logger().info(f"Network: {name}, with parameters: {count_parameters(net):,d}")

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take the images of a batch.

        Args:
            data: `lq`, and `gt` where there is one, (N, 3, H, W); in [0, 1], or of 8 bits.
        """
        self.lq = self.on_device(data["lq"])
        if "gt" in data:
            self.gt = self.on_device(data["gt"])

    def on_device(self, images: Tensor) -> Tensor:
        """`images` on the run's device, moved as they are: in [0, 1], gray for one channel."""
        images = in_unit_range(images.to(self.device, non_blocking=True))
        return to_gray(images) if channels_of(self.get_bare_model(self.net_g)) == 1 else images

    @property
    def restoring_network(self) -> nn.Module:
        """What validates and restores: the EMA network where there is one."""
        return self.net_g_ema if hasattr(self, "net_g_ema") else self.get_bare_model(self.net_g)

    def test(self) -> None:
        """Restore the images fed last, with the EMA network where there is one."""
        net = self.restoring_network
        was_training = net.training
        with torch.compiler.set_stance("force_eager"):
            tile, overlap = self.val.tile, self.val.tile_overlap
            precision = PRECISIONS[self.val.amp] or torch.float32
            self.output = restore(net, self.lq, tile=tile, overlap=overlap, precision=precision)
        if was_training and self.is_train:
            self.set_train_mode()

    def set_train_mode(self) -> None:
        """Put the network back into training mode after a validation."""
        self.net_g.train()

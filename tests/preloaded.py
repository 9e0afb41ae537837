"""What the `basicsr` command imports, imported once for all processes that are forked from here."""

import importlib

import constyle_arch

constyle_arch.register()

for name in ("basicsr.train", "basicsr.test", "torch.utils.tensorboard", "torch.distributed"):
    importlib.import_module(name)  # after BasicSR was repaired

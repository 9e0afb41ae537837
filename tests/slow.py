"""A plugin that makes iterations last long enough to be interrupted somewhere in them."""

import time

from constyle_arch.models.restoration_model import RestorationModel

compute_losses = RestorationModel.compute_losses_of_step


def compute_losses_slowly(self):
    time.sleep(0.2)
    return compute_losses(self)


RestorationModel.compute_losses_of_step = compute_losses_slowly

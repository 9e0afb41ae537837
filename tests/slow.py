"""A plugin that makes iterations last long enough to be interrupted somewhere in them."""

import time

from constyle_arch.models.restoration_model import RestorationModel

accumulate_gradients = RestorationModel.accumulate_gradients


def accumulate_slowly(self):
    time.sleep(0.2)
    return accumulate_gradients(self)


RestorationModel.accumulate_gradients = accumulate_slowly

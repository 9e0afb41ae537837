"""Lets BasicSR 1.4.2 be built on Python 3.13: put this folder on PYTHONPATH while pip builds it.

The function `get_version` of its setup.py executes a file and reads `locals()`, which since Python
3.13 no longer holds what was executed (PEP 667).
"""

import builtins
import runpy
import sys
from typing import Any


def _locals() -> Any:
    frame = sys._getframe(1)
    if frame.f_code.co_name == "get_version" and "version_file" in frame.f_globals:
        return runpy.run_path(frame.f_globals["version_file"])
    return frame.f_locals


if sys.version_info >= (3, 13):
    builtins.locals = _locals

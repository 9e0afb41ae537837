"""`python -m constyle_arch` is the `basicsr` command, for launchers such as torchrun."""

import sys

from constyle_arch.cli import main

if __name__ == "__main__":
    sys.exit(main())

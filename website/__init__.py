"""The site of the documentation: `make docs` builds it from the pages of the repository and from
the code.
"""

import constyle_arch  # noqa: F401  # before basicsr, which it makes importable

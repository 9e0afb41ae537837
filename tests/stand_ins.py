"""Tiny data sets laid out exactly as `datasets/README.md` shows."""

import re
from pathlib import Path

import cv2
import numpy as np

from constyle_arch import cli
from constyle_arch.data.preparation.catalogue import DATA_SETS
from constyle_arch.images import SUFFIXES
from tests.shared import REPOSITORY

PAGE = (REPOSITORY / "datasets" / "README.md").read_text()


def sections():
    """Each section of the page by its heading."""
    headings = re.split(r"^## (.+)\n", PAGE, flags=re.MULTILINE)
    return dict(zip(headings[1::2], headings[2::2], strict=True))


def tree(name):
    """The files that a section shows."""
    return re.findall(
        r"^datasets/\S+$", re.search(r"```\n(.*?)```", sections()[name], re.DOTALL)[1], re.MULTILINE
    )


def write_stand_ins(root, names=tuple(DATA_SETS), height=128, width=136):
    """Write each file that the sections of `names` show, below `root`."""
    rng = np.random.default_rng(0)
    for name in names:
        files = [Path(file) for file in tree(name)]
        for file in files:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            if file.suffix in SUFFIXES:
                coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
                image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
                assert cv2.imwrite(str(root / file), image)
        for file in files:
            if file.suffix == ".txt":  # RealBlur's list: the first scene alone
                sharp, blurred = (
                    f"{side.parents[2].name}/scene001/{kind}/{kind}_1.png"
                    for kind in ("gt", "blur")
                    for side in files
                    if side.match(f"scene001/{kind}/*")
                )
                (root / file).write_text(f"{sharp} {blurred} \n")


def prepare(*arguments):
    """`basicsr prepare` in this process, below the working directory."""
    assert cli.main(["prepare", *arguments, "--workers", "0"]) == 0

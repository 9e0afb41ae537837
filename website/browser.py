"""The page of `basicsr web` in a real browser: tests use it so, and its picture in docs/ is made
here.

python -m website.browser     # writes docs/assets/web.jpg
"""

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
"""Debian's package `chromium`, and what others call it."""

PICTURE = Path(__file__).parents[1] / "docs" / "assets" / "web.jpg"
SIZE = {"width": 1100, "height": 780}
MINUTE = 60_000


@contextmanager
def served(*arguments: str) -> Iterator[str]:
    """The address of a `basicsr web` of its own, which ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "constyle_arch", "web", "--port", port, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _address(process.stdout)
        finally:
            process.terminate()


def _address(said: IO[str] | None) -> str:
    """Where the page is, once it is there: the command says so."""
    line = said.readline() if said is not None else ""
    if not line.startswith("Open http"):
        raise RuntimeError(f"`basicsr web` ended before it served its page: {line!r}.")
    return line.split()[1]


@contextmanager
def opened(address: str) -> Iterator[Any]:
    """A page of a headless Chromium, as playwright has it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport=SIZE)
            page.goto(address)
            yield page
        finally:
            browser.close()


def restore(page: Any, photograph: Path, network: str) -> None:
    """Do what people do: drop the photograph, choose, press the button and wait."""
    page.locator("input[type=file]").first.set_input_files(str(photograph))
    page.get_by_text(photograph.name).wait_for()
    page.get_by_text(f"{network}:").click()
    page.get_by_role("button", name="Restore", exact=True).click()
    page.get_by_text("bits a channel").wait_for(timeout=5 * MINUTE)


def main() -> None:
    """Draw the picture: a photograph of scikit-image's, in the public domain, with noise."""
    import numpy as np
    from PIL import Image
    from skimage import data

    clean = data.astronaut()[:340, :510]  # type: ignore[no-untyped-call]
    noisy = clean + np.random.default_rng(0).normal(0, 25, clean.shape)
    with tempfile.TemporaryDirectory() as folder, served() as address, opened(address) as page:
        photograph = Path(folder) / "astronaut.png"
        Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8)).save(photograph)
        restore(page, photograph, "denoise")
        page.wait_for_timeout(1000)  # until the pictures are drawn
        page.screenshot(path=PICTURE, type="jpeg", quality=80)


if __name__ == "__main__":
    main()

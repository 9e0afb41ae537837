"""`basicsr web`: what its page restores is what `basicsr restore` writes, and nothing of it is
kept."""

import socket
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from constyle_arch.checkpoints.trained import TRAINED
from constyle_arch.cli import main
from constyle_arch.errors import DataError, OptionsError
from constyle_arch.inference.page import SHOWN, Result, Workplace, build_page
from tests.photographs import png_claiming
from website import browser


def write_noisy(path, dtype=np.uint8, channels=3, size=(48, 64)):
    rng = np.random.default_rng(1)
    most = np.iinfo(dtype).max
    cv2.imwrite(str(path), rng.integers(0, most + 1, (*size, channels), dtype=dtype))
    return path


def restored_by_command(photograph, folder, weights="denoise"):
    target = folder / f"of_the_command{photograph.suffix}"
    assert (
        main(
            [
                "restore",
                "-i",
                str(photograph),
                "-o",
                str(target),
                "--weights",
                weights,
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    return target


@pytest.fixture
def workplace():
    return Workplace(torch.device("cpu"), max_pixels=1e6)


@pytest.mark.parametrize(
    ("name", "dtype", "channels"),
    [("a.png", np.uint16, 4), ("a.tif", np.uint16, 3), ("a.jpg", np.uint8, 3)],
)
def test_the_page_restores_what_the_command_restores(workplace, tmp_path, name, dtype, channels):
    photograph = write_noisy(tmp_path / name, dtype, channels)
    result = workplace.restore(photograph, "denoise", tmp_path)
    assert result.file.name == f"a_restored{photograph.suffix}"
    assert result.file.read_bytes() == restored_by_command(photograph, tmp_path).read_bytes()
    assert f"64×48 pixels, {8 * np.dtype(dtype).itemsize} bits a channel" in result.report


def test_strength_leads_from_the_photograph_to_the_restored_one(workplace, tmp_path):
    photograph = write_noisy(tmp_path / "a.png")

    def restored(strength):
        return cv2.imread(
            str(workplace.restore(photograph, "denoise", tmp_path, strength=strength).file)
        ).astype(float)

    degraded, whole = cv2.imread(str(photograph)).astype(float), restored(1.0)
    np.testing.assert_array_equal(restored(0.0), degraded)
    assert np.abs(whole - degraded).mean() > 10
    assert np.abs(restored(0.25) - (0.75 * degraded + 0.25 * whole)).max() <= 0.5
    with pytest.raises(OptionsError, match=r"strength is 1\.5"):
        restored(1.5)


def test_a_clean_photograph_scores_both(workplace, tmp_path):
    photograph, truth = write_noisy(tmp_path / "a.png"), tmp_path / "clean.png"
    Image.new("RGB", (64, 48), (90, 120, 150)).save(truth)
    result = workplace.restore(photograph, "denoise", tmp_path, truth=truth)
    clean = cv2.imread(str(truth))
    for name, file in (("Photograph", photograph), ("Restored", result.file)):
        assert (
            f"| {name} | {peak_signal_noise_ratio(clean, cv2.imread(str(file))):.2f} dB |"
            in result.report
        )


def test_what_is_shown_is_the_photograph_reduced(workplace, tmp_path):
    photograph = tmp_path / "wide.png"
    Image.linear_gradient("L").resize((2 * SHOWN, 16)).save(photograph)
    result = workplace.restore(photograph, "derain", tmp_path, strength=0.0)
    assert result.before.shape == result.after.shape == (8, SHOWN, 3)
    np.testing.assert_array_equal(result.before, result.after)
    assert Image.open(result.file).size == (2 * SHOWN, 16)


def test_files_that_cannot_be_restored_are_refused(workplace, tmp_path):
    photograph = write_noisy(tmp_path / "a.png")
    (tmp_path / "huge.png").write_bytes(png_claiming(60_000, 60_000))
    with pytest.raises(DataError, match="60000×60000 pixels"):
        workplace.restore(tmp_path / "huge.png", "denoise", tmp_path)
    other = write_noisy(tmp_path / "other.png", size=(40, 64))
    with pytest.raises(DataError, match="64×48 pixels and the clean one 64×40"):
        workplace.restore(photograph, "denoise", tmp_path, truth=other)


def test_another_checkpoint_takes_the_place_of_the_last(workplace, tmp_path):
    photograph = write_noisy(tmp_path / "a.png")
    files = [
        workplace.restore(photograph, name, tmp_path).file.read_bytes()
        for name in ("denoise", "derain")
    ]
    assert files[1] == restored_by_command(photograph, tmp_path, "derain").read_bytes() != files[0]


class Slow:
    """Restores nothing, and notes how many photographs are in work."""

    def __init__(self):
        self.lock, self.now, self.most, self.tiles = threading.Lock(), 0, 0, []

    def restore(self, photograph, weights, folder, *, tile, progress, **_):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.3)
        progress(1, 2)
        self.tiles.append(tile)
        with self.lock:
            self.now -= 1
        file = folder / "restored.png"
        file.write_bytes(photograph.read_bytes())
        pictures = np.random.default_rng().integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
        return Result(*pictures, file, "done")


@pytest.fixture
def launch(tmp_path, monkeypatch):
    """Serve a page in this process; gives a client of it and the page."""
    gradio_client = pytest.importorskip("gradio_client")
    pytest.importorskip("gradio")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "kept"))
    pages = []

    def launched(workplace):
        page = build_page(workplace, {"denoise": "denoise"})
        pages.append(page)
        page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, run_history=False)
        return gradio_client.Client(
            page.local_url, download_files=str(tmp_path / "downloads"), verbose=False
        ), page

    yield launched
    for page in pages:
        page.close(verbose=False)


def test_photographs_wait_for_their_turn(launch, tmp_path):
    from gradio_client import handle_file

    slow = Slow()
    client, _ = launch(slow)
    photograph = handle_file(str(write_noisy(tmp_path / "a.png")))
    jobs = [
        client.submit(photograph, "denoise", None, 1.0, tile, None, api_name="/restore")
        for tile in (0, 256, 0)
    ]
    assert [job.result()[2] for job in jobs] == ["done"] * 3
    assert slow.most == 1
    assert sorted(slow.tiles, key=str) == [256, None, None]


def test_everything_a_visitor_leaves_is_deleted(launch, tmp_path):
    from gradio.route_utils import delete_files_created_by_app
    from gradio_client import handle_file

    client, page = launch(Slow())
    content = write_noisy(tmp_path / "a.png").read_bytes()
    client.predict(
        handle_file(str(tmp_path / "a.png")), "denoise", None, 1.0, 0, None, api_name="/restore"
    )
    kept = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert [path.name for path in kept if path.read_bytes() == content].count("a.png") == 1
    delete_files_created_by_app(page, None)  # what gradio does with files older than `delete_cache`
    # gradio leaves an empty file for each that was dropped
    assert not [
        path for path in (tmp_path / "kept").rglob("*") if path.is_file() and path.stat().st_size
    ]


def test_errors_are_sentences_that_name_the_file_alone(launch, tmp_path, workplace):
    from gradio_client import handle_file

    client, _ = launch(workplace)

    def refusal(photograph, checkpoint=None):
        files = [handle_file(str(file)) if file else None for file in (photograph, checkpoint)]
        with pytest.raises(Exception) as error:  # of gradio's client, in several types
            client.predict(files[0], "denoise", files[1], 1.0, 0, None, api_name="/restore")
        return str(error.value)

    assert refusal(None) == "There is no photograph yet; upload one first."
    (tmp_path / "text.png").write_text("no image")
    assert refusal(tmp_path / "text.png") == "text.png cannot be read: it is no image."
    (tmp_path / "net.pth").write_text("no network")
    assert refusal(write_noisy(tmp_path / "a.png"), tmp_path / "net.pth").startswith(
        "net.pth is damaged, or holds more than weights"
    )


def test_without_gradio_one_sentence_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    assert main(["web"]) == 2
    assert capsys.readouterr().err == (
        'basicsr: error: `basicsr web` needs gradio; install it: pip install "constyle-arch[web]"\n'
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-megapixels", "0"], "--max-megapixels is 0"),
        (["--max-megabytes", "-1"], "--max-megabytes is -1"),
        (["--port", "70000"], "--port is 70000; it must lie in [1, 65535]"),
    ],
)
def test_limits_that_make_no_sense_are_refused(capsys, arguments, message):
    assert main(["web", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_photograph_goes_through_a_real_browser(tmp_path):
    pytest.importorskip("playwright")
    pytest.importorskip("gradio")
    if browser.CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    photograph = write_noisy(tmp_path / "a.png", np.uint16)
    with browser.served("--max-megabytes", "1") as address:
        port = int(address.rstrip("/").rsplit(":", 1)[1])
        with pytest.raises(OSError):  # noqa: SIM117  # nobody outside is let in
            with socket.create_connection((outside_address(), port), timeout=2):
                pass
        with browser.opened(address) as page:
            requests = []
            page.on("request", lambda request: requests.append(request.url))
            page.reload()
            browser.restore(page, photograph, "derain")
            with page.expect_download() as download:
                page.get_by_text("Download a_restored.png").click()
            received = Path(download.value.path()).read_bytes()
            large = tmp_path / "large.png"
            large.write_bytes(bytes(2_000_000))
            page.reload()
            page.locator("input[type=file]").first.set_input_files(str(large))
            page.get_by_text("exceed the maximum allowed size").first.wait_for()
        assert requests and not [
            url for url in requests if not url.startswith((address, "blob:", "data:"))
        ]
    assert received == restored_by_command(photograph, tmp_path, "derain").read_bytes()


def outside_address():
    """This machine's address as others see it; the kernel's choice for a packet, which is not
    sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]


def test_every_trained_network_can_be_chosen():
    pytest.importorskip("gradio")
    page = build_page(None, {what: name for name, what in TRAINED.items()})
    (choice,) = [
        block for block in page.blocks.values() if getattr(block, "label", "") == "Network"
    ]
    assert [name for _, name in choice.choices] == list(TRAINED)

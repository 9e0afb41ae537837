"""Restore photographs in the browser: drop one, compare before and after, download.

Only this computer is served, one photograph at a time. Photographs are deleted after half an hour,
and all of them when the command ends (Ctrl-C). Needs the extra "web": pip install
"constyle-arch[web]"
"""

import argparse
import os
import signal
import tempfile
import threading
from typing import Any

from constyle_arch.checkpoints.trained import TRAINED, checkpoint_file
from constyle_arch.commands.arguments import add_device_argument, device_named
from constyle_arch.errors import RunError
from constyle_arch.options.flags import add_number

HELP = "restore photographs in the browser"

EXAMPLES = """\
  basicsr web
  basicsr web --weights experiments/NAME
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    network = "offer this network first: a checkpoint or an experiment's folder"
    parser.add_argument("--weights", metavar="W", help=network)
    add_device_argument(parser)
    host = "serve this address; 0.0.0.0 lets others in, without a password (default: 127.0.0.1)"
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help=host)
    add_number(parser, "--port", "serve this port", default=7860, least=1, most=65535)
    pixels = "refuse photographs of more than N million pixels"
    add_number(parser, "--max-megapixels", pixels, kind=float, default=50, above=0)
    add_number(parser, "--max-megabytes", "refuse files of more than N MB", default=500, least=1)


def run(parsed: argparse.Namespace) -> None:
    """Serve the page until interrupted."""
    with tempfile.TemporaryDirectory(prefix="basicsr-web-") as folder:
        page = _page(parsed, folder)
        try:
            _serve(page, parsed)
        finally:
            page.close(verbose=False)


def _page(parsed: argparse.Namespace, folder: str) -> Any:
    if parsed.weights:
        checkpoint_file(parsed.weights)  # before gradio and torch are imported
    os.environ["GRADIO_TEMP_DIR"] = folder  # read when a page is built
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise RunError(
            '`basicsr web` needs gradio; install it: pip install "constyle-arch[web]"'
        ) from error

    from constyle_arch.allocator import keep_freed_memory
    from constyle_arch.checkpoints.loading import load_network
    from constyle_arch.checkpoints.trained import located
    from constyle_arch.inference.page import Workplace, build_page

    keep_freed_memory()
    networks = {f"{name}: {what}": name for name, what in TRAINED.items()}
    if parsed.weights and parsed.weights not in TRAINED:
        file = located(parsed.weights)
        load_network(file)  # refused now rather than on the page
        networks = {parsed.weights: str(file), **networks}
    return build_page(Workplace(device_named(parsed.device), 1e6 * parsed.max_megapixels), networks)


def _serve(page: Any, parsed: argparse.Namespace) -> None:
    import gradio

    # so that the files are deleted then, too
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    try:
        _, address, _ = page.launch(
            server_name=parsed.host,
            server_port=parsed.port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            run_history=False,
            footer_links=[],
            max_file_size=1_000_000 * parsed.max_megabytes,
            # fonts of the machine: nothing is loaded from elsewhere
            theme=gradio.themes.Soft(**fonts),
        )
    except OSError as error:
        raise RunError(
            f"--port {parsed.port} of --host {parsed.host} cannot be served: {error}; choose "
            "another."
        ) from error
    print(f"Open {address} in a browser on this computer. Ctrl-C ends it.", flush=True)
    threading.Event().wait()

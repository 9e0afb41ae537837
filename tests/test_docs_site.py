"""The site of the documentation: it builds, its links lead somewhere, and its reference tells what
the code has."""

import argparse
import json
import logging
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import yaml
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY
from markdown import markdown
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from constyle_arch.cli import build_parser
from constyle_arch.data.degradations import DEGRADATIONS
from tests.shared import REPOSITORY
from website.commands import commands_page
from website.docstrings import Docstring
from website.hooks import OUTSIDE, on_page_content
from website.markdown import plain_text, prose, slug, table
from website.options import KEYS, as_yaml, constructor_options, keys_page, own


def build_site(root, site):
    build(load_config(str(root / "mkdocs.yml"), strict=True, site_dir=str(site)))


class Page(HTMLParser):
    """The anchors and links of a page."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links = set(), []
        self.feed(path.read_text())

    def handle_starttag(self, _, attributes):
        attributes = dict(attributes)
        self.anchors.add(attributes.get("id"))
        self.links += [attributes[key] for key in ("href", "src") if attributes.get(key)]


def prose_of(path):
    """The text of a page's article without its headings, `code` in place of what is typed."""
    article = re.search(r"(?s)<article[^>]*>(.*?)</article>", path.read_text())[1]
    article = re.sub(r"(?s)<(pre|code|h\d)\b.*?</\1>", "code", article)
    return re.sub(r"<[^>]*>", "", article)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build_site(REPOSITORY, folder)
    return {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def pages(site):
    return {
        name: Page(path)
        for name, path in site.items()
        if name.endswith(".html") and name != "404.html"
    }


@pytest.fixture
def copy(tmp_path):
    """The repository's part of the site, to break something in."""
    for pattern in ("mkdocs.yml", "docs/**/*.*", "website/*.*", *OUTSIDE):
        for source in REPOSITORY.glob(pattern):
            target = tmp_path / source.relative_to(REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return tmp_path


def nav_entries(nav):
    for entry in nav:
        for value in entry.values():
            yield from nav_entries(value) if isinstance(value, list) else [value]


def site_path(path):
    """Where a page of the repository stands on the site."""
    return str(
        Path(path.removeprefix("docs/").replace("README.md", "index.md")).with_suffix(".html")
    )


def test_every_page_of_the_nav_is_there(site):
    nav = list(nav_entries(yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())["nav"]))
    assert len(nav) > 20
    assert {site_path(path) for path in nav} <= set(site)


def test_files_to_download_are_those_of_the_repository(site):
    recipes = [
        path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("options/**/*.yml")
    ]
    assert len(recipes) > 50
    for path in (*recipes, "LICENSE", "CITATION.cff", "benchmarks/growth.svg"):
        assert site[path].read_bytes() == (REPOSITORY / path).read_bytes()
    assert not [name for name in site if name.endswith((".py", ".md"))]


def test_every_link_leads_to_a_place_on_the_site(site, pages):
    for name, page in pages.items():
        for link in page.links:
            if urlsplit(link).scheme:
                assert link.startswith(("http://", "https://"))
                continue
            path, anchor = urldefrag(link)
            target = (
                (Path("/") / name).parent.joinpath(unquote(path)).resolve()
                if path
                else Path("/") / name
            )
            target = str(target).lstrip("/")
            assert target in site, f"{name} links to {link}"
            assert not anchor or anchor in pages[target].anchors, f"{name} links to {link}"


def test_nothing_is_loaded_from_elsewhere(site):
    for path in site.values():
        if path.suffix in (".html", ".css"):
            assert not re.search(
                r"""(src=|url\(|<link[^>]*href=)["']?(https?:)?//""", path.read_text()
            )


def test_markdown_leaves_no_marks_in_the_text(site, pages):
    marks = re.compile(r"^ *([-*+] |\d+\. |\||#+ |```).*|.*((?<!\d)\*\*|\]\().*", re.MULTILINE)
    left = {name: mark[0] for name in pages if (mark := marks.search(prose_of(site[name])))}
    assert not left


def test_bar_in_a_cell_is_a_bar():
    html = markdown("| a |\n|---|\n| `x\\|y` |\n", extensions=["tables"])
    assert '<code class="short">x|y</code>' in on_page_content(html)


BROKEN = {
    "[code](../constyle_arch/cli.py)": "'constyle_arch/cli.py' is not found",
    "[options](../options/)": "unrecognized relative link '../options/'",
    "[anchor](networks.md#nothing)": "does not contain an anchor '#nothing'",
    "![picture](assets/nothing.png)": "'docs/assets/nothing.png' is not found",
}


def test_broken_links_and_pages_that_the_nav_lacks_fail_the_build_and_are_named(
    copy, tmp_path, caplog
):
    page = copy / "docs" / "data.md"
    page.write_text("\n".join([page.read_text(), *BROKEN]))
    (copy / "docs" / "forgotten.md").write_text("# Forgotten\n")
    with caplog.at_level(logging.WARNING, "mkdocs"), pytest.raises(Abort):
        build_site(copy, tmp_path / "site")
    warnings = [record.message for record in caplog.records if record.name.startswith("mkdocs")]
    for problem in BROKEN.values():
        (warning,) = [message for message in warnings if problem in message]
        assert "'docs/data.md'" in warning
    (warning,) = [message for message in warnings if "docs/forgotten.md" in message]
    assert "not included in the" in warning
    assert len(warnings) == len(BROKEN) + 1


def commands(parser):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield command
                yield from commands(command)


def test_every_command_has_a_section_with_its_arguments(pages):
    sections = dict(
        re.findall(
            r"^##+ (basicsr .*)\n((?:(?!^##+ basicsr ).*\n?)*)", commands_page(), re.MULTILINE
        )
    )
    found = list(commands(build_parser()))
    assert {command.prog for command in found} == set(sections)
    for command in found:
        assert slug(command.prog) in pages["reference/commands.html"].anchors
        for flag in (flag for action in command._actions for flag in action.option_strings):
            assert (
                flag in ("-h", "--help", "--local_rank", "--local-rank")
                or f"`{flag}`" in sections[command.prog]
            )


@pytest.mark.parametrize(
    "registry", [ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY]
)
def test_everything_registered_has_a_section(pages, registry):
    names = own(registry)
    assert names
    assert {slug(name) for name in (*names, *DEGRADATIONS)} <= pages[
        "reference/options.html"
    ].anchors


@pytest.mark.parametrize("name", sorted(own(ARCH_REGISTRY)))
def test_options_listed_are_those_a_network_takes(name):
    import torch

    component = ARCH_REGISTRY.get(name)
    options = constructor_options(component)
    with torch.device("meta"):
        listed, default = component(**options), component()
    assert [p.shape for p in listed.parameters()] == [p.shape for p in default.parameters()]
    if name.startswith("ConStyle") and name != "ConStyle":
        assert {"dim", "use_features", "use_code"} <= set(options)


def test_keys_on_the_page_are_those_of_the_code():
    assert KEYS.read_text() == keys_page()


DOCSTRING = """Sharpens an image.

    The mask is I − G(I), see `blur`.

    Args:
        sigma, size: of the Gaussian, in pixels;
            at least 1.
        **options: those of `Blur`.

    Returns:
        The image (H, W, 3), not clamped.

    Options under `train`, besides others:
        train.amp: half or not.
"""


def test_docstring_is_read_by_its_sections():
    docstring = Docstring.parse(DOCSTRING)
    assert docstring.paragraphs == ("Sharpens an image.", "The mask is I − G(I), see `blur`.")
    assert list(docstring.sections) == ["Args", "Returns", "Options under `train`, besides others"]
    assert docstring.sections["Args"]["**options"] == "those of `Blur`."
    assert docstring.lists(leave_out=("Options under `train`, besides others",)) == (
        "**Args:**\n\n"
        "- `sigma`, `size`: of the Gaussian, in pixels; at least 1.\n"
        "- `**options`: those of `Blur`.\n\n"
        "**Returns:**\n\n"
        "- The image (H, W, 3), not clamped."
    )


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("rates of −30 to 30, I = J·t", "rates of −30 to 30, I = J·t"),
        ("give --check, or -o", "give `--check`, or `-o`"),
        ("of names, e.g. '{}_*'.", "of names, e.g. '`{}_*`'."),
        ("a range or {choice: [1, 2]}; see `a_b`", "a range or `{choice: [1, 2]}`; see `a_b`"),
        ("writes net_g_N.pth\nand (NAME_x)", "writes `net_g_N.pth` and (`NAME_x`)"),
        ("(docs/data.md says)", "([docs/data.md](../../docs/data.md) says)"),
        (
            "datasets/README.md, section Rain100L.",
            "[datasets/README.md, section Rain100L](../../datasets/README.md#rain100l).",
        ),
    ],
)
def test_prose_tells_code_and_pages_from_words(text, markdown):
    assert prose(text) == markdown


def test_help_keeps_its_indented_lines_as_they_are():
    assert plain_text("examples:\n  basicsr a --b\n\n    more\n\nthe\nend\n") == (
        "Examples:\n\n```\nbasicsr a --b\n```\n\n```\n  more\n```\n\nThe end"
    )


def test_table_without_rows_is_nothing():
    assert table(("a", "b"), []) == ""
    assert table(("a", "b"), [("x|y", "z")]) == "| a | b |\n| ---|--- |\n| x\\|y | z |"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (None, "~"),
        ((1, 2.5), "[1, 2.5]"),
        ("WithBias", "WithBias"),
        (65_760, "65760"),
    ],
)
def test_defaults_are_written_as_in_option_files(value, text):
    assert as_yaml(value) == text


def test_search_knows_every_page_of_the_nav(site):
    found = {
        entry["location"].split("#")[0]
        for entry in json.loads(site["search/search_index.json"].read_text())["docs"]
    }
    nav = list(nav_entries(yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())["nav"]))
    assert {site_path(path) for path in nav} <= found


def test_pages_are_light_or_dark_as_the_reader_has_it(site):
    schemes = re.findall(
        r'data-md-color-media="([^"]*)" data-md-color-scheme="(\w+)"',
        site["index.html"].read_text(),
    )
    assert dict(schemes) == {
        "(prefers-color-scheme: light)": "default",
        "(prefers-color-scheme: dark)": "slate",
    }

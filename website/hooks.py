"""What mkdocs is given besides mkdocs.yml, which loads this file.

A file's source path is its path in the repository. mkdocs follows and checks links between source
paths, so what is right in the repository is right on the site, and a link to a file that the site
lacks is a warning. Where a file goes is another matter: pages of docs/ stand at the top of the
site.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from website.commands import commands_page
from website.markdown import slug
from website.options import options_page

DOCS = "docs/"

OUTSIDE = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "datasets/README.md",
    "benchmarks/EVIDENCE.md",
    "benchmarks/RESULTS.md",
    "constyle_arch/checkpoints/trained/*.md",
    "benchmarks/**/*.svg",
    "options/**/*.yml",
    "options/schema.json",
    "website/*.css",
    "LICENSE",
    "CITATION.cff",
)
"""What the site has besides docs/."""


def on_config(config: MkDocsConfig) -> None:
    """Give headings the anchors that they have in the repository."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slug


def on_files(files: Files, *, config: MkDocsConfig) -> None:
    """Name files by their paths in the repository; add those outside docs/, and of the code."""
    root = Path(config.config_file_path).parent
    own = [file for file in files if file.src_dir == config.docs_dir]
    for file in own:
        files.remove(file)
    outside = sorted(
        path.relative_to(root).as_posix() for pattern in OUTSIDE for path in root.glob(pattern)
    )
    for path in (*(DOCS + file.src_uri for file in own), *outside):
        files.append(_placed(File(path, str(root), config.site_dir, config.use_directory_urls)))
    for path, content in _generated().items():
        files.append(_placed(File.generated(config, path, content=content)))


def on_page_markdown(markdown: str, **_: object) -> str:
    """Have what is folded read as Markdown, as a repository does."""
    return markdown.replace("<details>", "<details markdown>")


def on_page_content(html: str, **_: object) -> str:
    r"""Show `\|` in a cell as |, as a repository does, and keep short code in one line."""
    html = re.sub("<td>.*</td>", lambda cell: cell[0].replace(r"\|", "|"), html)
    return re.sub("<code>([^<]{1,26})</code>", r'<code class="short">\1</code>', html)


def _generated() -> dict[str, str]:
    return {
        "docs/reference/commands.md": commands_page(),
        "docs/reference/options.md": options_page(),
    }


def _placed(file: File) -> File:
    file.dest_uri = file.dest_uri.removeprefix(DOCS)
    return file

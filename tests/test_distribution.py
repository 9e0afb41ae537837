"""What people are handed: the distribution that is released, and the notebook."""

import email
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import constyle_arch
from constyle_arch.checkpoints.trained import CHECKSUMS, TRAINED
from tests.shared import REPOSITORY

NOTEBOOK = REPOSITORY / "docs" / "restore.ipynb"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """`python -m build`: a source distribution of the repository, and a wheel of that."""
    pytest.importorskip("build")
    copy = tmp_path_factory.mktemp("repository")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy)
    shutil.copytree(
        REPOSITORY / "constyle_arch",
        copy / "constyle_arch",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(copy / "dist")]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return copy / "dist"


def test_the_wheel_has_all_of_the_package_and_no_more(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        package = REPOSITORY / "constyle_arch"
        files = {
            path
            for path in package.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert held == {path.relative_to(REPOSITORY).as_posix() for path in files}
        for name in TRAINED:
            file = f"constyle_arch/checkpoints/trained/{name}.safetensors"
            assert wheel.read(file) == (REPOSITORY / file).read_bytes()
        assert f"constyle_arch/checkpoints/trained/{CHECKSUMS.name}" in held


def test_metadata_say_the_version_and_the_command(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        (folder,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
        metadata = email.message_from_bytes(wheel.read(f"{folder}/METADATA"))
        assert (
            "basicsr = constyle_arch.cli:main" in wheel.read(f"{folder}/entry_points.txt").decode()
        )
    assert metadata["Version"] == constyle_arch.__version__
    assert {"train", "web", "hub", "plot", "onnx"} <= set(metadata.get_all("Provides-Extra"))
    needed = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert needed and not any(
        line.startswith(("basicsr", "torchvision", "scipy")) for line in needed
    )
    with tarfile.open(next(built.glob("*.tar.gz"))) as source:
        assert f"constyle_arch-{constyle_arch.__version__}/LICENSE" in source.getnames()


def test_the_changelog_tells_of_this_version():
    headings = [
        line
        for line in (REPOSITORY / "CHANGELOG.md").read_text().splitlines()
        if line.startswith("## ")
    ]
    assert headings[0] == "## Unreleased"
    assert headings[1] == f"## {constyle_arch.__version__}"


def test_forms_ask_for_versions():
    forms = [
        yaml.safe_load(path.read_text())
        for path in (REPOSITORY / ".github/ISSUE_TEMPLATE").glob("*.yml")
    ]
    assert len(forms) == 2
    for form in forms:
        assert any("basicsr --version" in part["attributes"]["label"] for part in form["body"])


def test_the_dockerfile_copies_what_its_ignore_file_lets_in():
    allowed = {
        line[1:]
        for line in (REPOSITORY / "docker/Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = [
        name
        for line in (REPOSITORY / "docker/Dockerfile").read_text().splitlines()
        if line.startswith("COPY ")
        for name in line.split()[1:-1]
    ]
    assert set(copied) == allowed
    assert all((REPOSITORY / name).exists() for name in copied)


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    # the command is looked up on PATH, where this Python may have none
    (tmp_path / "basicsr").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m constyle_arch "$@"\n')
    (tmp_path / "basicsr").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY), prepend=os.pathsep)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, resources={"metadata": {"path": str(tmp_path)}}, timeout=300
    ).execute()
    said = "".join(
        output.get("text", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text" in output
    )
    scores = [line.split() for line in said.splitlines() if line.startswith("sigma ")]
    assert len(scores) == 3
    assert all(float(score[5]) > float(score[2]) + 5 for score in scores)
    assert "Restored 1" in said and (Path(tmp_path) / "restored" / "photo.png").is_file()

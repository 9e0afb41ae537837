"""Metadata of the package. Tools are configured in pyproject.toml, tested versions stand in
constraints.txt.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = Path(__file__).with_name("constyle_arch")

# What trains: BasicSR, and what reads option files.
TRAIN = [
    "basicsr==1.4.2",
    "torchvision",
    "scipy<2",  # BasicSR 1.4.2 imports scipy.ndimage.filters, which SciPy 2 removes
    "pydantic>=2.10",  # describes option files
]

setup(
    name="constyle-arch",
    version=re.search(
        '__version__ = "(.+)"', (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    )[1],
    description="IRConStyle image restoration for BasicSR: ConStyle networks, contrastive "
    "training, one command",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["constyle_arch", "constyle_arch.*"]),
    package_data={"constyle_arch": ["py.typed", "checkpoints/trained/*"]},
    install_requires=[
        "torch>=2.6",
        "numpy",
        "opencv-python>=4.13",  # writes colour profiles
        "pillow>=10",
        "tifffile",
        "lmdb",
        "pyyaml",
        "safetensors",
        "einops",
        "tqdm",
        "filelock>=4",  # forked workers let go of their parent's locks
    ],
    extras_require={
        "train": TRAIN,
        "sample": ["scikit-image>=0.22"],  # the photographs that `basicsr prepare sample` hazes
        "plot": ["matplotlib>=3.8"],  # `basicsr plot`, `basicsr latents`
        "metrics": ["torchmetrics>=1.9"],  # LPIPS and DISTS
        "spandrel": ["spandrel>=0.4"],
        "onnx": ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"],
        "heif": ["pillow-heif>=0.18"],  # photographs of phones
        "web": ["gradio>=6.31,<7"],  # `basicsr web`
        "hub": ["huggingface_hub>=1"],  # `checkpoints.hub`
        "docs": ["mkdocs>=1.6.1,<2", "mkdocs-material>=9.7,<10", "pygments"],  # `make docs`
        "dev": [
            *TRAIN,
            "scikit-image>=0.22",
            "scikit-learn",  # t-SNE of `basicsr latents`
            "matplotlib>=3.8",
            "torchmetrics>=1.9",
            "spandrel>=0.4",
            "spandrel_extra_arches>=0.2",  # the benchmarks compare with it
            "onnx>=1.17",
            "onnxscript>=0.5",
            "onnxruntime>=1.20",
            "pillow-heif>=0.18",
            "gradio>=6.31,<7",
            "huggingface_hub>=1",
            "playwright",  # looks at the page in Debian's Chromium
            "nbclient",
            "ipykernel",
            "build",
            "mkdocs>=1.6.1,<2",
            "mkdocs-material>=9.7,<10",
            "pygments",
            "pytest",
            "pytest-xdist",
            "hypothesis",
            "jsonschema",
            "ruff",
            "mypy",
            "types-PyYAML",
            "types-tqdm",
        ],
    },
    entry_points={"console_scripts": ["basicsr = constyle_arch.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
)

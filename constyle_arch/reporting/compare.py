"""Tables of several tests side by side."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

import constyle_arch
from constyle_arch.errors import DataError
from constyle_arch.images import Image, decode
from constyle_arch.reporting import SIDE
from constyle_arch.reporting.pictures import Picture, comparison
from constyle_arch.reporting.report import Results, number
from constyle_arch.reporting.scores import INPUT, markdown_table

TOLERANCE = 1e-3
"""Inputs whose scores differ by more are not the same images."""

COLUMNS = ["test", "network", "parameters (M)", f"GMACs ({SIDE}²)"]
"""Of the first table."""


def check_tables(path: Path) -> None:
    """Check that a file to write is not there, or holds tables of `compare`.

    Raises:
        DataError: it holds something else.
    """
    if not path.exists():
        return
    first = path.read_bytes().partition(b"\n")[0].decode(errors="replace") if path.is_file() else ""
    if [cell.strip() for cell in first.split("|")][1:-1] != COLUMNS:
        raise DataError(
            f"-o: {path} is there and holds no tables of this command; choose another name."
        )


def compare(paths: Sequence[str]) -> str:
    """Tests in Markdown: their sizes, and a table a metric with differences from the first test.

    The paths are of results folders, or of `results.json` files in them.

    Raises:
        DataError: a path holds no results, or no metric is in all of them.
    """
    tests = [_read(path) for path in paths]
    names = _names(tests, paths)
    metrics = [
        metric for metric in _metrics(tests[0]) if all(metric in _metrics(test) for test in tests)
    ]
    if not metrics:
        raise DataError("The results have no metric in common: " + ", ".join(map(str, paths)) + ".")
    sizes = [
        [name, test.network, f"{test.parameters / 1e6:.3f}", _gmacs(test)]
        for name, test in zip(names, tests, strict=True)
    ]
    tables = [markdown_table(COLUMNS, sizes)]
    benchmarks = list(dict.fromkeys(benchmark for test in tests for benchmark in test.benchmarks))
    for metric in metrics:
        rows = [_row(benchmark, metric, tests) for benchmark in benchmarks]
        tables.append(f"{metric}\n\n{markdown_table(['benchmark', 'input', *names], rows)}")
    different = [
        benchmark for benchmark in benchmarks if not _same_images(benchmark, metrics, tests)
    ]
    remarks = [
        f"{name} was not measured on the same images; its scores do not compare."
        for name in different
    ]
    return "\n\n".join([*tables, *remarks]) + "\n"


def pictures(paths: Sequence[str]) -> Iterator[tuple[str, Picture]]:
    """Every image of the benchmarks: input, each test's result and truth, with their PSNR.

    Below is a magnified crop of where the first and the last result differ most (a single one from
    the truth). The paths are as for `compare`; the tests must have kept their images
    (`val.save_img: true`).

    Yields:
        `BENCHMARK/IMAGE`, and the picture.

    Raises:
        DataError: a path holds no results, or there is no image that all tests have kept.
    """
    constyle_arch.register()
    from basicsr.data import build_dataset
    from basicsr.utils import tensor2img

    tests = [_read(path) for path in paths]
    names, drawn = _names(tests, paths), 0
    for benchmark, measured in tests[0].benchmarks.items():
        for sample in build_dataset(measured.dataset) if measured.dataset else ():
            files = [
                _file(path).parent
                / f"visualization/{benchmark}/{sample['name']}_{test.suffix or test.name}.png"
                for path, test in zip(paths, tests, strict=True)
            ]
            if "gt" not in sample or not all(file.is_file() for file in files):
                continue
            truth = tensor2img(sample["gt"])
            shown = {"input": tensor2img(sample["lq"])}
            shown |= {
                name: decode(file.read_bytes(), file)
                for name, file in zip(names, files, strict=True)
            }
            if any(image.shape != truth.shape for image in shown.values()):
                raise DataError(
                    f"{files[0]} and others of that name are not of the size of the benchmark's "
                    "image."
                )
            scored = {f"{name} {_psnr(image, truth)}": image for name, image in shown.items()}
            one, other = shown[names[0]], shown[names[-1]] if len(names) > 1 else truth
            difference = np.abs(one.astype(np.float32) - other).sum(axis=2)
            yield (
                f"{benchmark}/{sample['name']}",
                comparison({**scored, "truth": truth}, interest=difference),
            )
            drawn += 1
    if not drawn:
        raise DataError(
            "There is no image that all tests have kept: test with val.save_img: true (and with "
            "this version)."
        )


def _psnr(image: Image, truth: Image) -> str:
    from basicsr.metrics import calculate_psnr

    return f"{calculate_psnr(image, truth, crop_border=0):.2f} dB"


def _names(tests: Sequence[Results], paths: Sequence[str]) -> list[str]:
    """What the tests are called: by their paths where two have one name."""
    names = [test.name for test in tests]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _gmacs(test: Results) -> str:
    comparable = test.gmacs is not None and test.gmacs_image_side == SIDE
    return f"{test.gmacs:.2f}" if comparable else "–"


def _metrics(test: Results) -> list[str]:
    columns = next((one.scores for one in test.benchmarks.values()), {})
    return [column for column in columns if f"{INPUT}{column}" in columns]


def _mean(test: Results, benchmark: str, column: str) -> float | None:
    measured = test.benchmarks.get(benchmark)
    return measured.scores[column].value if measured and column in measured.scores else None


def _row(benchmark: str, metric: str, tests: Sequence[Results]) -> list[str]:
    values = [_mean(test, benchmark, metric) for test in tests]
    of_input = next(
        _mean(test, benchmark, f"{INPUT}{metric}") for test in tests if benchmark in test.benchmarks
    )
    cells = [benchmark, number(of_input), number(values[0])]
    for value in values[1:]:
        difference = "" if value is None or values[0] is None else f" ({value - values[0]:+.4f})"
        cells.append(f"{number(value)}{difference}")
    return cells


def _same_images(benchmark: str, metrics: Sequence[str], tests: Sequence[Results]) -> bool:
    """Whether as many images were measured, and degraded ones of the same scores."""
    tests = [test for test in tests if benchmark in test.benchmarks]
    inputs = np.array(
        [[_mean(test, benchmark, f"{INPUT}{metric}") or 0 for metric in metrics] for test in tests]
    )
    counts = {test.benchmarks[benchmark].images for test in tests}
    return len(counts) == 1 and bool((np.abs(inputs - inputs[0]) <= TOLERANCE).all())


def _file(path: str) -> Path:
    return Path(path) / "results.json" if Path(path).is_dir() else Path(path)


def _read(path: str) -> Results:
    file = _file(path)
    try:
        return Results.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"{file} does not exist; `basicsr test` writes it into results/NAME."
        ) from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(
            f"{file} holds no results of `basicsr test`: {place}: {first['msg']}."
        ) from error

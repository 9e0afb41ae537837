"""The schema by which editors check option files."""

import json

import jsonschema
import pytest

from constyle_arch.options.reading import read_option_file
from tests.bad_options import broken
from tests.shared import REPOSITORY, training_options


@pytest.fixture(scope="module")
def editor():
    """What an editor says of options, by their places."""
    validator = jsonschema.Draft7Validator(
        json.loads((REPOSITORY / "options" / "schema.json").read_text())
    )

    def marked(errors):
        for error in errors:
            or_empty = error.validator == "anyOf" and error.context[-1].validator == "type"
            yield from marked(error.context[:-1]) if or_empty else [error]

    def said(options):
        errors = marked(validator.iter_errors(options))
        return {".".join(map(str, error.absolute_path)): error.message for error in errors}

    return said


def test_editors_find_nothing_wrong_with_the_recipes(editor):
    for path in (REPOSITORY / "options").rglob("*.yml"):
        assert editor(read_option_file(path)) == {}, path
        place = path.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
        assert (path.parent / place).resolve() == REPOSITORY / "options" / "schema.json"


@pytest.mark.parametrize(
    ("path", "value", "place", "message"),
    [
        ("trian", {}, "", "'trian' was unexpected"),
        ("train.ema_deacy", 0.9, "train", "'ema_deacy'"),
        ("train.total_iter", "many", "train.total_iter", "not of type 'integer'"),
        (
            "train.contrast.momentum",
            3,
            "train.contrast.momentum",
            "3 is greater than the maximum of 1",
        ),
        ("train.my_opt", {"weight": 1}, "train.my_opt", "'type' is a required property"),
        ("datasets.train.use_hfilp", True, "datasets.train", "'use_hfilp' was unexpected"),
        ("datasets.train.gt_size", ..., "datasets.train", "'gt_size' is a required property"),
        ("logger", ..., "", "'logger' is a required property"),
        ("datasets.vall", {}, "datasets", "'vall' does not match"),
    ],
)
def test_editors_mark_what_is_wrong(editor, ten_pairs, path, value, place, message):
    options = training_options(ten_pairs, ten_pairs)
    assert editor(options) == {}
    assert message in editor(broken(options, path, value))[place]


def test_options_of_other_models_pass_editors_as_they_are(editor, ten_pairs):
    options = training_options(ten_pairs)
    options |= {"model_type": "SRModel", "mine": {}}
    assert editor(options) == {}
    options = training_options(ten_pairs)
    options["datasets"]["train"] |= {
        "type": "PairedImageDataset",
        "filename_tmpl": "{}",
        "use_shuffle": True,
    }
    assert editor(options) == {}

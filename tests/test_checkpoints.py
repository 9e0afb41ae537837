"""Reading checkpoints of every origin, and refusing those that do not fit."""

import logging
import random
from functools import partial
from pathlib import Path

import pytest
import safetensors.torch
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from spandrel.architectures.KBNet import KBNet_l, KBNet_s
from spandrel.architectures.Uformer import Uformer
from torch import nn

import constyle_arch
from constyle_arch.archs import ConStyleNAFNet, ConStyleRestormer, NAFNet, Restormer
from constyle_arch.checkpoints.conversion import convert
from constyle_arch.checkpoints.detection import detect_network
from constyle_arch.checkpoints.loading import fill, load_network, own_names, read_network
from constyle_arch.checkpoints.published_names import to_published
from constyle_arch.checkpoints.reading import digest_of, read_state_dict
from constyle_arch.errors import CheckpointError, OptionsError
from constyle_arch.reporting.describing import describe
from tests.processes import run_command
from tests.shared import (
    RANDOM_OPTIONS,
    SHAPES,
    SMALL,
    SMALL_NAFNET,
    TINY,
    paired_dataset,
    published_state_dict,
    small_network,
    training_options,
    write_options,
)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", RANDOM_OPTIONS)
def test_network_is_recognised_by_its_weights(name, seed):
    options = RANDOM_OPTIONS[name](random.Random(seed))
    weights = ARCH_REGISTRY.get(name)(**options).state_dict()
    detected_name, detected = detect_network(weights)
    assert detected_name == name
    rebuilt = ARCH_REGISTRY.get(name)(**detected).state_dict()
    assert {key: tensor.shape for key, tensor in rebuilt.items()} == {
        key: tensor.shape for key, tensor in weights.items()
    }
    for option, value in detected.items():
        # a level without blocks has none; several factors may do
        if option not in (
            "heads",
            "ffn_expansion_factor",
        ):
            assert value == options[option], option


def save_as(form: str, weights: dict, folder: Path) -> Path:
    if form == "safetensors":
        safetensors.torch.save_file(weights, folder / "w.safetensors")
        return folder / "w.safetensors"
    content = {
        "bare": weights,
        "module": {f"module.{name}": tensor for name, tensor in weights.items()},
        "lightning": {
            "state_dict": {f"net_g.{name}": tensor for name, tensor in weights.items()},
            "epoch": 3,
        },
        "compiled": {
            "model": {f"_orig_mod.model.{name}": tensor for name, tensor in weights.items()},
            "args": {},
        },
        **{
            form: {form: weights, "iteration": 7}
            for form in ("model", "net", "network", "generator")
        },
        "state_dict": {"state_dict": weights, "epoch": 3},
        "params": {"params": weights},
        "params_ema": {
            "params": {name: tensor + 1 for name, tensor in weights.items()},
            "params_ema": weights,
        },
    }[form]
    torch.save(content, folder / "w.pth")
    return folder / "w.pth"


FORMS = ["safetensors", "bare", "module", "state_dict", "params", "params_ema"]
FORMS += ["lightning", "compiled", "model", "net", "network", "generator"]


@pytest.mark.parametrize("names", ["own", "published"])
@pytest.mark.parametrize("form", FORMS)
def test_weights_are_read_from_every_form_of_file(tmp_path, form, names):
    published = published_state_dict("ConStyleNAFNet_small")
    expected = own_names(published)
    path = save_as(form, published if names == "published" else expected, tmp_path)
    network = constyle_arch.load_network(path)
    assert not network.training
    assert isinstance(network, ConStyleNAFNet)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, expected[name])


def test_networks_own_names_may_begin_like_a_wrapper(tmp_path):
    network = nn.Sequential()
    network.add_module("model", nn.Conv2d(3, 3, 1))
    torch.save({"params": network.state_dict()}, tmp_path / "w.pth")
    other = nn.Sequential()
    other.add_module("model", nn.Conv2d(3, 3, 1))
    fill(other, read_state_dict(tmp_path / "w.pth"), "w.pth")
    assert torch.equal(other.model.weight, network.model.weight)


def test_released_constyle_restormer_with_biases_has_one_where_the_code_is_fused(tmp_path):
    network = ConStyleRestormer(**SMALL, bias=True)
    published = to_published(network.state_dict(), "ConStyleRestormer")
    biases = {
        name
        for name in published
        if name.endswith("bias") and "." not in name.removesuffix(".bias")
    }
    assert biases == {"local_fusion.bias"}
    assert "Preprocess_Module.proj.bias" not in published
    torch.save({"params": published}, tmp_path / "w.pth")
    assert torch.equal(load_network(tmp_path / "w.pth").fuse.bias, network.fuse.bias)


@pytest.mark.parametrize(
    ("network", "name"),
    [
        (
            partial(KBNet_s, width=8, middle_blk_num=1, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]),
            "KBNet",
        ),
        (partial(KBNet_l, dim=48, num_blocks=[1, 1, 1, 1], num_refinement_blocks=1), "KBNet"),
        (partial(Uformer, embed_dim=8, depths=[1] * 9), "Uformer"),
    ],
)
def test_networks_that_look_like_others_are_named(tmp_path, network, name):
    torch.save({"params": network().state_dict()}, tmp_path / "w.pth")
    with pytest.raises(
        CheckpointError, match=rf"weights are those of {name}, a network that this package does not"
    ):
        load_network(tmp_path / "w.pth")
    assert f"of {name}, not of this package" in describe(tmp_path / "w.pth")


def test_architecture_and_options_may_be_given(tmp_path):
    network = TINY["ConStyleRestormer"]()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    loaded = load_network(tmp_path / "w.pth", "ConStyleRestormer", **SMALL)
    assert torch.equal(loaded.fuse.weight, network.fuse.weight)
    detected = load_network(tmp_path / "w.pth", "ConStyleRestormer")
    assert torch.equal(detected.fuse.weight, network.fuse.weight)
    with pytest.raises(
        CheckpointError, match=r"ConStyleRestormer cannot be built .* argument 'dmi'"
    ):
        load_network(tmp_path / "w.pth", dmi=8)
    with pytest.raises(CheckpointError, match="no architecture 'Nonesuch'"):
        load_network(tmp_path / "w.pth", "Nonesuch")


def test_training_extras_of_a_release_are_skipped_for_inference(tmp_path):
    torch.save({"params": published_state_dict("ConStyleNAFNet_small_train")}, tmp_path / "w.pth")
    network = load_network(tmp_path / "w.pth")
    assert not [name for name in network.state_dict() if "queue" in name or "encoder_k" in name]


@pytest.fixture
def release(tmp_path):
    torch.save(
        {"params": published_state_dict("ConStyleNAFNet_small_train")}, tmp_path / "release.pth"
    )
    return tmp_path / "release.pth"


@pytest.mark.parametrize("normalize", [False, True])
def test_training_goes_on_with_a_releases_momentum_encoder_and_queue(
    make_model, release, normalize
):
    network = {"type": "ConStyleNAFNet", **SMALL_NAFNET}
    contrast = {"queue_size": 96, "normalize": normalize}
    model = make_model(
        network_g=network, contrast=contrast, path={"pretrain_network_g": str(release)}
    )
    published = published_state_dict("ConStyleNAFNet_small_train")
    queue = published["ConStyle.queue"]
    assert torch.equal(model.contrast.queue, queue / queue.norm(dim=0) if normalize else queue)
    assert int(model.contrast.pointer) == int(published["ConStyle.queue_ptr"])
    key_weight = published["ConStyle.encoder_k.stage3.1.0.weight"]
    assert torch.equal(model.contrast.encoder.stages[2][2].weight, key_weight)
    assert not torch.equal(model.net_g.encoder.stages[2][2].weight, key_weight)
    assert torch.equal(
        model.net_g_ema.encoder.stages[2][2].weight, model.net_g.encoder.stages[2][2].weight
    )


def test_queue_of_another_length_names_the_option(make_model, release):
    with pytest.raises(
        OptionsError, match=r"queue of 96 codes and train\.contrast\.queue_size is 24; set it to 96"
    ):
        make_model(
            network_g={"type": "ConStyleNAFNet", **SMALL_NAFNET},
            path={"pretrain_network_g": str(release)},
        )


def test_weights_that_do_not_fit_are_described_and_nothing_is_loaded(tmp_path):
    network = ConStyleRestormer(**SMALL)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    other = ConStyleRestormer(
        **{**SMALL, "num_refinement_blocks": 2, "num_blocks_bottleneck": 1}
    ).state_dict()
    with pytest.raises(CheckpointError) as error:
        fill(network, other, "w.pth")
    message = str(error.value)
    assert "w.pth does not fit ConStyleRestormer" in message
    assert "missing: bottleneck.1.norm1.body.weight" in message
    assert "not in the network: refine.1.norm1.body.weight" in message
    assert "The file holds a ConStyleRestormer with dim 16" in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())

    wider = ConStyleRestormer(**{**SMALL, "dim": 24}).state_dict()
    with pytest.raises(CheckpointError, match=r"of another shape: .*instead of .* and \d+ more"):
        fill(network, wider, "w.pth")


def test_partial_loading_fills_what_fits_but_not_nothing():
    network = ConStyleRestormer(**SMALL)
    other = ConStyleRestormer(**{**SMALL, "num_refinement_blocks": 2}).state_dict()
    fill(network, other, "w.pth", strict=False)
    assert torch.equal(network.fuse.weight, other["fuse.weight"])
    with pytest.raises(CheckpointError, match="0 of its 142 tensors match"):
        fill(network, {"a": torch.zeros(1)}, "w.pth", strict=False)


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def damaged_files(folder):
    torch.save({"params": TINY["NAFNet"]().state_dict()}, folder / "whole.pth")
    (folder / "truncated.pth").write_bytes((folder / "whole.pth").read_bytes()[:-5000])
    (folder / "text.pth").write_text("not a checkpoint")
    (folder / "empty.pth").write_bytes(b"")
    (folder / "text.safetensors").write_text("not a checkpoint")
    torch.save({"params": Malicious(folder / "marker")}, folder / "malicious.pth")
    torch.save({"params": nn.Linear(2, 2)}, folder / "module.pth")
    torch.jit.script(nn.Linear(2, 2)).save(folder / "script.pth")
    torch.save([1, 2], folder / "list.pth")
    torch.save({"optimizer": {}}, folder / "no_weights.pth")
    torch.save({"params": {"lr": 1}}, folder / "numbers.pth")
    torch.save({"params": {"x.weight": torch.zeros(2)}}, folder / "foreign.pth")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.pth", "does not exist"),
        ("truncated.pth", "damaged or no checkpoint"),
        ("text.pth", "damaged"),
        ("empty.pth", "damaged or no checkpoint"),
        ("text.safetensors", "damaged or no checkpoint"),
        ("malicious.pth", "holds more than weights"),
        (
            "module.pth",
            r"plain data \(it asks for torch.nn.modules.linear.Linear\), and is not opened\.$",
        ),
        ("script.pth", "damaged or no checkpoint: it is a TorchScript archive$"),
        ("list.pth", "holds a list"),
        ("no_weights.pth", "it has optimizer"),
        ("numbers.pth", "the content of 'params' is not a set of weights"),
        ("foreign.pth", "of no network of this package"),
    ],
)
def test_files_that_are_no_checkpoints_are_refused(tmp_path, name, message):
    damaged_files(tmp_path)
    with pytest.raises(CheckpointError, match=message) as error:
        load_network(tmp_path / name)
    assert "weights_only" not in str(error.value)
    assert not (tmp_path / "marker").exists()


def flip_bytes(path, share, count=1):
    """Invert `count` bytes from a share of the file on."""
    content = bytearray(path.read_bytes())
    for place in range(int(share * len(content)), int(share * len(content)) + count):
        content[place] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_weights_with_a_changed_byte_are_not_used(tmp_path, name, share):
    torch.save({"params": TINY["NAFNet"]().state_dict()}, tmp_path / "whole.pth")
    convert(str(tmp_path / "whole.pth"), str(tmp_path / name), key="params")
    load_network(tmp_path / name)
    flip_bytes(tmp_path / name, share)
    with pytest.raises(CheckpointError, match=rf"{name} is damaged: .*Take another copy of it\."):
        load_network(tmp_path / name)


def test_digest_is_of_names_types_shapes_and_numbers():
    weights = {"a": torch.arange(6.0), "b": torch.tensor(3), "c": torch.zeros(0, dtype=torch.bool)}
    same = {"c": weights["c"].clone(), "b": torch.tensor(3), "a": torch.arange(12.0)[:6]}
    assert digest_of(weights) == digest_of(same)
    for changed in (
        {"a": torch.arange(6.0).view(2, 3)},
        {"b": torch.tensor(4)},
        {"b": torch.tensor(3, dtype=torch.int32)},
        {"d": torch.tensor(3)},
    ):
        assert digest_of({**weights, **changed}) != digest_of(weights)


def test_files_without_checksums_are_read(tmp_path):
    network = TINY["NAFNet"]()
    torch.save(network.state_dict(), tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    safetensors.torch.save_file(weights, tmp_path / "other.safetensors")
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(network.state_dict(), tmp_path / "unchecked.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    for path in tmp_path.iterdir():
        assert_same(load_network(path).state_dict(), network.state_dict())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ({"param_key_g": "params_em"}, "has no key 'params_em'; it has params"),
        ({"pretrain_network_g": None}, "path.pretrain_network_g is None; it must be text"),
        ({"pretrain_network_g": "wide.pth"}, "does not fit ConStyleRestormer"),
        ({"pretrain_network_g": "truncated.pth"}, "damaged or no checkpoint"),
    ],
)
def test_wrong_weights_are_reported_before_a_test_starts(tmp_path, two_pairs, path, message):
    damaged_files(tmp_path)
    network = small_network()
    kind = network.pop("type")
    torch.save({"params": ARCH_REGISTRY.get(kind)(**network).state_dict()}, tmp_path / "w.pth")
    torch.save(
        {"params": ARCH_REGISTRY.get(kind)(**{**network, "dim": 16}).state_dict()},
        tmp_path / "wide.pth",
    )
    options = training_options(two_pairs, two_pairs)
    options["datasets"] = {"test": paired_dataset(two_pairs)}
    options["path"] = {"pretrain_network_g": "w.pth", "param_key_g": "params", **path}
    result = run_command(
        "test", "-opt", write_options(tmp_path / "test.yml", options), cwd=tmp_path
    )
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert not (tmp_path / "results").exists()


def test_warm_start_fills_the_stages_that_have_a_restormers_role_and_shape():
    original = Restormer(dim=16, num_blocks=(2, 2, 2, 2), num_refinement_blocks=2).state_dict()
    network = ConStyleRestormer(
        **{**SMALL, "layer_norm_type": "WithBias", "num_refinement_blocks": 3}
    )
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    table = fill(network, original, "official.pth", strict=False)
    roles = {
        "preprocess.": "patch_embed.proj.",
        "down.0.0.": "encoder_level1.0.",
        "down.1.0.": "encoder_level2.0.",
        "down.1.1.": "encoder_level2.1.",
        "up.0.0.": "decoder_level3.0.",
        "up.0.1.": "decoder_level3.1.",
        "up.2.0.": "decoder_level1.0.",
        "refine.0.": "refinement.0.",
        "refine.1.": "refinement.1.",
        "output.": "output.",
    }
    filled = 0
    for name, tensor in network.state_dict().items():
        role = next((role for role in roles if name.startswith(role)), None)
        if role is None:
            assert torch.equal(tensor, before[name]), name
        else:
            assert torch.equal(tensor, original[roles[role] + name.removeprefix(role)]), name
            filled += tensor.numel()
    total = sum(tensor.numel() for tensor in before.values())
    assert f"together {filled:,} of {total:,}, {filled / total:.1%} of the network" in table
    assert "down.1       encoder_level2        2" in table


def test_warm_start_from_nafnet_counts_levels_from_full_resolution():
    original = NAFNet(
        width=16, enc_blk_nums=(1, 2, 1, 1), middle_blk_num=1, dec_blk_nums=(1, 1, 1, 1)
    ).state_dict()
    network = ConStyleNAFNet(**SMALL_NAFNET)
    table = fill(network, original, "official.pth", strict=False)
    for name, role in (
        ("preprocess.weight", "intro.weight"),
        ("up.0.0.conv1.weight", "decoders.1.0.conv1.weight"),
    ):
        assert torch.equal(network.state_dict()[name], original[role])
    assert [line.split()[0] for line in table.splitlines()[2:-1]] == [
        "preprocess",
        "down.0",
        "down.1",
        "up.0",
    ]


def test_warm_start_without_a_match_is_an_error_and_strict_loading_says_how():
    original = Restormer(dim=20, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1).state_dict()
    with pytest.raises(CheckpointError, match="no block has the shape of its counterpart"):
        fill(ConStyleRestormer(**SMALL), original, "official.pth", strict=False)
    with pytest.raises(CheckpointError, match=r"Set path\.strict_load_g: false for a warm start"):
        fill(ConStyleRestormer(**SMALL), original, "official.pth")


def test_training_starts_warm_through_the_option_file(make_model, tmp_path):
    original = Restormer(dim=8, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1)
    torch.save({"params": original.state_dict()}, tmp_path / "official.pth")
    model = make_model(
        path={"pretrain_network_g": str(tmp_path / "official.pth"), "strict_load_g": False}
    )
    for network in (model.net_g, model.net_g_ema):
        assert torch.equal(
            network.down[0][0].ffn.project_in.weight,
            original.encoder_level1[0].ffn.project_in.weight,
        )


def assert_same(actual, expected):
    assert set(actual) == set(expected)
    for name, tensor in actual.items():
        assert tensor.dtype == expected[name].dtype
        assert torch.equal(tensor, expected[name])


@pytest.mark.parametrize("middle", ["own.pth", "own.safetensors"])
@pytest.mark.parametrize("name", SHAPES)
def test_conversion_there_and_back_is_bit_identical(tmp_path, name, middle):
    published = published_state_dict(name)
    torch.save({"params": published}, tmp_path / "in.pth")
    convert(str(tmp_path / "in.pth"), str(tmp_path / middle), key="params")
    convert(str(tmp_path / middle), str(tmp_path / "back.safetensors"), names="published")
    assert_same(read_state_dict(tmp_path / "back.safetensors"), published)
    own = read_state_dict(tmp_path / middle)
    assert_same(
        {key: tensor for key, tensor in own.items() if not key.startswith("left_out/")},
        own_names(published),
    )


def test_converted_release_loads_like_the_release(tmp_path):
    torch.save(
        {"params": published_state_dict("ConStyleNAFNet_small_train"), "epoch": 7},
        tmp_path / "in.pth",
    )
    result = run_command("convert", "in.pth", "out.pth", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert torch.load(tmp_path / "out.pth", weights_only=True)["epoch"] == 7
    networks = [load_network(tmp_path / name).state_dict() for name in ("in.pth", "out.pth")]
    assert_same(*networks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("w.pth", "there.pth"), "there.pth already exists"),
        (("w.pth", "w.pth", "--overwrite"), "w.pth already exists"),
        (("w.pth", "out.safetensors"), "choose one with --key"),
        (("w.pth", "out.bin"), "must end in .pth or .safetensors"),
        (("w.pth", "out.pth", "--key", "ema"), "has no key 'ema'; it has params"),
        (("no.pth", "out.pth"), "no.pth does not exist"),
    ],
)
def test_conversion_that_cannot_be_done_is_refused_and_writes_nothing(tmp_path, arguments, message):
    torch.save({"params": TINY["NAFNet"]().state_dict()}, tmp_path / "w.pth")
    (tmp_path / "there.pth").write_text("precious")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    result = run_command("convert", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def saved_network(path, change=lambda tensors: None):
    """Write the weights of a small network, changed; the network before."""
    options = small_network()
    network = ARCH_REGISTRY.get(options.pop("type"))(**options)
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    change(tensors)
    torch.save({"params": tensors}, path)
    return network


def test_averaged_weights_are_taken_everywhere_and_that_is_said(tmp_path, make_model, capsys):
    """What a training validates, a test scores, `restore` restores with and the next training
    starts from."""
    saved_network(tmp_path / "w.pth")
    plain = torch.load(tmp_path / "w.pth", weights_only=True)["params"]
    averaged = {name: tensor + 1 for name, tensor in plain.items()}
    torch.save({"params": plain, "params_ema": averaged}, tmp_path / "w.pth")
    for key, expected in ((None, averaged), ("params", plain)):
        path = {"pretrain_network_g": str(tmp_path / "w.pth")} | (
            {"param_key_g": key} if key else {}
        )
        model = make_model(path=path, ema_decay=0)
        assert torch.equal(
            model.net_g.state_dict()["preprocess.weight"], expected["preprocess.weight"]
        )
        assert model.section_taken == (f" [{key}]" if key else " [params_ema]")
        network, section = read_network(tmp_path / "w.pth", key=key)
        assert torch.equal(network.state_dict()["preprocess.weight"], expected["preprocess.weight"])
        assert section == (key or "params_ema")


@pytest.mark.parametrize("trained", [("params",), ("params", "params_ema"), ()])
def test_averages_without_batchnorms_statistics_are_warned_of_once(
    tmp_path, caplog, monkeypatch, trained
):
    """BasicSR averages parameters alone: IRConStyle's published numbers are of a network with
    initial statistics."""
    monkeypatch.setattr(logging.getLogger("basicsr"), "propagate", True)
    weights = saved_network(tmp_path / "w.pth").state_dict()
    sections = {
        section: {n: t.clone() for n, t in weights.items()} for section in ("params", "params_ema")
    }
    for section in trained:
        sections[section]["encoder.projections.1.1.running_var"] += 0.5
    torch.save(sections, tmp_path / "w.pth")
    for key in (None, None, "params", "params_ema"):
        load_network(tmp_path / "w.pth", key=key)
    # which two handlers may both have caught
    records = {id(record): record.message for record in caplog.records}
    warned = [message for message in records.values() if "two networks" in message]
    assert len(warned) == (trained == ("params",))
    assert not warned or str(tmp_path / "w.pth") in warned[0]


def test_message_names_the_section_that_was_taken(tmp_path):
    torch.save({"params_ema": [1, 2]}, tmp_path / "w.pth")
    with pytest.raises(
        CheckpointError, match="the content of 'params_ema' is not a set of weights"
    ):
        load_network(tmp_path / "w.pth")


def test_counters_with_an_axis_are_read_as_pytorch_reads_them(tmp_path):
    counter = "encoder.projections.0.1.num_batches_tracked"
    saved_network(tmp_path / "w.pth", lambda tensors: tensors.update({counter: torch.tensor([7])}))
    assert load_network(tmp_path / "w.pth").state_dict()[counter] == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: {n: t.char() for n, t in tensors.items()}, "int8 instead of float32"),
        (
            lambda tensors: {n: t.to(torch.complex64) for n, t in tensors.items()},
            "complex64 instead of",
        ),
        (
            lambda tensors: {n: t for n, t in tensors.items() if n != "refine.0.attn.qkv.weight"},
            "1 missing: refine",
        ),
        (
            lambda tensors: {n: t for n, t in tensors.items() if n != "fuse.weight"},
            r"incomplete \(fuse\.weight\)",
        ),
        (
            lambda tensors: {n: t for n, t in tensors.items() if "ffn.project_out" not in n},
            "incomplete",
        ),
        (
            lambda tensors: {n: t.sum() if n == "fuse.weight" else t for n, t in tensors.items()},
            "incomplete",
        ),
    ],
)
def test_weights_that_cannot_be_a_network_are_refused_by_restore_and_info_alike(
    tmp_path, change, message
):
    network = saved_network(tmp_path / "w.pth")
    torch.save({"params": change(network.state_dict())}, tmp_path / "w.pth")
    for refuse in (load_network, describe):
        with pytest.raises(CheckpointError, match=message) as raised:
            refuse(tmp_path / "w.pth")
        assert str(tmp_path / "w.pth") in str(raised.value)


def test_weights_of_half_precision_are_a_network(tmp_path):
    saved_network(
        tmp_path / "w.pth",
        lambda tensors: tensors.update({n: t.half() for n, t in tensors.items() if t.dim()}),
    )
    assert load_network(tmp_path / "w.pth").output.weight.dtype == torch.float32
    assert "ConStyleRestormer" in describe(tmp_path / "w.pth")

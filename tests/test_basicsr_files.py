"""What people have from BasicSR works as it is: its data sets' options, its option files, its
scripts."""

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset

import constyle_arch
from constyle_arch import cli
from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset
from constyle_arch.errors import DataError
from tests.networks import built
from tests.processes import run_command
from tests.shared import keys, run_with, training_options, write_options, write_pairs


@pytest.fixture
def numbered(tmp_path):
    """Four pairs whose degraded names end in x2, and a list of three of them as BasicSR writes
    it."""
    data = write_pairs(tmp_path / "data", 4)
    for path in (data / "lq").iterdir():
        path.rename(path.with_stem(f"{path.stem}x2"))
    (tmp_path / "meta.txt").write_text("003.png (24,24,3)\n000.png (24,24,3)\n001.png (24,24,3)\n")
    return data


def section_of_basicsr(data, **more):
    """A validation set as BasicSR's files have it."""
    roots = {f"dataroot_{side}": str(data / side) for side in ("gt", "lq")}
    section = {"name": "Set", "phase": "val", "scale": 1, **roots, "io_backend": {"type": "disk"}}
    return section | {"filename_tmpl": "{}x2", "use_shuffle": True, **more}


@pytest.mark.parametrize("listed", [False, True])
def test_changing_the_type_of_a_data_set_of_basicsrs_is_enough(tmp_path, numbered, listed):
    more = {"meta_info_file": str(tmp_path / "meta.txt")} if listed else {}
    section = section_of_basicsr(numbered, **more)
    theirs, ours = PairedImageDataset(dict(section)), PairedRestorationDataset(dict(section))
    of_theirs = {theirs[index]["gt_path"]: theirs[index] for index in range(len(theirs))}
    assert len(ours) == len(of_theirs) == (3 if listed else 4)
    for index in range(len(ours)):
        item = ours[index]
        assert item["lq_path"] == of_theirs[item["gt_path"]]["lq_path"]
        assert item["lq"].equal(of_theirs[item["gt_path"]]["lq"])


def test_images_that_a_list_of_basicsrs_has_and_a_folder_lacks_are_named(tmp_path, numbered):
    (numbered / "lq" / "001x2.png").unlink()
    (tmp_path / "meta.txt").write_text("001.png (24,24,3)\n007.png (24,24,3)\n")
    section = section_of_basicsr(numbered, meta_info_file=str(tmp_path / "meta.txt"))
    missing = r"2 images that .*meta\.txt lists are not in .*'\{\}x2': 001, 007"
    with pytest.raises(DataError, match=missing):
        PairedRestorationDataset(section)
    unreadable = r"meta_info_file: .*gone\.txt cannot be read: No such file"
    with pytest.raises(DataError, match=unreadable):
        PairedRestorationDataset(section_of_basicsr(numbered, meta_info_file="gone.txt"))


def test_wandb_is_given_what_tensorboard_is(monkeypatch):
    """wandb itself is not installed for the tests; these are the arguments of its `init`."""
    import basicsr.train

    given = []
    wandb = SimpleNamespace(init=lambda **arguments: given.append(arguments))
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    constyle_arch.register()
    options = {"name": "mine", "logger": {"wandb": {"project": "rain", "resume_id": None}}}
    basicsr.train.init_wandb_logger(options)
    options["logger"]["wandb"]["resume_id"] = "a1b2"
    basicsr.train.init_wandb_logger(options)
    said = [(one["project"], one["name"], one["sync_tensorboard"]) for one in given]
    assert said == [("rain", "mine", True)] * 2
    assert [(one["id"], one["resume"]) for one in given] == [(None, None), ("a1b2", "allow")]


def test_wandb_that_is_not_installed_is_said(monkeypatch, ten_pairs):
    from constyle_arch.options import combinations

    options = training_options(ten_pairs)
    options["logger"]["wandb"] = {"project": "rain"}
    monkeypatch.setattr(combinations, "find_spec", lambda name: None)
    problems = list(combinations._check_logger(options))
    assert "wandb is not installed: pip install wandb" in problems[0]
    assert "use_tb_logger: true" in problems[1]
    options["logger"]["wandb"] = {"project": None}
    assert list(combinations._check_logger(options)) == []


SRRESNET = keys("num_in_ch: 3, num_out_ch: 3, num_feat: 64, num_block: 16")
MEANS = keys("res_scale: 1, img_range: 255.0, rgb_mean: [0.4488, 0.4371, 0.4040]")
SWINIR = keys(
    "type: SwinIR, upscale: 4, in_chans: 3, img_size: 48, window_size: 8, img_range: 1.0, "
    "depths: [6, 6, 6, 6, 6, 6], embed_dim: 180, num_heads: [6, 6, 6, 6, 6, 6], mlp_ratio: 2, "
    "upsampler: pixelshuffle, resi_connection: 1conv"
)
LARGE = keys("type: EDSR, num_feat: 256, num_block: 32, upscale: 4")
RCAN = keys("type: RCAN, num_group: 10, num_block: 20, squeeze_factor: 16, upscale: 4")
COMPACT = keys("type: SRVGGNetCompact, num_in_ch: 3, num_out_ch: 3, num_conv: 32, upscale: 4")
ECBSR = keys(
    "type: ECBSR, num_in_ch: 1, num_out_ch: 1, num_block: 4, num_channel: 16, with_idt: false, "
    "act_type: prelu, scale: 4"
)

NETWORKS = {
    **{f"MSRResNet_x{n}": {"type": "MSRResNet", **SRRESNET, "upscale": n} for n in (2, 3, 4)},
    **{f"EDSR_M_x{n}": {"type": "EDSR", **SRRESNET, **MEANS, "upscale": n} for n in (2, 3, 4)},
    "EDSR_L_x4": {**SRRESNET, **MEANS, **LARGE},
    "RCAN_x4": {**SRRESNET, **MEANS, **RCAN},
    "RRDBNet_x4": {"type": "RRDBNet", **SRRESNET, "num_block": 23},
    "SRVGGNetCompact_x4": COMPACT,
    "SwinIR_x4": SWINIR,
    "ECBSR_x4": ECBSR,
}
"""Of BasicSR's own option files for super-resolution without a discriminator."""


def file_of_basicsr(name, data):
    """The option file, written again here; only its paths, and the CPU, are the test's."""
    network, scale = NETWORKS[name], int(name[-1])
    roots = {f"dataroot_{side}": str(data / side) for side in ("gt", "lq")}
    section = {"type": "PairedImageDataset", **roots, "io_backend": {"type": "disk"}}
    section |= {"color": "y"} if "ECBSR" in name else {}
    train = {"name": "DIV2K", **section, "filename_tmpl": "{}", "gt_size": 48 * scale}
    train |= keys("use_hflip: true, use_rot: true, use_shuffle: true, num_worker_per_gpu: 6")
    train |= keys("batch_size_per_gpu: 16, dataset_enlarge_ratio: 100, prefetch_mode: ~")
    cosine = {"type": "CosineAnnealingRestartLR", "periods": [250000] * 4}
    cosine |= {"restart_weights": [1] * 4, "eta_min": 1e-7}
    steps = keys("type: MultiStepLR, milestones: [250000, 400000, 450000, 475000], gamma: 0.5")
    metric = {"type": "calculate_psnr", "crop_border": scale, "test_y_channel": True}
    return {
        "name": f"{name}_DIV2K_1000k",
        "model_type": "SwinIRModel" if "SwinIR" in name else "SRModel",
        "scale": scale,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {"train": train, "val": {"name": "Set5", **section}},
        "network_g": dict(network),
        "path": keys("pretrain_network_g: ~, strict_load_g: true, resume_state: ~"),
        "train": {
            "ema_decay": 0.999,
            "optim_g": {"type": "Adam", "lr": 2e-4, "weight_decay": 0, "betas": [0.9, 0.99]},
            "scheduler": steps if "SwinIR" in name or "ECBSR" in name else cosine,
            "total_iter": 1000000,
            "warmup_iter": -1,
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        },
        "val": {"val_freq": 5e3, "save_img": True, "metrics": {"psnr": metric}},
        "logger": {
            **{"print_freq": 100, "save_checkpoint_freq": 5e3, "use_tb_logger": True},
            "wandb": {"project": None, "resume_id": None},
        },
        "dist_params": {"backend": "nccl", "port": 29500},
    }


@pytest.fixture(scope="module")
def small_and_large(tmp_path_factory):
    """For each scale three pairs whose clean images are as many times larger."""
    folders = {}
    for scale in (2, 3, 4):
        folders[scale] = write_pairs(tmp_path_factory.mktemp("scale"), 3, 48 * scale, 52 * scale)
        for path in (folders[scale] / "lq").iterdir():
            image = cv2.imread(str(path))
            cv2.imwrite(str(path), cv2.resize(image, (52, 48), interpolation=cv2.INTER_AREA))
    return folders


@pytest.mark.parametrize("name", ["SRVGGNetCompact_x4", "ECBSR_x4"])
def test_option_files_of_basicsrs_pass_the_checks(
    tmp_path, small_and_large, monkeypatch, capsys, name
):
    """An alias for the same `io_backend` twice included, which each data set takes its type out
    of."""
    monkeypatch.chdir(tmp_path)
    file = write_options(tmp_path / "run.yml", file_of_basicsr(name, small_and_large[4]))
    assert file.read_text().count("io_backend: *") == 1
    assert cli.main(["check", "-opt", str(file)]) == 0
    assert f"{name}_DIV2K_1000k: this training can be run" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_option_files_of_basicsrs_train(tmp_path, small_and_large, name):
    """Two iterations of four images, and the validation at the end."""
    options = file_of_basicsr(name, small_and_large[int(name[-1])])
    file = write_options(tmp_path / "run.yml", options)
    loader = ("batch_size_per_gpu=4", "num_worker_per_gpu=0")
    shorter = ["train:total_iter=2", *(f"datasets:train:{option}" for option in loader)]
    result = run_command("train", "-opt", file, "--force_yml", *shorter, cwd=tmp_path, seconds=900)
    assert result.returncode == 0, result.stderr[-3000:]
    home = tmp_path / "experiments" / f"{name}_DIV2K_1000k"
    assert (home / "models" / "net_g_latest.pth").is_file()
    assert "Validation Set5" in next(home.glob("train_*.log")).read_text()


SMALL_SRRESNET = keys("type: MSRResNet, num_feat: 4, num_block: 1, upscale: 4")


def with_a_discriminator(data):
    """SRGAN's option file with small networks."""
    options = file_of_basicsr("MSRResNet_x4", data)
    options |= {"name": "gan", "model_type": "SRGANModel", "network_g": dict(SMALL_SRRESNET)}
    options["network_d"] = keys("type: VGGStyleDiscriminator, num_in_ch: 3, num_feat: 4")
    options["datasets"]["train"] |= keys("gt_size: 128, batch_size_per_gpu: 2")
    options["datasets"]["train"]["num_worker_per_gpu"] = 0
    train = options["train"]
    train |= {"total_iter": 2, "optim_d": dict(train["optim_g"])}
    gan = keys("gan_type: vanilla, real_label_val: 1.0, fake_label_val: 0.0, loss_weight: 0.005")
    train["gan_opt"] = {"type": "GANLoss", **gan}
    return options


def test_srgan_trains(tmp_path, small_and_large):
    """The terminal is spared the discriminator's layers."""
    result = run_with("train", with_a_discriminator(small_and_large[4]), tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    networks = {path.name for path in (tmp_path / "experiments/gan/models").iterdir()}
    assert {"net_g_latest.pth", "net_d_latest.pth"} <= networks
    assert "Network: VGGStyleDiscriminator" in result.stderr
    assert "Conv2d(" not in result.stderr + result.stdout


def test_perceptual_losses_vgg_is_announced_and_missed_before_the_run(
    tmp_path, small_and_large, monkeypatch, capsys, offline
):
    monkeypatch.chdir(tmp_path)
    options = with_a_discriminator(small_and_large[4])
    loss = {"type": "PerceptualLoss", "layer_weights": {"conv5_4": 1}, "vgg_type": "vgg19"}
    options["train"]["perceptual_opt"] = loss
    file = str(write_options(tmp_path / "run.yml", options))
    assert cli.main(["check", "-opt", file]) == 0
    assert "train.perceptual_opt: the run begins with the download" in capsys.readouterr().out
    assert cli.main(["train", "-opt", file]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "train.perceptual_opt needs https" in last and "no route to host" in last
    assert f"copy it to {tmp_path}/hub/hub/checkpoints/vgg19-dcbb9e9d.pth." in last
    assert not (tmp_path / "experiments").exists()
    loss |= {"layer_weights": {"conv6_1": 1}}
    assert cli.main(["check", "-opt", str(write_options(tmp_path / "run.yml", options))]) == 2
    assert "layer_weights has conv6_1, which vgg19 has not" in capsys.readouterr().err
    loss |= {"vgg_type": "vgg12"}
    assert cli.main(["check", "-opt", str(write_options(tmp_path / "run.yml", options))]) == 2
    assert "vgg_type is vgg12; it must be one of vgg11, " in capsys.readouterr().err


def write_clips(folder):
    """A REDS of one clip, whose frames are all alike, and its list; validation reads three."""
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    for side, size in (("gt", 256), ("lq", 64)):
        small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        for phase, count in (("train", 100), ("val", 3)):
            (folder / phase / side / "001").mkdir(parents=True)
            for number in range(count):
                path = folder / phase / side / "001" / f"{number:08}.png"
                path.write_bytes(cv2.imencode(".png", small)[1].tobytes())
    (folder / "list.txt").write_text("001 100 (256,256,3)\n")
    return folder


def file_of_basicvsr(folder):
    """BasicVSR's option file with a small network."""
    options = with_a_discriminator(folder)
    del options["network_d"], options["train"]["optim_d"], options["train"]["gan_opt"]
    options |= {"name": "vsr", "model_type": "VideoRecurrentModel"}
    options |= {"network_g": keys("type: BasicVSR, num_feat: 4, num_block: 1")}
    train, val = ({**options["datasets"][phase]} for phase in ("train", "val"))
    train |= keys("type: REDSRecurrentDataset, val_partition: REDS4, test_mode: false")
    train |= keys("num_frame: 2, gt_size: 256, interval_list: [1], random_reverse: false")
    train |= {"meta_info_file": str(folder / "list.txt"), "batch_size_per_gpu": 1}
    val |= keys("name: REDS4, type: VideoRecurrentTestDataset, cache_data: true, num_frame: -1")
    for phase, section in (("train", train), ("val", val)):
        section |= {f"dataroot_{side}": str(folder / phase / side) for side in ("gt", "lq")}
    options["datasets"] = {"train": train, "val": val}
    options["train"] |= {"fix_flow": 5000, "flow_lr_mul": 0.125}
    return options | {"find_unused_parameters": True}


def test_videos_are_trained_on_and_scored_where_basicsr_can(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = file_of_basicvsr(write_clips(tmp_path / "clips"))
    file = str(write_options(tmp_path / "run.yml", options))
    assert cli.main(["check", "-opt", file]) == 2
    refused = "num_gpu is 0, and VideoRecurrentModel scores on a GPU alone; leave val out."
    assert refused in capsys.readouterr().err
    del options["val"]
    assert cli.main(["check", "-opt", str(write_options(tmp_path / "run.yml", options))]) == 0
    assert "network      BasicVSR" in capsys.readouterr().out
    result = run_with("train", options, tmp_path)  # with a warning, of BasicSR's `meshgrid`
    assert result.returncode == 0, result.stderr[-3000:]
    assert (tmp_path / "experiments" / "vsr" / "models" / "net_g_latest.pth").is_file()


def test_networks_whose_operators_were_not_compiled_are_named(
    tmp_path, small_and_large, monkeypatch, capsys
):
    from basicsr.ops.fused_act import fused_act

    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr(fused_act, "fused_act_ext", raising=False)
    options = file_of_basicsr("MSRResNet_x4", small_and_large[4])
    options["network_g"] = {"type": "StyleGAN2Generator", "out_size": 8, "num_style_feat": 8}
    options["train"]["optim_g"]["betas"] = [0, 0.99]  # of its own file
    assert cli.main(["check", "-opt", str(write_options(tmp_path / "run.yml", options))]) == 2
    [line] = (line for line in capsys.readouterr().err.splitlines() if line.startswith("  - "))
    assert "StyleGAN2Generator needs operators that BasicSR compiles" in line


def test_test_file_of_basicsrs_without_a_suffix_saves_its_images(tmp_path, small_and_large):
    """`save_img: true` with `suffix: ~`, as BasicSR's test files have it."""
    options = file_of_basicsr("SRVGGNetCompact_x4", small_and_large[4])
    torch.save({"params": built(options["network_g"]).state_dict()}, tmp_path / "net.pth")
    options["datasets"] = {"test_1": options["datasets"]["val"]}
    options["path"] = {"pretrain_network_g": "net.pth", "strict_load_g": True}
    options["val"] |= {"suffix": None}
    for section in ("train", "logger", "dist_params"):
        del options[section]
    file = write_options(tmp_path / "test.yml", options)
    result = run_command("test", "-opt", file, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    pictures = tmp_path / "results" / options["name"] / "visualization"
    saved = sorted(path.name for path in pictures.rglob("*.png"))
    assert saved == [f"00{number}_{options['name']}.png" for number in range(3)]

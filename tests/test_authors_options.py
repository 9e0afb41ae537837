"""Option files of the authors' programs: refused as they are, and translated by `basicsr
convert-options`."""

import re

import pytest
import yaml

from constyle_arch import cli
from constyle_arch.errors import OptionsError
from constyle_arch.options.authors import convert
from constyle_arch.options.preflight import check_options
from constyle_arch.options.reading import complete_datasets, read_checked_options, read_option_file
from tests.shared import REPOSITORY, write_options

GUIDED = """\
name: Deblurring_ConStyle_Restormer
model_type: ConStyle
scale: 1
num_gpu: 4
manual_seed: 100

datasets:
  train:
    name: TrainSet
    type: Dataset_Paired
    dataroot_gt: gt
    dataroot_lq: lq
    geometric_augs: true
    filename_tmpl: '{}'
    io_backend: {type: disk}
    use_shuffle: true
    num_worker_per_gpu: 8
    batch_size_per_gpu: 8
    gt_size: 128
    dataset_enlarge_ratio: 1
    prefetch_mode: ~
    pin_memory: true
  val:
    {name: ValSet, type: Dataset_Paired, dataroot_gt: gt, dataroot_lq: lq, io_backend: {type: disk}}

network_g:
  type: ConStyle_Restormer
  inp_channels: 3
  out_channels: 3
  dim: 48
  left_blk_num: [4, 6, 6]
  bottom_blk_num: 8
  right_blk_num: [4, 6, 6]
  num_refinement_blocks: 4
  heads: [1, 2, 4, 8]
  ffn_expansion_factor: 2.66
  bias: False
  LayerNorm_type: WithBias
  K: 65760
  Train: True

path: {pretrain_network_g: ~, strict_load_g: true, resume_state: ~}

train:
  total_iter: 703632
  warmup_iter: -1
  ConStyle_iter: 703632
  use_grad_clip: false
  ema_decay: 0.999
  scheduler:
    type: CosineAnnealingRestartCyclicLR
    periods: [243312, 460320]
    restart_weights: [1, 1]
    eta_mins: [0.0003, 0.000001]
  mixing_augs: {mixup: false, mixup_beta: 1.2, use_identity: true}
  optim_g: {type: AdamW, lr: !!float 3e-4, weight_decay: !!float 1e-4, betas: [0.9, 0.999]}
  pixel_opt: {type: L1Loss, loss_weight: 1, reduction: mean}

val:
  window_size: 8
  val_freq: !!float 1e4
  save_img: false
  rgb2bgr: true
  use_image: false
  max_minibatch: 8
  metrics: {psnr: {type: calculate_psnr, crop_border: 0, test_y_channel: false}}

logger:
  print_freq: 200
  save_checkpoint_freq: !!float 1e4
  use_tb_logger: true
  wandb: {project: ~, resume_id: ~}

dist_params: {backend: nccl, port: 29500}
"""
"""The authors' recipe of ConStyle-Restormer for deblurring, in their program's words."""

NOISY = {"type": "Dataset_GaussianDenoising", "dataroot_gt": "gt", "dataroot_lq": None, "in_ch": 3}


def restormer():
    """Gaussian denoising with Restormer, as its authors write it."""
    options = yaml.safe_load(GUIDED)
    options |= {"model_type": "ImageCleanModel", "num_gpu": 8}
    train = options["datasets"]["train"]
    train |= {**NOISY, "sigma_type": "random", "sigma_range": [0, 50], "gt_size": 384}
    train |= {"gt_sizes": [128, 384], "mini_batch_sizes": [8, 1], "iters": [92000, 208000]}
    options["datasets"]["val"] |= {**NOISY, "sigma_test": 25}
    wanted = ("inp_channels", "out_channels", "dim", "heads", "bias", "LayerNorm_type")
    network = {key: options["network_g"][key] for key in wanted}
    network |= {"num_blocks": [4, 6, 6, 8], "dual_pixel_task": False}
    options["network_g"] = {"type": "Restormer", **network}
    options["train"]["use_grad_clip"] = True
    del options["train"]["ConStyle_iter"]
    return options


def nafnet():
    """Deblurring with NAFNet, as its authors write it."""
    options = yaml.safe_load(GUIDED)
    options["model_type"] = "ImageRestorationModel"
    for section in options["datasets"].values():
        section["type"] = "PairedImageSRLRDataset"
    del options["datasets"]["train"]["geometric_augs"], options["train"]["ConStyle_iter"]
    options["datasets"]["train"] |= {"use_flip": True, "use_rot": True}
    blocks = {"enc_blk_nums": [1, 1, 1, 28], "middle_blk_num": 1, "dec_blk_nums": [1, 1, 1, 1]}
    options["network_g"] = {"type": "NAFNet", "width": 32, **blocks}
    options["train"]["pixel_opt"] = {"type": "PSNRLoss", "loss_weight": 1, "reduction": "mean"}
    cosine = {"type": "TrueCosineAnnealingLR", "T_max": 200000, "eta_min": 1e-7}
    options["train"]["scheduler"] = cosine
    options["val"]["grids"] = True
    return options


def test_recipe_in_the_authors_words_becomes_the_recipe_of_this_package(tmp_path, capsys):
    (tmp_path / "authors.yml").write_text(GUIDED)
    mine = tmp_path / "mine.yml"
    assert cli.main(["convert-options", str(tmp_path / "authors.yml"), str(mine)]) == 0
    made = read_option_file(mine)
    recipe = read_option_file(REPOSITORY / "options" / "deblur_constyle_restormer.yml")
    published = {"encoder_initialization": "published"}
    assert made["network_g"] == recipe["network_g"] | published
    assert made["train"].pop("constyle_iter") == recipe["train"]["total_iter"]  # the whole run
    recipe["train"]["contrast"]["normalize"] = False  # as published
    assert made["train"] == recipe["train"]
    assert made["model_type"] == recipe["model_type"] and made["num_gpu"] == "auto"
    train = recipe["datasets"]["train"]
    loader = {key: value for key, value in train.items() if "name" not in key and "root" not in key}
    assert loader.items() <= made["datasets"]["train"].items()
    text = mine.read_text()
    assert "num_blocks_up: [6, 6, 4]  # right_blk_num, which begins at full resolution" in text
    assert "num_blocks_down: [4, 6, 6]  # left_blk_num (by analogy" in text
    assert "torchrun --nproc-per-node 4" in text
    said = capsys.readouterr().out
    of_val = ("window_size", "rgb2bgr", "use_image", "max_minibatch")
    for key in ("network_g.Train", *(f"val.{key}" for key in of_val)):
        assert re.search(rf"^  {re.escape(key)}: \w", said, re.MULTILINE), key
        assert f"#   {key}: " in text


@pytest.mark.parametrize("file", [lambda: yaml.safe_load(GUIDED), restormer, nafnet])
def test_what_was_converted_passes_the_checks(tmp_path, ten_pairs, two_pairs, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    authors = file()
    made = convert(authors)
    write_options(tmp_path / "mine.yml", made.options)
    (tmp_path / "mine.yml").write_text(made.text("Converted."))
    options = read_option_file("mine.yml")
    assert options == made.options
    for phase, data in (("train", ten_pairs), ("val", two_pairs)):
        roots = {f"dataroot_{side}": str(data / side) for side in ("gt", "lq")}
        section = options["datasets"][phase]
        section |= {key: root for key, root in roots.items() if key in section}
    for key in ("gt_size", "gt_sizes"):  # the test's images are small
        section = options["datasets"]["train"]
        section |= {key: [16, 16] if key == "gt_sizes" else 16} if key in section else {}
    options |= {"is_train": True, "dist": False, "auto_resume": False, "num_gpu": 0}
    complete_datasets(options)
    check_options(options)
    kept = {f"{phase}.{key}" for phase, section in options["datasets"].items() for key in section}
    left_out = {key.rpartition(".")[2] for key in made.left_out}
    assert not left_out & {key.partition(".")[2] for key in kept} - {"type"}


def test_noise_of_restormers_program_is_noise_here():
    made = convert(restormer())
    datasets = made.options["datasets"]
    assert datasets["train"]["degradations"] == [{"type": "noise", "sigma": [0, 50]}]
    assert datasets["val"]["degradations"] == [{"type": "noise", "sigma": 25}]
    assert made.options["train"]["grad_clip_norm"] == 0.01
    assert made.options["network_g"]["layer_norm_type"] == "WithBias"


def test_gray_images_of_restormers_program_are_gray_here():
    authors = restormer()
    for section in authors["datasets"].values():
        section["in_ch"] = 1
    authors["network_g"] |= {"inp_channels": 1, "out_channels": 1}
    made = convert(authors)
    assert [section["color"] for section in made.options["datasets"].values()] == ["gray", "gray"]
    assert made.options["network_g"]["inp_channels"] == 1


def test_file_of_a_test_stays_one():
    authors = yaml.safe_load(GUIDED)
    del authors["train"], authors["logger"]
    authors["datasets"] = {"test": authors["datasets"]["val"]}
    made = convert(authors)
    assert "train" not in made.options
    assert made.left_out["network_g.K"] == "of a training; this is the file of a test"
    assert made.options["datasets"]["test"]["type"] == "PairedRestorationDataset"


def test_keys_without_an_equivalent_are_named():
    authors = yaml.safe_load(GUIDED)
    authors["my_key"] = authors["train"]["my_key"] = authors["network_g"]["my_key"] = 1
    made = convert(authors)
    assert {"my_key", "train.my_key", "network_g.my_key"} <= made.left_out.keys()
    sections = (made.options, made.options["train"], made.options["network_g"])
    assert all("my_key" not in section for section in sections)


@pytest.mark.parametrize("key", ["model_type", "datasets.train.type"])
def test_file_that_was_not_converted_is_refused_in_a_sentence_that_names_the_command(
    tmp_path, ten_pairs, key
):
    authors = yaml.safe_load(GUIDED)
    if key != "model_type":
        authors["model_type"] = "RestorationModel"
    file = write_options(tmp_path / "authors.yml", authors)
    with pytest.raises(OptionsError) as error:
        read_checked_options(["-opt", str(file)])
    assert f"has `{key}: " in str(error.value) and "\n" not in str(error.value)
    assert f"`basicsr convert-options {file} OUT.yml`" in str(error.value)


def test_files_that_cannot_be_converted_are_one_clear_error(tmp_path, capsys, ten_pairs):
    authors = yaml.safe_load(GUIDED)
    refused = "model_type is 'SRModel' and no data set is one of the authors'"
    with pytest.raises(OptionsError, match=refused):
        convert({"model_type": "SRModel"})
    refused = r"network_g\.type is 'ConStyleFormer', which is no network here"
    with pytest.raises(OptionsError, match=refused):
        convert(authors | {"network_g": {"type": "ConStyleFormer"}})
    with pytest.raises(OptionsError, match="train is 3; it must be a section"):
        convert(authors | {"train": 3})
    file = write_options(tmp_path / "authors.yml", authors)
    assert cli.main(["convert-options", str(file), str(file)]) == 2
    assert "already exists; choose another name or add --overwrite" in capsys.readouterr().err
    assert cli.main(["convert-options", str(file), str(tmp_path / "mine.txt")]) == 2
    assert "the name must end in .yml" in capsys.readouterr().err

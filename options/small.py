"""The small trainings: of the pretrained networks, and the demos."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import networks
from parts import ALL_METRICS, adamw, logger, losses, metrics, test, training
from tasks import DataSet, Task, clean, degraded, mixed, noisy, paired, pairs, sample
from writing import file_text, keys


@dataclass(frozen=True)
class Training:
    """How a pretrained network was trained, in hours on one core.

    Args:
        task: what it learns.
        iterations: of the training; the rate is constant for the first `constant` of them.
        gt_size, batch_size: of the crops.
        rotations: whether crops are rotated.
        metrics: of the benchmarks.
        network: its options.
        rate: the learning rate, as YAML has it.
        beta2: AdamW's, of the squares' average.
        queue_size: of the contrast.
    """

    task: Task
    iterations: int
    constant: int
    gt_size: int = 64
    batch_size: int = 8
    rotations: bool = True
    metrics: str = "psnr ssim"
    network: Mapping[str, Any] = field(default_factory=lambda: networks.TRAINED)
    rate: str = "8e-4"
    beta2: float = 0.999
    queue_size: int = 4096


def rehazed(part: str) -> DataSet:
    """Pairs that `python -m benchmarks.rehaze` writes."""
    return paired(part, *(f"datasets/rehazed/{part}/{side}" for side in ("gt", "lq")))


CBSD68 = clean("CBSD68", part="test")

DENOISE = Training(
    Task(
        "denoising (σ from 0 to 50)",
        noisy("CBSD432", clean("CBSD432"), [0, 50]),
        val=(noisy("CBSD68-sigma25", CBSD68, 25),),
        test=tuple(noisy(f"CBSD68-sigma{sigma}", CBSD68, sigma) for sigma in (15, 25, 50)),
        needs=("CBSD432", "CBSD68"),
    ),
    iterations=13000,
    constant=3000,
)
DERAIN = Training(
    Task(
        "deraining (light rain)",
        pairs("Rain100L", "train"),
        val=(pairs("Rain100L", "test"),),
        test=(pairs("Rain100L", "test"),),
        needs=("Rain100L",),
    ),
    iterations=10000,
    constant=2000,
    rotations=False,
    metrics=ALL_METRICS,
)
HAZE = degraded("CBSD432", clean("CBSD432"), keys("type: haze, beta: [0, 2.5], airlight: [0.7, 1]"))
ROOMS = pairs("SOTS-indoor", "train")
DEHAZE = Training(
    Task(
        "dehazing (indoors above all)",
        mixed("SOTS-indoor", ROOMS, HAZE),
        val=(pairs("SOTS-indoor", "test"),),
        test=(pairs("SOTS-indoor", "test"),),
        needs=("SOTS-indoor", "CBSD432"),
    ),
    iterations=6500,
    constant=1000,
    gt_size=128,
    batch_size=3,
    rotations=False,
    network=networks.TRAINED_DEHAZE,
    rate="1e-3",
    beta2=0.9,
)
LARGER_CROPS = replace(
    DEHAZE,
    iterations=1600,
    constant=200,
    gt_size=192,
    batch_size=4,
    rate="5e-4",
    # the same room in other densities is the hardest negative: the fewer of them, the better
    queue_size=64,
)
HAZED_AGAIN = replace(
    LARGER_CROPS,
    task=replace(
        DEHAZE.task,
        train=mixed(
            "SOTS-indoor",
            ROOMS,
            rehazed("rooms"),
            rehazed("photographs"),
            HAZE,
            weights=[3, 4, 2, 1],
        ),
    ),
    iterations=1800,
    constant=250,
)
TRAINED = {
    "denoise": (DENOISE,),
    "derain": (DERAIN,),
    "dehaze": (DEHAZE, LARGER_CROPS, HAZED_AGAIN),
}
"""The pretrained networks, see `constyle_arch.checkpoints.trained`, each in trainings that continue
one another."""


def loader(gt_size: int, rotations: bool, batch_size: int, ratio: int) -> dict[str, Any]:
    """How the small trainings load their crops."""
    return {
        "gt_size": gt_size,
        "use_hflip": True,
        "use_rot": rotations,
        "num_worker_per_gpu": 1,
        "batch_size_per_gpu": batch_size,
        "dataset_enlarge_ratio": ratio,
    }


TRAINING_OF_TRAINED = """\
{which} of the network `{task}` that comes with the package: {title}.
  basicsr train -opt options/{file}.yml
  basicsr test -opt options/test/trained_{task}.yml

`basicsr prepare` writes the data sets ({needs});
datasets/README.md says where they are from{others}.
`amp: bf16` is slow on processors that do not compute in bfloat16; leave it out there.
"""
TEST_OF_TRAINED = """\
The benchmarks of the network `{task}` that comes with the package.
  basicsr test -opt options/test/trained_{task}.yml
  basicsr test -opt FILE --force_yml path:pretrain_network_g=WEIGHTS    for your own training
"""


def trained_files(task_name: str) -> dict[str, str]:
    """The trainings of a pretrained network, and its benchmarks."""
    stages, files, weights = TRAINED[task_name], {}, None
    for number, one in enumerate(stages, start=1):
        name = f"trained_{task_name}" + (f"_{number}" if number > 1 else "")
        options = training(
            name,
            one.network,
            one.task.train,
            one.task.val,
            loader(one.gt_size, one.rotations, one.batch_size, 100),
            weights=weights and {"pretrain_network_g": weights},
            train={
                **keys(f"total_iter: {one.iterations}, ema_decay: 0.999, amp: bf16"),
                **adamw(
                    one.rate,
                    one.constant,
                    one.iterations - one.constant,
                    floors=[float(one.rate), 0.000001],
                    beta2=one.beta2,
                ),
                "contrast": {"queue_size": one.queue_size, "normalize": True},
                **losses(0.01),
            },
            val={"val_freq": 2000, "save_img": False, "pictures": 0, "metrics": metrics("psnr")},
            logger=logger(100, 1000, tensorboard=False),
        )
        others = ", and `python -m benchmarks.rehaze` writes the others"
        said = {
            "which": "The training" if len(stages) == 1 else f"Training {number} of {len(stages)}",
            "task": task_name,
            "title": one.task.title,
            "file": name,
            "needs": ", ".join(map(str.lower, one.task.needs)),
            "others": others if one is HAZED_AGAIN else "",
        }
        files[f"{name}.yml"] = file_text(TRAINING_OF_TRAINED.format(**said), options)
        weights = f"experiments/{name}/models/net_g_latest.pth"
    val = {"save_img": False, "metrics": metrics(one.metrics)}
    measured = test(f"trained_{task_name}", one.network, one.task.test, val, weights=task_name)
    text = file_text(TEST_OF_TRAINED.format(task=task_name), measured)
    return files | {f"test/trained_{task_name}.yml": text}


TRAINING_OF_DEMO = """\
The demo: a small ConStyle-Restormer learns to {task} the sample photographs, in minutes, on
two cores.
  basicsr prepare sample {task}
  basicsr train -opt options/{name}.yml
  basicsr test -opt options/test/{name}.yml
For the paper's recipe see options/{task}_constyle_restormer.yml, which also explains the options.
"""
TEST_OF_DEMO = """\
Restores and scores the held-out sample photographs with the network the demo trained.
  basicsr test -opt options/test/{name}.yml
"""


def demo_files(task_name: str) -> dict[str, str]:
    """A small network that learns the sample of a task in minutes on a CPU, and its test."""
    name = f"demo_{task_name}_constyle_restormer"
    # what blur leaves is local: small crops, more of them; and it has a direction
    blurred = task_name == "deblur"
    total_iter, constant = (900, 300) if blurred else (600, 200)
    crops = (64, False, 8) if blurred else (128, True, 4)
    options = training(
        name,
        networks.DEMO,
        sample(task_name, "train"),
        (sample(task_name, "test"),),
        loader(*crops, 80 if task_name == "denoise" else 20),
        train={
            "total_iter": total_iter,
            "ema_decay": 0.99,
            **adamw("1e-3", constant, total_iter - constant, floors=[0.001, 0.00001]),
            "constyle_iter": 2 * constant,
            "contrast": {"queue_size": 1024, "normalize": False},
            **losses(),
        },
        val={"val_freq": 200, "save_img": False, "metrics": metrics("psnr ssim")},
        logger=logger(50, 200),
    )
    val = {"save_img": True, "save_comparison": True, "metrics": metrics(ALL_METRICS)}
    measured = test(name, networks.DEMO, (sample(task_name, "test"),), val)
    said = {"name": name, "task": task_name}
    return {
        f"{name}.yml": file_text(TRAINING_OF_DEMO.format(**said), options),
        f"test/{name}.yml": file_text(TEST_OF_DEMO.format(**said), measured),
    }

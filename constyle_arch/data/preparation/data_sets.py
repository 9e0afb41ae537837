"""Preparing the data sets of the catalogue, and users' folders."""

from dataclasses import replace
from pathlib import Path

from constyle_arch.data.image_stores import folder_of
from constyle_arch.data.preparation.catalogue import DataSet
from constyle_arch.data.preparation.packing import Report, check, pack
from constyle_arch.data.preparation.plan import Plan
from constyle_arch.data.preparation.unfinished import check_target, is_prepared
from constyle_arch.errors import NAMES_SHOWN, DataError

CROP_TO_TRAIN = 128
"""The recipes' `gt_size`: an image to train on must hold such a crop."""


def prepare_data_set(
    data_set: DataSet,
    source: str,
    output: str,
    part: str | None = None,
    *,
    workers: int | None = None,
    leave_out: bool = False,
    check_only: bool = False,
) -> None:
    """Pack or check the parts of a data set whose folders are there.

    Args:
        data_set: which one.
        source: the folder it was unpacked to.
        output: the folder to write; each part gets a folder in it.
        part: the only one to prepare; None for those that are there.
        workers: see `packing.pack`.
        leave_out: see `packing.pack`.
        check_only: read and check, and write nothing.

    Raises:
        DataError: no part is there, a folder to write is there and is no such part or is an input,
            or images have problems; the message names them.
    """
    wanted = {
        name: replace(plan.below(source), smallest=CROP_TO_TRAIN if name == "train" else 1)
        for name, plan in data_set.splits.items()
        if part in (None, name)
    }
    if not part and not any(folder_of(plan.gt).is_dir() for plan in wanted.values()):
        raise DataError(
            f"{data_set.name} is not there: none of "
            f"{', '.join(plan.gt for plan in wanted.values())} exists. datasets/README.md, section "
            f"{data_set.name}, shows how to unpack it; --input names another folder."
        )
    todo = []
    for name, plan in wanted.items():
        target, what = Path(output).expanduser() / name, f"{data_set.name}, {name}"
        if not part and not folder_of(plan.gt).is_dir():
            print(f"{what}: {plan.gt} is not there; this part is left out.")
        elif is_prepared(target) and not check_only:
            print(f"{what}: {target} already exists; to make it again, name another folder by -o.")
        else:
            if not check_only:
                check_target(target, plan.inputs)  # of each part, before any is begun
            todo.append((name, plan, target))
    for name, plan, target in todo:
        report = prepare_folders(
            plan, target, workers=workers, leave_out=leave_out, check_only=check_only
        )
        number = report.counts["lq" if plan.lq else "gt"]
        if number != plan.images:
            print(
                f"  note: {data_set.name}, {name}, was published with {plan.images} such images; "
                f"here are {number}."
            )


def prepare_folders(
    plan: Plan,
    target: Path,
    *,
    workers: int | None = None,
    leave_out: bool = False,
    check_only: bool = False,
) -> Report:
    """Pack or check the images of a plan, and print what was found and the options to use.

    Args:
        plan: which images, and how they are matched and cut.
        target: the folder to write.
        workers: see `packing.pack`.
        leave_out: see `packing.pack`.
        check_only: read and check, and write nothing.

    Raises:
        DataError: a folder is missing, or images have problems; the message names them.
    """
    if check_only:
        report = check(plan, workers)
        if report.problems and not leave_out:
            raise DataError(f"Some images cannot be used. {report.lines()}")
        print(f"{plan.gt}: {report.lines()}", end="")
        return report
    report = pack(plan, target, workers=workers, leave_out=leave_out)
    print(f"{target}: {report.lines(NAMES_SHOWN)}", end="")
    print(f"  dataroot_gt: {target}/gt.lmdb")
    if plan.lq:
        lq_name, gt_name = plan.names_packed(report.names)
        print(f"  dataroot_lq: {target}/lq.lmdb\n  lq_name: '{lq_name}'\n  gt_name: '{gt_name}'")
    return report

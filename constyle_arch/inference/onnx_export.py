"""Exporting a network to ONNX: for images of every size, or for tiles, in half precision too."""

import copy
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from constyle_arch import __version__
from constyle_arch.archs.layers import channels_of
from constyle_arch.archs.local_statistics import local_window
from constyle_arch.archs.multi_stage_maxim_arch import MultiStageMaxim
from constyle_arch.checkpoints.detection import detect_network
from constyle_arch.errors import CheckpointError, UserError
from constyle_arch.files import save_bytes_atomically
from constyle_arch.tiles import multiple_of

INPUT, OUTPUT = "lq", "restored"
OPSET = 18
"""The oldest ONNX operator set the exporter writes, which the most programs read."""
OPSETS = range(OPSET, 24)
TOLERANCE = 1e-3
"""By how much the export may differ from PyTorch, as a share of the largest value, or of 1."""
TOLERANCE_OF_HALF = 1 / 255
"""The same in half precision."""
IN_FLOAT32 = (
    *("LayerNormalization", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare"),
    *("Softmax", "Pow", "Sqrt", "Reciprocal", "Div"),
)
"""Operators that stay in float32: statistics, whose sums leave float16's range or precision."""
LARGE_ENOUGH_FOR_HALF = 256
"""Numbers of a tensor from which on it is kept in bfloat16."""


def export_onnx(
    network: nn.Module,
    path: str | Path,
    *,
    opset: int = OPSET,
    tile: int | None = None,
    precision: torch.dtype = torch.float32,
    overwrite: bool = False,
) -> float | None:
    """Write `network` as ONNX: `lq` (batch, 3, height, width) to `restored` of the same shape.

    Both are float32, RGB in [0, 1]; what is restored is not clamped. The file says in its metadata
    which network it holds, and which tiles it takes. Where onnxruntime is installed, it restores
    images before the file is written, of two other sizes or one tile, and the results are compared
    with PyTorch's.

    Args:
        network: an architecture of this package; it is left as it is.
        path: the file to write; it ends in `.onnx`.
        opset: the version of ONNX's operators, from 18 to 23.
        tile: side of the square images that the file takes, one at a time; None for images of every
            size.
        precision: with `tile`: float16, in which all but statistics and normalisation computes; or
            bfloat16, in which the weights are kept and which programs may compute in or in float32,
            as onnxruntime does on CPUs.
        overwrite: replace `path` if it is there.

    Returns:
        The largest difference between what onnxruntime and PyTorch restore; None where onnxruntime
        is not installed.

    Raises:
        UserError: an argument does not fit, the extra `onnx` is not installed, the network takes
            statistics over windows and there is no `tile`, or the exported network restores
            otherwise than PyTorch's.
        RunError: the file cannot be written; what was there before is untouched.
    """
    path = Path(path)
    _check_target(path, opset, overwrite)
    _require("onnx", "onnxscript")
    _check_tile(network, tile, precision)
    if isinstance(network, MultiStageMaxim):
        raise UserError(
            "MAXIM-2S and -3S extend images on both sides, which the export does not know."
        )
    network = copy.deepcopy(network).eval().to("cpu", torch.float32)
    # ONNX knows no other layout
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    content = _onnx_file(network, opset, _description(network, tile), tile, precision)
    compared = importlib.util.find_spec("onnxruntime") is not None
    difference = _difference(network, content, tile, precision) if compared else None
    save_bytes_atomically(content, path)
    return difference


class AnySize(nn.Module):
    """A network behind `pad_to_multiple` without branches, of which a graph follows only one.

    Args:
        network: what restores; where it has no `multiple`, it takes any size.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.multiple = multiple_of(network)
        self.zeros = bool(getattr(network, "zero_padding", False))

    def forward(self, lq: Tensor) -> Tensor:
        """Restore `lq` (N, 3, H, W)."""
        rows, last_rows = self.mirrored(lq.shape[2])
        columns, last_columns = self.mirrored(lq.shape[3])
        if self.zeros:
            # what is mirrored lies before the last
            inside = (rows == last_rows)[:, None] & (columns == last_columns)
            image = lq.index_select(2, last_rows).index_select(3, last_columns) * inside
        else:
            long_enough = (rows >= 0).all() & (columns >= 0).all()
            rows = torch.where(long_enough, rows, last_rows)
            columns = torch.where(long_enough, columns, last_columns)
            image = lq.index_select(2, rows).index_select(3, columns)
        return self.network(image)[..., : lq.shape[2], : lq.shape[3]]

    def mirrored(self, length: int) -> tuple[Tensor, Tensor]:
        """The padded axis's pixels: mirrored at its end, or with the last one repeated.

        Mirrored ones are negative where the axis is too short.
        """
        last = length - 1
        places = torch.arange((last // self.multiple + 1) * self.multiple)
        return last - (places - last).abs(), places.clamp(max=last)


def _check_target(path: Path, opset: int, overwrite: bool) -> None:
    if path.suffix != ".onnx":
        raise UserError(f"{path} must end in .onnx.")
    if path.exists() and not overwrite:
        raise UserError(f"{path} already exists; choose another name or add --overwrite.")
    if not path.parent.is_dir():
        raise UserError(f"The folder {path.parent} does not exist; create it first.")
    if opset not in OPSETS:
        raise UserError(f"opset is {opset}; it must be one from {OPSETS[0]} to {OPSETS[-1]}.")


def _check_tile(network: nn.Module, tile: int | None, precision: torch.dtype) -> None:
    multiple = multiple_of(network)
    if tile is not None and (tile < 1 or tile % multiple):
        raise UserError(f"tile is {tile}; it must be a multiple of {multiple}, and at least that.")
    if precision != torch.float32:
        if tile is None:
            raise UserError(
                "Half precision needs a tile, as a graph for every size computes with sizes; such "
                "as 512."
            )
        _require("onnxruntime")
    if tile is None and (window := local_window(network)):
        raise UserError(
            f"The network takes statistics over windows of {window} pixels, which a graph for "
            "every size cannot say; give a tile, such as 512, or the window off (in Python "
            "use_local_statistics(network, None))."
        )


def _require(*packages: str) -> None:
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"{' and '.join(missing)} cannot be imported; install: "
            'pip install "constyle-arch[onnx]"'
        )


def _description(network: nn.Module, tile: int | None) -> dict[str, str]:
    """The metadata of the file."""
    try:
        options = detect_network(network.state_dict())[1]
    except CheckpointError:  # a user's operator
        options = {}
    shape = "(batch, 3, height, width), of any size" if tile is None else f"(1, 3, {tile}, {tile})"
    form = f"{INPUT} and {OUTPUT} are {shape}, float32, RGB in [0, 1]; {OUTPUT} is not clamped."
    description = {
        "architecture": type(network).__name__,
        "options": json.dumps(options),
        "description": f"Restores an image: {form}",
        "producer": f"constyle-arch {__version__}",
    }
    if tile is not None:
        description["tile"] = str(tile)
    if window := local_window(network):
        description["tlc"] = str(window)
    return description


def _onnx_file(
    network: nn.Module,
    opset: int,
    metadata: dict[str, str],
    tile: int | None,
    precision: torch.dtype,
) -> bytes:
    """The content of the file."""
    from onnxscript.optimizer import optimize_ir

    channels, multiple = channels_of(network), multiple_of(network)
    if tile is None:
        network, axes = AnySize(network), ({0: "batch", 2: "height", 3: "width"},)
        # no two lengths are equal, nor are those padded: what is equal here would be taken for
        # always equal
        example = torch.zeros(2, channels, multiple + 3, 2 * multiple + 5)
    else:
        axes, example = None, torch.zeros(1, channels, tile, tile)
    uncached = torch._dynamo.config.patch(fake_tensor_cache_enabled=False)  # it costs a quarter
    with torch.no_grad(), _quiet(), uncached:
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            dynamic_shapes=axes,
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=opset,
            optimize=False,  # in two rounds, the second of which takes longer and finds nothing
            verbose=False,
        )
        assert program is not None
        model = program.model
        optimize_ir(model, num_iterations=1)
    # it was tracked through the padding, as a formula
    model.graph.outputs[0].shape = model.graph.inputs[0].shape
    _forget_source(model)
    model.producer_name, model.producer_version = "constyle-arch", __version__
    model.metadata_props.update(metadata)
    proto = program.model_proto
    if precision == torch.float16:
        proto = _in_float16(proto)
    elif precision == torch.bfloat16:
        proto = _with_weights_in_bfloat16(proto)
    return proto.SerializeToString()


def _in_float16(model: Any) -> Any:
    """A model that computes in float16, but for `IN_FLOAT32`; its input and result stay float32."""
    import onnx_ir
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    blocked = [*DEFAULT_OP_BLOCK_LIST, *IN_FLOAT32]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights too small for float16, which become 0
        model = convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked)
    graph = model.graph
    # a value is cast again for each operator that takes it
    nodes = {node.output[0]: node for node in graph.node}
    values = {value.name: value for value in graph.value_info}
    for entries, once in ((graph.node, nodes), (graph.value_info, values)):
        del entries[:]
        entries.extend(once.values())
    model = onnx_ir.from_proto(model)
    model.graph.sort()  # the casts come last
    return onnx_ir.to_proto(model)


def _with_weights_in_bfloat16(model: Any) -> Any:
    """A model whose weights are kept in bfloat16 and cast to float32 where they are used."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        numbers = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or numbers.size < LARGE_ENOUGH_FOR_HALF:
            continue
        halves = torch.from_numpy(numbers.copy()).bfloat16().view(torch.int16).numpy()
        used_as, kept_as = tensor.name, f"{tensor.name}.bfloat16"
        kept = TensorProto(
            name=kept_as,
            data_type=TensorProto.BFLOAT16,
            dims=numbers.shape,
            raw_data=halves.astype("<i2").tobytes(),
        )
        tensor.CopyFrom(kept)
        casts.append(helper.make_node("Cast", [kept_as], [used_as], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _forget_source(model: Any) -> None:
    """Drop the lines of Python, and their paths, that the exporter notes at every operator."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.graph.metadata_props.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings, which are about its own inner life."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _difference(
    network: nn.Module, content: bytes, tile: int | None, precision: torch.dtype
) -> float:
    """The largest difference between onnxruntime and PyTorch on two images, or a tile.

    Raises:
        UserError: it exceeds `TOLERANCE`, or in half precision `TOLERANCE_OF_HALF`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    largest = 0.0
    channels = channels_of(network)
    most = TOLERANCE if precision == torch.float32 else TOLERANCE_OF_HALF
    sizes = ((1, 5, 3), (3, 83, 41)) if tile is None else ((1, tile, tile),)
    for count, height, width in sizes:
        shape = count, channels, height, width
        lq = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected = network(lq)
        restored = torch.from_numpy(session.run([OUTPUT], {INPUT: lq.numpy()})[0])
        difference = float((restored - expected).abs().max())
        if not difference <= most * max(1.0, float(expected.abs().max())):
            raise UserError(
                f"The exported {type(network).__name__} differs from PyTorch's by {difference:.2g} "
                f"on images of {shape}, so nothing was written. Other versions of torch or "
                "onnxruntime may do better."
            )
        largest = max(largest, difference)
    return largest

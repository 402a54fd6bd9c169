"""What programs that read ONNX files take: a table of rules, each with its source, and a file held against it.

`gantool export --for HOST` chooses opset, form and batch by it; `gantool inspect --hosts` shows it for a file. Rules
that no document states were found by running the host, and say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gantool.artifact import inspection, onnxfile
from gantool.errors import ArgumentError, GantoolError

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

OLDEST, USUAL_OPSET, NEWEST = 13, 18, 25  # that gantool writes
UNITY = "https://docs.unity3d.com/Packages/com.unity.ai.inference@"
TENSORRT = "https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md"
OPENVINO = "https://github.com/openvinotoolkit/openvino/blob/master/src/frontends/onnx/docs/supported_ops.md"
WEBGPU = "https://github.com/microsoft/onnxruntime/blob/main/js/web/docs/webgpu-operators.md"
COREML = "https://onnxruntime.ai/docs/execution-providers/CoreML-ExecutionProvider.html"
LITERT = "https://github.com/PINTO0309/onnx2tf#supported-layers"
NCNN = "https://github.com/Tencent/ncnn/blob/master/tools/pnnx/README.md#supported-onnx-operator-status"
TRACT = "https://github.com/sonos/tract/tree/main/onnx/src/ops"
UNREAL = "https://dev.epicgames.com/documentation/en-us/unreal-engine/neural-network-engine-overview-in-unreal-engine"
GODOT = "https://github.com/edbeeching/godot_rl_agents_plugin"
ORT = "https://onnxruntime.ai/docs/reference/compatibility.html"
RUN = "found by running it: docs/hosts.md"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


FLOATS = _names("float32 int32 int64 bool")  # int64 as places and shapes, which all of them narrow without harm
SEQUENCES = "Optional OptionalGetElement OptionalHasElement SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap SplitToSequence ConcatFromSequence"  # noqa: E501
TEXTS = "RegexFullMatch StringConcat StringNormalizer StringSplit TfIdfVectorizer ImageDecoder"
ELEMENTWISE = "Abs Acos Add Asin Atan Ceil Clip Cos Div Elu Exp Floor LeakyRelu Log Mul Neg Pow Reciprocal Relu Sigmoid Sin Sqrt Sub Tan Tanh HardSigmoid"  # noqa: E501
SHAPING = "Concat Reshape Slice Split Squeeze Transpose Unsqueeze Flatten DepthToSpace Resize"
REDUCING = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
)
LAYERS = "AveragePool Conv ConvTranspose Gemm GlobalAveragePool GlobalMaxPool InstanceNormalization LayerNormalization MatMul MaxPool Softmax"  # noqa: E501


@dataclass(frozen=True)
class Host:
    """A program that reads ONNX files.

    - `forms`: kinds of files that it takes, the best first. `opsets`: what it reads. `ir`: the newest format of files.
    - `missing`: operators that it lacks, or `operators`: all that it has; `None`: every one of ONNX.
    - `wrong`: operators that it computes otherwise than ONNX says, without an error.
    - `dtypes`: of inputs, outputs and everything computed. `precisions`: of the files that it takes.
    - `batch`: the one that it wants; None: any. `axes`: operator → the spatial axes that it may have.
    - `fixed`: (operator, attribute) → the values that it knows.
    - `sources`: of each of these fields, a link.
    """

    name: str
    title: str
    sources: Mapping[str, str]
    forms: tuple[str, ...] = ("onnx-portable", "onnx")
    opsets: range = range(13, 26)
    ir: int = 13
    missing: frozenset[str] = frozenset()
    operators: frozenset[str] | None = None
    wrong: frozenset[str] = frozenset()
    dtypes: frozenset[str] = FLOATS
    precisions: tuple[str, ...] = ("float32",)
    batch: int | None = None
    axes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    fixed: Mapping[tuple[str, str], tuple[object, ...]] = field(default_factory=dict)

    def source(self, rule: str) -> str:
        """Who says so; a form is what the dtypes allow, where nobody says more."""
        return self.sources.get(rule) or self.sources["dtypes"]


@dataclass(frozen=True)
class Problem:
    """Why a host can't take a file: the node (or input, or "the file"), what is wrong with it, and who says so."""

    node: str
    reason: str
    source: str


_UNITY_MISSING = _names(
    f"{SEQUENCES} {TEXTS} AffineGrid BitShift CenterCropPad Col2Im ConvInteger DeformConv DequantizeLinear Det "
    "DynamicQuantizeLinear EyeLike GlobalLpPool GroupNormalization GRU If Loop LpNormalization LpPool MatMulInteger "
    "MaxRoiPool MaxUnpool MeanVarianceNormalization NegativeLogLikelihoodLoss QLinearConv QLinearMatMul QuantizeLinear "
    "ReverseSequence RNN Scan SoftmaxCrossEntropyLoss Unique"
)
_UNITY_FIXED: dict[tuple[str, str], tuple[object, ...]] = {
    ("Resize", "coordinate_transformation_mode"): ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"),
    ("Resize", "exclude_outside"): (0,),
    ("Resize", "antialias"): (0,),
}


def _unity(name: str, title: str, version: str, opsets: range, models: str) -> Host:
    operators = f"{UNITY}{version}/manual/supported-operators.html"
    sources = {"opsets": f"{UNITY}{version}/manual/{models}.html"} | dict.fromkeys(
        ("missing", "dtypes", "fixed", "precisions"), operators
    )
    return Host(name, title, sources, opsets=opsets, missing=_UNITY_MISSING, fixed=_UNITY_FIXED)


def _onnxruntime(name: str, title: str, source: str, opsets: range, ir: int) -> Host:
    """A host that has ONNX Runtime on the CPU: it computes everything."""
    return Host(
        name,
        title,
        {"forms": source, "opsets": ORT, "ir": ORT, "dtypes": ORT, "precisions": ORT},
        forms=("onnx-seeded", "onnx", "onnx-portable"),
        opsets=opsets,
        ir=ir,
        dtypes=FLOATS | _names("uint64 uint8 int16 int8 float16"),
        precisions=("float32", "half-weights", "half", "int8"),
    )


HOSTS = (
    _unity("unity", "Unity, Sentis before 2.6", "2.4", range(7, 16), "supported-models"),
    _unity("unity-2.6", "Unity, Sentis from 2.6 on", "2.6", range(7, 26), "whats-new"),
    Host(
        "tensorrt", "TensorRT 11; 10.0 reads opsets to 20",
        {
            "opsets": "https://docs.nvidia.com/deeplearning/tensorrt/latest/reference/onnx-opset-guide.html",
            "missing": TENSORRT, "dtypes": TENSORRT, "fixed": TENSORRT, "precisions": TENSORRT,
        },
        opsets=range(9, 26), precisions=("float32", "half-weights", "half"), dtypes=FLOATS | {"float16"},
        missing=_names(
            f"{SEQUENCES} {TEXTS} AffineGrid Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor "
            "BlackmanWindow CenterCropPad Compress ConvInteger DFT Det DynamicQuantizeLinear HammingWindow HannWindow "
            "MatMulInteger MaxRoiPool MaxUnpool MelWeightMatrix Multinomial NegativeLogLikelihoodLoss QLinearConv "
            "QLinearMatMul STFT SoftmaxCrossEntropyLoss Unique"
        ),
        fixed={("Resize", "mode"): ("nearest", "linear"), ("Resize", "antialias"): (0,)},
    ),
    Host(
        "openvino", "OpenVINO 2026",
        {"missing": OPENVINO, "opsets": OPENVINO, "dtypes": RUN, "fixed": RUN, "precisions": RUN},
        dtypes=FLOATS | {"uint8", "int16", "int8", "float16"}, precisions=("float32", "half-weights", "int8"),
        missing=_names(
            "Bernoulli DeformConv Det ImageDecoder LpPool MaxUnpool MelWeightMatrix Optional OptionalGetElement "
            "OptionalHasElement RegexFullMatch SequenceMap StringConcat StringSplit"
        ),
        fixed={("Resize", "antialias"): (0,), ("DFT", "onesided"): (0,)},
    ),
    Host(
        "webgpu", "WebGPU by onnxruntime-web",
        {"operators": WEBGPU, "opsets": WEBGPU, "dtypes": WEBGPU, "axes": WEBGPU, "precisions": WEBGPU},
        precisions=("float32", "half-weights", "half"), dtypes=FLOATS | {"float16"},
        operators=_names(
            f"{ELEMENTWISE} {SHAPING} {REDUCING} {LAYERS} Acosh ArgMax ArgMin Asinh Atanh BatchNormalization Cast Cosh "
            "CumSum DFT DequantizeLinear Einsum Equal Erf Expand Gather GatherElements GatherND Gelu Greater "
            "GreaterOrEqual GridSample HardSwish If Less LessOrEqual Not Pad Range ScatterND Shape Sinh "
            "ThresholdedRelu Tile Where"
        ),
        axes={"Conv": (1, 2), "ConvTranspose": (1, 2)},
    ),
    Host(
        "coreml", "Core ML by ONNX Runtime",
        {"operators": COREML, "axes": COREML, "dtypes": COREML, "forms": COREML, "precisions": COREML},
        forms=("onnx",), dtypes=_names("float32 int32 int64"),
        operators=_names(
            f"{SHAPING} {LAYERS} Add ArgMax Cast Ceil Clip Cos Div Elu Erf Exp GatherND Gelu GridSample "
            "GroupNormalization HardSigmoid Identity LeakyRelu Max Mul PRelu Pow Range Reciprocal ReduceMax ReduceMean "
            "ReduceSum Relu Round Shape Sigmoid Sin Softplus Sqrt Sub Tanh Tile"
        ) - {"Flatten"},
        axes={"Conv": (1, 2), "AveragePool": (2,), "MaxPool": (2,)},
    ),
    Host(
        "litert", "LiteRT (TensorFlow Lite) by onnx2tf",
        {"missing": LITERT, "opsets": LITERT} | dict.fromkeys(("forms", "dtypes", "batch", "wrong", "precisions"), RUN),
        forms=("onnx",), opsets=range(11, 19), batch=1,
        wrong=frozenset({"ConvTranspose"}),
        missing=_names(
            "BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CenterCropPad DFT DeformConv GroupNormalization Loop "
            "MaxRoiPool Optional Scan TfIdfVectorizer"
        ),
    ),
    Host(
        "ncnn", "ncnn by pnnx",
        {"operators": NCNN, "forms": RUN, "dtypes": RUN, "batch": RUN, "precisions": RUN},
        forms=("onnx",), dtypes=frozenset({"float32"}), batch=1,
        operators=_names(
            f"{ELEMENTWISE} {SHAPING} {REDUCING} {LAYERS} BatchNormalization Celu Constant Dropout GRU Gelu "
            "GroupNormalization HardSwish LRN LSTM LogSoftmax Max Min Mish PRelu Pad RMSNormalization RNN Selu Shrink "
            "Softplus Sum"
        ),
        fixed={("DepthToSpace", "mode"): ("CRD",)},
    ),
    Host(
        "tract", "tract",
        {"operators": TRACT, "opsets": "https://github.com/sonos/tract/blob/main/test-rt/suite-onnx/src/lib.rs",
         "dtypes": RUN, "precisions": RUN},
        opsets=range(9, 25), dtypes=FLOATS | _names("uint8 int16 int8 float16"), precisions=("float32", "half-weights"),
        operators=_names(
            f"{ELEMENTWISE} {SHAPING} {REDUCING} {LAYERS} Acosh And ArgMax ArgMin Asinh Atanh BatchNormalization "
            "BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast CastLike Celu Compress Constant "
            "ConstantOfShape ConvInteger Cosh CumSum DFT DequantizeLinear Dropout DynamicQuantizeLinear Einsum Equal "
            "Erf Expand EyeLike GRU Gather GatherElements GatherND Gelu GlobalLpPool Greater GreaterOrEqual GridSample "
            "GroupNormalization HammingWindow HannWindow HardSwish Hardmax Identity If IsInf IsNaN LRN LSTM Less "
            "LessOrEqual LogSoftmax LpNormalization MatMulInteger Max Mean MeanVarianceNormalization MelWeightMatrix "
            "Min Mish Mod Multinomial NonMaxSuppression NonZero Not OneHot Or PRelu Pad QLinearConv QLinearMatMul "
            "QuantizeLinear RMSNormalization RNN Range Round STFT Scan Scatter ScatterElements ScatterND Selu Shape "
            "Shrink Sign Sinh Size Softplus Softsign SpaceToDepth Sum Swish ThresholdedRelu Tile TopK Trilu Where Xor"
        ),
    ),
    _onnxruntime("unreal", "Unreal Engine, NNERuntimeORT on the CPU", UNREAL, range(7, 18), 8),
    _onnxruntime("godot", "Godot, ONNX Runtime 1.15 or newer from C#", GODOT, range(7, 20), 9),
)  # fmt: skip
BY_NAME = {host.name: host for host in HOSTS}


def find(name: str) -> Host:
    """The host of that name; ArgumentError lists them."""
    if name not in BY_NAME:
        raise ArgumentError(f"There are no rules for the host {name!r}.", f"Use one of {', '.join(BY_NAME)}.")
    return BY_NAME[name]


def problems(host: Host, model: onnx.ModelProto, kind: str) -> list[Problem]:
    """Why the host can't take a file of `kind`, all that is known; nodes that are at fault are named."""
    import onnx

    graph = model.graph
    with suppress(onnx.shape_inference.InferenceError, ValueError):  # as of a file that was changed by hand
        graph = onnx.shape_inference.infer_shapes(model).graph
    found = [*_of_nodes(host, graph), *_of_values(host, graph)]
    if kind not in host.forms:
        reason = f"is of kind {kind}; it takes {', '.join(host.forms)}"
        found.append(Problem("the file", reason, host.source("forms")))
    return [*found, *_of_file(host, model)]


def of_file(path: Path) -> dict[str, list[Problem]]:
    """`problems` of an exported ONNX file, by the name of each host; GantoolError for another file."""
    if path.suffix != ".onnx":
        raise GantoolError(f"{path} is no ONNX file, which is what these hosts read.", "Name a generator.onnx.")
    data = onnxfile.read_bytes(path)
    about = onnxfile.manifest_of(onnxfile.parse(data, path), path)  # before onnx, which would follow paths in it
    try:
        model = inspection.parsed(data, path)
    except ModuleNotFoundError as error:
        raise GantoolError("Rules of hosts need the library onnx.", 'Type: pip install "gantool[train]"') from error
    return {host.name: problems(host, model, about.kind) for host in HOSTS}


def demand(name: str, model: onnx.ModelProto, kind: str, file: str) -> None:
    """GantoolError that names the first node that the host can't take, the reason and its source."""
    host = find(name)
    found = problems(host, model, kind)
    if found:
        first = found[0]
        more = f" {len(found) - 1} other things, too." if len(found) > 1 else ""
        raise GantoolError(
            f"{host.title} can't take {file}: {first.node} {first.reason} ({first.source}).{more}",
            f"Without --for {name} the file is written. `gantool inspect FILE --hosts` shows who takes it.",
        )


def _of_file(host: Host, model: onnx.ModelProto) -> Iterator[Problem]:
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset not in host.opsets:
        reason = f"has opset {opset}; read are {host.opsets[0]} to {host.opsets[-1]}"
        yield Problem("the file", reason, host.source("opsets"))
    if model.ir_version > host.ir:
        yield Problem("the file", f"has the format IR {model.ir_version}; the newest is {host.ir}", host.source("ir"))
    for value in model.graph.input if host.batch else ():
        first = value.type.tensor_type.shape.dim[:1]
        if first and first[0].dim_value != host.batch:
            yield Problem(
                f"input {value.name}", f"has any batch: export with --batch {host.batch}", host.source("batch")
            )


def _of_values(host: Host, graph: onnx.GraphProto) -> Iterator[Problem]:
    """Inputs and outputs, weights, and what nodes compute, of dtypes that the host lacks."""
    import onnx

    makers = {name: _label(node) for node in graph.node for name in node.output}
    kinds = [(value.name, value.type.tensor_type.elem_type) for value in (*graph.input, *graph.value_info)]
    kinds += [(value.name, value.type.tensor_type.elem_type) for value in graph.output]
    whole = onnx.TensorProto.INT64  # shapes, axes and places of constants, which converters resolve
    kinds += [(tensor.name, tensor.data_type) for tensor in graph.initializer if tensor.data_type != whole]
    for name, kind in kinds:
        dtype = _dtype(kind)
        if dtype not in host.dtypes:
            at = makers.get(name, f"{'input' if any(v.name == name for v in graph.input) else 'constant'} {name}")
            yield Problem(at, f"is {dtype}", host.source("dtypes"))


def _of_nodes(host: Host, graph: onnx.GraphProto) -> Iterator[Problem]:
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in (*graph.value_info, *graph.input)}
    for node in graph.node:
        operator, at = node.op_type, _label(node)
        if node.domain not in ("", "ai.onnx"):
            yield Problem(at, f"is no operator of ONNX, but of {node.domain}", ORT)
        elif operator in host.missing or (host.operators is not None and operator not in host.operators):
            source = host.source("missing" if host.operators is None else "operators")
            yield Problem(at, f"is {operator}, which it lacks", source)
        elif operator in host.wrong:
            yield Problem(at, f"is {operator}, which it computes otherwise, without an error", host.source("wrong"))
        elif operator in host.axes and (spatial := ranks.get(node.input[0], 4) - 2) not in host.axes[operator]:
            yield Problem(at, f"is {operator} of {spatial} axes", host.source("axes"))
        for attribute in node.attribute:
            known = host.fixed.get((operator, attribute.name))
            value = attribute.s.decode(errors="replace") if attribute.s else attribute.i
            if known is not None and value not in known:
                yield Problem(at, f"is {operator} with {attribute.name} {value}", host.source("fixed"))


def _label(node: onnx.NodeProto) -> str:
    return f"node {node.name or node.output[0]}"


def _dtype(kind: int) -> str:
    import onnx

    return "float32" if kind == onnx.TensorProto.FLOAT else str(onnx.TensorProto.DataType.Name(kind)).lower()


def settle(
    names: Sequence[str], opset: int | None, batch: int | None, precisions: Sequence[str], kinds: Sequence[str]
) -> tuple[int | None, int | None]:
    """Opset and batch of files that the hosts of these names take; ArgumentError when what is given contradicts one.

    Given are None and () for what the caller leaves open.
    """
    low, high = OLDEST, NEWEST
    for host in map(find, names):
        low, high = max(low, host.opsets[0]), min(high, host.opsets[-1])
        if opset is not None and opset not in host.opsets:
            raise _contradicts(host, "opsets", f"opset {opset}", f"opsets {host.opsets[0]} to {host.opsets[-1]}")
        if batch is not None and host.batch not in (None, batch):
            raise _contradicts(host, "batch", f"batch {batch}", f"a batch of {host.batch}")
        for precision in precisions:
            if precision not in host.precisions:
                raise _contradicts(host, "precisions", f"precision {precision}", f"{', '.join(host.precisions)}")
        for kind in kinds:
            if kind not in host.forms:
                raise _contradicts(host, "forms", f"kind {kind}", f"{', '.join(host.forms)}")
        batch = batch or host.batch
    if low > high:
        raise ArgumentError(f"No opset is read by all of {', '.join(names)}.", "Export for each by itself, with -o.")
    return (opset or min(max(USUAL_OPSET, low), high), batch) if names else (opset, batch)


def newest_ir(names: Sequence[str]) -> int | None:
    """The newest format of files that all these hosts read; None without any."""
    return min((find(name).ir for name in names), default=None)


def _contradicts(host: Host, rule: str, given: str, wanted: str) -> ArgumentError:
    return ArgumentError(
        f"{given.capitalize()} contradicts --for {host.name}: it takes {wanted} ({host.source(rule)}).",
        "Leave one of the two out. The rules of all hosts: docs/hosts.md.",
    )

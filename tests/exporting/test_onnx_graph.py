"""gantool.exporting.onnx_files.graph: what the file looks like, BatchNorm folded away, and what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from support.exports import Tiny, Z
from support.graphs import run
from torch import Tensor, nn

from gantool.errors import GantoolError
from gantool.exporting.onnx_files import seeds
from gantool.exporting.onnx_files.graph import to_onnx
from gantool.plugin.architecture import SampleSpec


class ThroughMaps(nn.Module):
    """z → Linear → `first` at (6, 4, 4) → `rest`; the shape of every convolutional generator."""

    def __init__(self, *rest: nn.Module, first: nn.Module | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 96)
        self.rest = nn.Sequential(*([first] if first else []), *rest)

    def forward(self, z: Tensor) -> Tensor:
        return self.rest(self.linear(z).unflatten(1, (6, 4, 4)))


class UsedTwice(nn.Module):
    """Its BatchNorm can't be folded into the Linear, whose output is needed as it is too."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 96), nn.BatchNorm2d(6)

    def forward(self, z: Tensor) -> Tensor:
        x = self.linear(z).unflatten(1, (6, 4, 4))
        return self.norm(x) + x


class UsedFlat(UsedTwice):
    """The output of the Linear is used before the reshape as well."""

    def forward(self, z: Tensor) -> Tensor:
        flat = self.linear(z)
        return self.norm(flat.unflatten(1, (6, 4, 4))) + flat.sum(1)[:, None, None, None]


class AcrossBatch(nn.Module):
    """A reshape that moves features into the batch: the channels are no runs of the Linear's columns."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 96), nn.BatchNorm1d(6)

    def forward(self, z: Tensor) -> Tensor:
        return self.norm(self.linear(z).reshape(-1, 6)).reshape(-1, 6, 4, 4)


NORMALISED = {
    "after a convolution": ThroughMaps(nn.Conv2d(6, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Tanh()),
    "after one without bias": ThroughMaps(nn.Conv2d(6, 3, 3, bias=False), nn.BatchNorm2d(3)),
    "after a transposed convolution": ThroughMaps(nn.ConvTranspose2d(6, 3, 4, 2, 1), nn.BatchNorm2d(3)),
    "after one without bias, two": ThroughMaps(
        nn.ConvTranspose2d(6, 5, 4, 2, 1, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.ConvTranspose2d(5, 3, 4, 2, 1, bias=False),
        nn.BatchNorm2d(3),
    ),
    "after a linear": nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 96), nn.Unflatten(1, (6, 4, 4))
    ),
    "after a linear and a reshape": ThroughMaps(first=nn.BatchNorm2d(6)),
    "before a convolution": ThroughMaps(
        nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 3, 1), first=nn.Conv2d(6, 6, 3, padding=1)
    ),
    "before anything": nn.Sequential(nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 96), nn.Unflatten(1, (6, 4, 4))),
    "after an activation": ThroughMaps(nn.LeakyReLU(0.2), nn.BatchNorm2d(6), nn.Conv2d(6, 3, 1)),
    "without weights of its own": ThroughMaps(nn.BatchNorm2d(6, affine=False)),
    "of instances, with statistics": ThroughMaps(
        nn.Conv2d(6, 3, 3), nn.InstanceNorm2d(3, affine=True, track_running_stats=True)
    ),
    "of instances, without weights": ThroughMaps(
        nn.LeakyReLU(0.2), nn.InstanceNorm2d(6, track_running_stats=True), nn.Conv2d(6, 3, 1)
    ),
    "of an output used twice": UsedTwice(),
    "of an output used flat too": UsedFlat(),
    "of features in the batch": AcrossBatch(),
}


def lived_in(module: nn.Module) -> nn.Module:
    """Statistics and weights as a training leaves them, far from the neutral ones of a new BatchNorm."""
    torch.manual_seed(3)
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._NormBase):
            norm.running_mean.normal_(0, 2)
            norm.running_var.uniform_(0.1, 4)
            if norm.affine:
                nn.init.normal_(norm.weight, 1, 1)  # some are negative
                nn.init.normal_(norm.bias)
    return module.eval()


def float64(model: onnx.ModelProto) -> ReferenceEvaluator:
    """The graph computed in double precision, so that only what folding changes can differ."""
    wide = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in wide.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    for value in [*wide.graph.input, *wide.graph.output]:
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return ReferenceEvaluator(wide)


NODES = {  # where a folded norm costs no node
    "after a linear and a reshape": {"Gemm": 1, "Reshape": 1},
    "after a transposed convolution": {"Gemm": 1, "Reshape": 1, "ConvTranspose": 1},
    "after a convolution": {"Gemm": 1, "Reshape": 1, "Conv": 1, "Tanh": 1},
    "of an output used twice": {"Gemm": 1, "Reshape": 1, "Mul": 1, "Add": 2},
}


@pytest.mark.parametrize("where", [pytest.param(w, marks=[pytest.mark.slow] * (w not in NODES)) for w in NORMALISED])
def test_batch_norm_is_folded_and_changes_nothing(where: str) -> None:
    generator = lived_in(NORMALISED[where])
    z = torch.randn(5, 4, dtype=torch.float64)
    shape = generator(z[:2].float()).shape[1:]
    model = to_onnx(generator, [Z], SampleSpec(tuple(shape)))
    nodes = Counter(node.op_type for node in model.graph.node)
    assert "BatchNormalization" not in nodes
    assert nodes == NODES.get(where, nodes)
    (image,) = float64(model).run(None, {"z": z.numpy()})
    with torch.no_grad():
        wanted = generator.double()(z).numpy()
    generator.float()
    # a folded weight is rounded to float32 once more: some 1e-7 of the largest values
    assert np.abs(image - wanted).max() < 2e-6 * max(1, np.abs(wanted).max())


class Functional(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.instance_norm(x, torch.zeros(6), torch.ones(6), use_input_stats=False)


@pytest.mark.parametrize(
    "norm",
    [Functional(), nn.BatchNorm2d(6, track_running_stats=False)],
    ids=["functional instance", "batch without statistics"],
)
def test_a_norm_without_constant_statistics_is_refused(norm: nn.Module) -> None:
    with pytest.raises(GantoolError, match="computes its statistics inside the graph") as refused:
        to_onnx(ThroughMaps(norm).eval(), [Z], SampleSpec((6, 4, 4)))
    assert "track_running_stats" in refused.value.hint


def declared(value: onnx.ValueInfoProto) -> tuple[str, int, list[str | int]]:
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]


def test_a_dropout_that_is_off_is_no_random_node() -> None:
    generator = nn.Sequential(nn.Linear(4, 96), nn.Dropout(0.5), nn.Unflatten(1, (6, 4, 4))).eval()
    model = to_onnx(generator, [Z], SampleSpec((6, 4, 4)))
    assert {node.op_type for node in model.graph.node} == {"Gemm", "Reshape"}


@pytest.mark.parametrize("shape", [(3, 4, 6), (2, 16)])
def test_names_shapes_and_opset_and_nothing_is_printed(
    shape: tuple[int, ...], capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    model = to_onnx(Tiny(shape).eval(), [Z], SampleSpec(shape))
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert [declared(i) for i in model.graph.input] == [("z", TensorProto.FLOAT, ["batch", 4])]
    name = "image" if len(shape) == 3 else "sample"
    assert [declared(o) for o in model.graph.output] == [(name, TensorProto.FLOAT, ["batch", *shape])]
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]


class Noisy(Tiny):
    def wild(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class Uniform(Tiny):
    def wild(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


class LiveDropout(Tiny):
    def wild(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.5, training=True)


class Frozen(Tiny):
    """The batch becomes a Python number, as in `view(int(batch), …)`."""

    def wild(self, x: Tensor) -> Tensor:
        return x.reshape(int(x.shape[0]) + 0, 1, 8, 8) if len(x) == 2 else x * 2


class Branches(Tiny):
    """Control flow on values, which no graph can hold."""

    def wild(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize("faulty", [Noisy, Uniform, LiveDropout])
def test_random_nodes_are_refused(faulty: type[Tiny]) -> None:
    with pytest.raises(GantoolError, match="random numbers inside its graph") as error:
        to_onnx(faulty().eval(), [Z], SampleSpec((1, 8, 8)))
    assert "Input(" in error.value.hint


@pytest.mark.parametrize("faulty", [Frozen, Branches])
def test_what_torch_can_not_export_is_an_error_of_one_line(faulty: type[Tiny]) -> None:
    with pytest.raises(GantoolError) as error:
        to_onnx(faulty().eval(), [Z], SampleSpec((1, 8, 8)))
    assert "\n" not in error.value.message
    assert error.value.hint


def test_another_opset_than_asked_for_is_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = torch.onnx.export

    def export(*args: object, **kwargs: object) -> object:
        program = honest(*args, **kwargs)
        program.model.opset_imports[""] = 20
        return program

    monkeypatch.setattr(torch.onnx, "export", export)
    model = to_onnx(Tiny().eval(), [Z], SampleSpec((1, 8, 8)))
    assert {entry.version for entry in model.opset_import} == {18}


class Reflected(Tiny):
    def wild(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, (1, 1, 1, 1), "reflect")


class Antialiased(Tiny):
    def wild(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, size=(5, 5), mode="bilinear", antialias=True)


@pytest.mark.parametrize(("faulty", "why"), [(Reflected, "Pad"), (Antialiased, "Resize antialias=1")])
def test_what_an_opset_can_not_say_is_named(faulty: type[Tiny], why: str) -> None:
    with pytest.raises(GantoolError, match=f"can't be written in opset 17: .*{why}") as error:
        to_onnx(faulty().eval(), [Z], SampleSpec((1, 8, 8)), 17)
    assert error.value.hint == "Leave --opset out: torch exports it in opset 18."


class Halved(Tiny):
    def wild(self, x: Tensor) -> Tensor:
        one, other = x.split(4, 2)  # ONNX's Split has no older twin
        return torch.cat([other, one * 2], 2)


@pytest.mark.parametrize("kind", [Tiny, pytest.param(Halved, marks=pytest.mark.slow)])
def test_every_opset_makes_the_same_images(kind: type[Tiny]) -> None:
    feeds = {"seed": np.array([7], np.int64), "index": np.arange(5, dtype=np.int64)}
    images = []
    for opset in (18, 13, 14, 15, 17, 21, 25):
        model = to_onnx(kind((3, 8, 6)).eval(), [Z], SampleSpec((3, 8, 6)), opset)
        assert {entry.version for entry in model.opset_import} == {opset}
        seeded = seeds.seeded_model(model, [("z", (4,))])
        assert {entry.version for entry in seeded.opset_import} == {opset}
        images.append(run(seeded, feeds))
        np.testing.assert_array_equal(images[-1], images[0])


@pytest.mark.parametrize("opset", [12, 26])
def test_opsets_out_of_range(opset: int) -> None:
    with pytest.raises(GantoolError, match=f"Opset {opset} can't be written"):
        to_onnx(Tiny().eval(), [Z], SampleSpec((1, 8, 8)), opset)


def test_a_fixed_batch_in_the_graph_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = torch.onnx.export

    def export(*args: object, **kwargs: object) -> object:
        kwargs.pop("dynamic_shapes")
        return honest(*args, **kwargs)

    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(GantoolError, match="frozen at 2"):
        to_onnx(Tiny().eval(), [Z], SampleSpec((1, 8, 8)))

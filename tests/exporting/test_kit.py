"""gantool.exporting.app: what is in the folder, what its README says, and when a folder is replaced."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from markdown_it import MarkdownIt
from support.exports import Conditional, Tiny, Z, source

from gantool import exporting
from gantool.artifact import inspection, manifest
from gantool.artifact.manifest import InputInfo, Manifest, OutputInfo
from gantool.errors import GantoolError
from gantool.exporting.app import check, kit, playground, readme, write_app
from gantool.exporting.source import Artifact
from gantool.plugin.architecture import Input
from gantool.run.rundir import RunDir
from gantool.system import files as system_files
from gantool.system.files import sha256_of

HOSTILE = "</script><img src=x onerror=alert(1)> `a` ```\n```sh\n| b | [c](javascript:d) **e** %%{title} \" ' \\ & #"
FILES = {
    *(f"samplers/{name}" for name in ("Sampler.cs", "Sampler.java", "Sampler.swift", "normals.f32")),
    *(f"samplers/sampler.{suffix}" for suffix in ("gd", "go", "h", "rs", "wgsl")),
    "README.md",
    "generator.seeded.onnx",
    "manifest.json",
    "python/generator.py",
    "python/requirements.txt",
    *(f"{host}/{name}" for host in ("node", "web") for name in ("core.mjs", "core.d.mts", "pictures.mjs")),
    *(f"{host}/{name}" for host in ("node", "web") for name in ("generator.mjs", "generator.d.mts")),
    *(f"{host}/{name}" for host in ("node", "web") for name in ("files.mjs", "files.d.mts")),
    "node/package.json",
    "node/example.mjs",
    "node/png.mjs",
    "node/png.d.mts",
    "web/index.html",
    *(f"web/ort/{name}" for name in playground.ORT_WEB),
}

TEXTS = (".md", ".json", ".mjs", ".mts", ".py", ".html", ".txt")


@pytest.fixture(autouse=True)
def ort_web(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small files in place of ONNX Runtime's: what it does is for the tests of hosts."""
    folder = tmp_path_factory.mktemp("assets")
    for name in playground.ORT_WEB:
        (folder / name).write_text(f"{name}\n")
    digests = {name: sha256_of(folder / name) for name in playground.ORT_WEB}
    (folder / playground.RECORD).write_text(json.dumps({"files": digests}))
    monkeypatch.setattr(playground, "ASSETS", folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tiny_export: Callable[..., Path]) -> Artifact:
    path = tiny_export(3, 8, 6) / "generator.seeded.onnx"
    return Artifact(path, inspection.inspect(path).manifest, ())


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A conditional generator, every text of whose manifest is an attack."""
    made = source(Conditional(), Z, Input("label", (), "label", classes=3))
    about = dataclasses.replace(
        made.about,
        architecture={"name": HOSTILE, "plugin": HOSTILE, "plugin_version": HOSTILE, "config": {}},
        training={"run": HOSTILE, "step": 5},
        data={"name": HOSTILE, "class_names": [HOSTILE, "<b>bold</b>", "cat"]},
        licence=HOSTILE,
    )
    folder = tmp_path_factory.mktemp("hostile")
    (artifact,) = exporting.write(dataclasses.replace(made, about=about), ["onnx-seeded"], folder)
    return artifact


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def without_playground(made: Artifact, folder: Path) -> Path:
    write_app(made, None, None, folder, playground=False)
    return folder


def test_the_folder_holds_everything(tiny: Artifact, tmp_path: Path, ort_web: Path) -> None:
    made = write_app(tiny, None, None, tmp_path / "new" / "app", playground=False)
    folder = tmp_path / "new" / "app"
    found = files(folder)
    assert set(found) == FILES
    assert {p.relative_to(folder).as_posix() for p in made} == set(found)
    assert found["generator.seeded.onnx"] == tiny.path.read_bytes()
    assert manifest.from_json(found["manifest.json"], "kit") == tiny.manifest
    assert found["node/core.mjs"] == found["web/core.mjs"]
    assert found["web/ort/LICENSE"] == (ort_web / "LICENSE").read_bytes()
    assert [p.name for p in folder.parent.iterdir()] == ["app"]  # nothing temporary is left
    assert not [name for name, content in found.items() if name.endswith(TEXTS) and b"%%{" in content]
    assert b"made without the TorchScript file" in found["README.md"]


def test_torchscript_is_for_cpp_and_names_are_those_of_the_kit(tiny: Artifact, tmp_path: Path) -> None:
    other = Artifact(tmp_path / "generator.half-weights.seeded.onnx", tiny.manifest, ())
    shutil.copy(tiny.path, other.path)
    script = Artifact(tmp_path / "generator.half.seeded.torchscript.pt", tiny.manifest, ())
    script.path.write_bytes(b"torchscript")
    write_app(other, script, None, tmp_path / "app", playground=False)
    found = files(tmp_path / "app")
    assert found["generator.seeded.onnx"] == tiny.path.read_bytes()
    assert found["cpp/generator.seeded.torchscript.pt"] == b"torchscript"
    templates = Path(kit.__file__).parent / "templates" / "cpp"
    text = found["README.md"].decode()
    assert (templates / "README.part.md").read_text(encoding="utf-8").strip() in text
    assert "torch::Tensor images = generator.sample(16, 7);  // uint8 (16, H, W, C): images 0 to 15" in text
    assert "%%{" not in text
    wanted = {f"cpp/{p.name}" for p in templates.iterdir() if not p.name.endswith(readme.PART)}
    assert {name for name in found if name.startswith("cpp/")} == wanted | {"cpp/generator.seeded.torchscript.pt"}
    header = found["cpp/provenance.hpp"].decode()
    assert "%%{" not in header
    assert tiny.manifest.weights_sha256 in header
    assert "trainedAlgorithmicMedia" in header
    write_app(other, script, None, tmp_path / "app", playground=False, provenance=False)
    assert 'xmp = ""' in files(tmp_path / "app")["cpp/provenance.hpp"].decode()
    without_playground(tiny, tmp_path / "app")  # one without C++ takes its place
    assert set(files(tmp_path / "app")) == FILES


def fake_playground(monkeypatch: pytest.MonkeyPatch, build: Callable[..., str]) -> None:
    module = ModuleType("gantool.exporting.app.playground")
    module.build = build  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_the_playground_is_built_of_the_model_in_the_kit(
    tiny: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir(tmp_path / "0001-run")

    def build(seeded: Path, described: Manifest, of: RunDir | None, provenance: bool) -> str:
        assert (seeded.read_bytes(), described, of) == (tiny.path.read_bytes(), tiny.manifest, run)
        assert provenance
        return "<p>ä"

    fake_playground(monkeypatch, build)
    made = write_app(tiny, None, run, tmp_path / "app")
    assert (tmp_path / "app" / "playground.html").read_text(encoding="utf-8") == "<p>ä"
    assert tmp_path / "app" / "playground.html" in made
    assert "`playground.html`" in (tmp_path / "app" / "README.md").read_text(encoding="utf-8")


# --- the README


def tokens(text: str) -> list[Any]:
    """Every token of a Markdown text, those inside lines too."""
    blocks = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)
    return [token for block in blocks for token in (block, *(block.children or []))]


def cells(text: str) -> dict[str, str]:
    """The tables of two columns: the text of the first cell → that of the second."""
    rows = re.findall(r"<tr>\s*<td>(.*?)</td>\s*<td>(.*?)</td>\s*</tr>", MarkdownIt().enable("table").render(text))
    unescaped = [
        [cell.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"') for cell in row] for row in rows
    ]
    return {first: second.replace("&amp;", "&") for first, second in unescaped}


def test_the_readme_is_of_this_model(tiny: Artifact, tmp_path: Path) -> None:
    folder = without_playground(tiny, tmp_path / "app")
    text = (folder / "README.md").read_text(encoding="utf-8")
    facts = cells(text)
    assert facts["architecture"] == "tiny (plugin tests 1)"
    assert facts["images"] == "6 × 8 pixels, 3 channels: RGB, uint8"
    assert facts["training"] == "run none, 0 steps"
    assert facts["licence of the data"].startswith("not stated")
    assert "uint8 (16, 8, 6, 3)" in text
    assert tiny.manifest.weights_sha256 in text
    assert "trainedAlgorithmicMedia" in text
    assert "## Labels" not in text
    web = sum(p.stat().st_size for p in (folder / "web").rglob("*") if p.is_file())
    assert f"| `web/` | {web / 1e3:.1f} kB |" in text
    assert "playground" not in text


def test_the_readme_lists_labels(hostile: Artifact, tmp_path: Path) -> None:
    text = (without_playground(hostile, tmp_path / "app") / "README.md").read_text(encoding="utf-8")
    labels = cells(text)
    assert (labels["1"], labels["2"]) == ("<b>bold</b>", "cat")
    assert "labels=2)" in text
    assert "labels: 2 }" in text


def test_hostile_names_stay_text(hostile: Artifact, tmp_path: Path) -> None:
    text = (without_playground(hostile, tmp_path / "app") / "README.md").read_text(encoding="utf-8")
    calm = dataclasses.replace(
        hostile.manifest,
        architecture={"name": "a", "plugin": "b", "plugin_version": "c", "config": {}},
        training={"run": "d", "step": 5},
        data={"name": "e", "class_names": ["f", "g", "h"]},
        licence="i",
    )
    benign = (without_playground(Artifact(hostile.path, calm, ()), tmp_path / "calm") / "README.md").read_text(
        encoding="utf-8"
    )

    def structure(text: str) -> list[tuple[str, str]]:  # what a renderer makes of it, its plain words left out
        kept = [t for t in tokens(text) if t.type not in ("text", "text_special", "softbreak", "inline")]
        return [(t.type, str(t.attrs) + ("" if t.type == "html_block" else t.content)) for t in kept]

    assert structure(text) == structure(benign)
    assert cells(text)["licence of the data"] == " ".join(HOSTILE.split())
    assert cells(text)["0"] == " ".join(HOSTILE.split())
    assert [t.content for t in tokens(text) if t.type.startswith("html")] == [readme.MARKER]


def test_hostile_names_in_other_files(hostile: Artifact, tmp_path: Path) -> None:
    found = files(without_playground(hostile, tmp_path / "app"))
    package = json.loads(found["node/package.json"])
    assert re.fullmatch(r"generator-[a-z0-9._-]{1,200}", package["name"])
    assert package["dependencies"] == {"onnxruntime-node": "1.30.0"}
    assert package["type"] == "module"
    assert json.loads(found["manifest.json"])["architecture"]["name"] == HOSTILE
    for name, content in found.items():  # pages and programs read the manifest: nothing is written into them
        if name.endswith((".html", ".mjs", ".mts", ".py")):
            assert b"onerror" not in content, name


@pytest.mark.parametrize("names", [None, "cat", ["one"], {"a": 1}], ids=str)
def test_class_names_that_are_none_become_numbers(hostile: Artifact, names: object, tmp_path: Path) -> None:
    data = {**hostile.manifest.data, "class_names": names}
    made = Artifact(hostile.path, dataclasses.replace(hostile.manifest, data=data), ())
    labels = cells((without_playground(made, tmp_path / "app") / "README.md").read_text(encoding="utf-8"))
    assert [labels[str(i)] for i in range(3)] == ["0", "1", "2"]


def test_a_manifest_with_nothing_in_it(tiny: Artifact, tmp_path: Path) -> None:
    bare = dataclasses.replace(tiny.manifest, architecture={}, training={}, data={}, licence=" ")
    text = (without_playground(Artifact(tiny.path, bare, ()), tmp_path / "app") / "README.md").read_text()
    assert "# unnamed, trained on unnamed\n" in text


@pytest.mark.parametrize(
    ("precision", "tolerance", "weights", "same"),
    [
        ("float32", 1, "stored and computed in float32", True),
        ("half-weights", 1, "stored in float16, computed in float32", True),
        ("half", 2, "stored in float16, computed in float16 where the hardware can", False),
        ("int8", 9, "stored as 8-bit integers, computed with them where the hardware can", False),
    ],
)
def test_equal_images_are_claimed_of_what_computes_in_float32(
    tiny: Artifact, tmp_path: Path, precision: str, tolerance: int, weights: str, same: bool
) -> None:
    described = dataclasses.replace(tiny.manifest, precision=precision, tolerance=tolerance)
    folder = without_playground(Artifact(tiny.path, described, ()), tmp_path / "app")
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert cells(text)["weights"] == weights
    assert ("it is the same in every language" in text) == same
    assert (f"differ by up to {tolerance} grey levels" in text) == (not same)
    assert ("LibTorch does, makes other pixels" in text) == (not same)


def test_markdown_bounds_and_flattens() -> None:
    assert readme.markdown("a\r\n\u2028b\x00\x1b[31m c") == "a b \\[31m c"
    assert len(readme.markdown("a" * 5000)) == readme.MAX_TEXT
    assert readme.markdown(["x", 1]) == "\\['x', 1\\]"


# --- which folders are replaced


def test_an_empty_folder_and_an_old_kit_are_replaced(tiny: Artifact, hostile: Artifact, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    first = files(without_playground(tiny, folder))
    (folder / "node" / "node_modules" / "x").mkdir(parents=True)
    (folder / "node" / "node_modules" / "x" / "package.json").touch()
    (folder / "python" / "grid.png").touch()
    (folder / "playground.html").touch()
    assert files(without_playground(hostile, folder)).keys() == first.keys()
    assert (folder / "generator.seeded.onnx").read_bytes() == hostile.path.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["app"]


def test_a_link_to_a_kit_stays_a_link(tiny: Artifact, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    without_playground(tiny, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [("web/my-page.html", r"holds web.my-page\.html"), ("notes.txt", r"holds notes\.txt")],
)
def test_what_someone_put_into_a_kit_is_not_lost(tiny: Artifact, name: str, message: str, tmp_path: Path) -> None:
    folder = without_playground(tiny, tmp_path / "app")
    (folder / name).write_text("mine")
    before = files(folder)
    with pytest.raises(GantoolError, match=message):
        without_playground(tiny, folder)
    assert files(folder) == before
    assert [p.name for p in tmp_path.iterdir()] == ["app"]


@pytest.mark.parametrize(
    "content",
    [
        {"thesis.tex": "mine"},
        {"manifest.json": "{}", "README.md": readme.MARKER},
        {"README.md": readme.MARKER},
        {"README.md": "# mine", "manifest.json": None},
    ],
    ids=["other files", "no manifest of ours", "no manifest", "another README"],
)
def test_other_folders_are_not_replaced(tiny: Artifact, content: dict[str, str | None], tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    for name, text in content.items():
        (folder / name).write_text(tiny.manifest.to_json() if text is None else text)
    before = files(folder)
    with pytest.raises(GantoolError, match="something else than an app kit"):
        without_playground(tiny, folder)
    assert files(folder) == before


def test_a_file_and_the_folder_one_is_in_are_not_replaced(
    tiny: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(GantoolError, match="is a file"):
        without_playground(tiny, tmp_path / "file")
    with pytest.raises(GantoolError, match="can't be written"):
        without_playground(tiny, tmp_path / "file" / "app")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(GantoolError, match="is the folder you are in"):
        without_playground(tiny, Path())
    without_playground(tiny, tmp_path / "here" / "app")
    monkeypatch.chdir(tmp_path / "here" / "app" / "python")
    with pytest.raises(GantoolError, match="holds the folder you are in"):
        without_playground(tiny, Path(".."))
    assert Path.cwd().exists()


def test_a_failure_leaves_the_old_kit(tiny: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = without_playground(tiny, tmp_path / "app")
    before = files(folder)

    def fail(*_: object) -> str:
        raise GantoolError("no playground")

    fake_playground(monkeypatch, fail)
    with pytest.raises(GantoolError, match="no playground"):
        write_app(tiny, None, None, folder)
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if self.parent.name == "ready":
            raise OSError(5, "disk on fire")
        return replace(self, target)

    monkeypatch.setattr(system_files, "_exchange_call", lambda: None)  # two renames, of which the second fails
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(GantoolError, match="disk on fire"):
        without_playground(tiny, folder)
    assert files(folder) == before
    assert [p.name for p in tmp_path.iterdir()] == ["app"]


# --- what no kit is made of


def changed(described: Manifest, **fields: object) -> Manifest:
    return dataclasses.replace(described, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"output": OutputInfo("audio", (1, 100), "float32", "C…")}, r"samples of shape \(1, 100\)"),
        ({"output": OutputInfo("image", (8, 8, 4), "uint8", "HWC")}, "have 4"),
        ({"inputs": (InputInfo("sound", (100,), "float32", "data"),)}, r"takes sound \(100,\)"),
        ({"inputs": (InputInfo("photo", (8, 8, 4), "uint8", "data"),)}, r"takes photo \(8, 8, 4\)"),
        ({"inputs": tuple(InputInfo(n, (8, 8, 3), "uint8", "data") for n in "ab")}, r"takes a \(8, 8, 3\), b"),
        ({"inputs": tuple(InputInfo(n, (), "int64", "label", 2) for n in "ab")}, "takes a, b"),
        ({"kind": "onnx"}, "of kind onnx"),
        ({"batch": 4}, "takes 4 at a time"),
    ],
    ids=[
        "audio",
        "four channels",
        "sound",
        "a picture of four",
        "two pictures",
        "two labels",
        "not seeded",
        "fixed batch",
    ],
)
def test_refusals(tiny: Artifact, fields: dict[str, object], message: str, tmp_path: Path) -> None:
    made = Artifact(tiny.path, changed(tiny.manifest, **fields), ())
    with pytest.raises(GantoolError, match=message) as caught:
        without_playground(made, tmp_path / "app")
    assert str(caught.value)
    assert not any(tmp_path.iterdir())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"x")  # of the same length


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        *((name, Path.unlink, "not installed: .* has no {}") for name in (*playground.ORT_WEB, playground.RECORD)),
        *((name, cut, "damaged: .*{} is not the file that was inst") for name in playground.ORT_WEB),
    ],
)
def test_without_the_files_for_the_web(
    tiny: Artifact, tmp_path: Path, ort_web: Path, name: str, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(ort_web / name)
    with pytest.raises(GantoolError, match=message.format(re.escape(name))) as caught:
        without_playground(tiny, tmp_path / "app")
    assert "make assets" in caught.value.hint
    assert "pip install" in caught.value.hint
    assert not (tmp_path / "app").exists()


@pytest.mark.parametrize("record", ["[]", "{}", '{"files": []}', '{"files": {"LICENSE": 3}}'])
def test_with_a_record_of_no_use(ort_web: Path, record: str) -> None:
    (ort_web / playground.RECORD).write_text(record)
    with pytest.raises(GantoolError, match="is damaged"):
        playground.ort_web()


def test_what_would_be_refused_is_told_before_anything_is_made(tiny: Artifact, tmp_path: Path, ort_web: Path) -> None:
    about = source(Tiny((3, 8, 6)), shape=(3, 8, 6)).about  # before the export, there is no more than this
    check(tmp_path / "new", about)
    folder = without_playground(tiny, tmp_path / "app")
    check(folder, about)
    (folder / "web" / "mine.html").touch()
    with pytest.raises(GantoolError, match=r"holds web.mine\.html"):
        check(folder, about)
    with pytest.raises(GantoolError, match="have 2"):
        check(tmp_path / "new", source(Tiny((2, 8, 6)), shape=(2, 8, 6)).about)
    (ort_web / "LICENSE").unlink()
    with pytest.raises(GantoolError, match="no LICENSE"):
        check(tmp_path / "new", about)
    assert [path.name for path in tmp_path.iterdir()] == ["app"]

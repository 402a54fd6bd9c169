"""gantool.artifact.provenance: marks that other programs read, whatever the names in them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support import tiny_cyclegan
from support.trainings import run_until, start

from gantool import __version__
from gantool.artifact import pictures, provenance
from gantool.artifact.inspection import inspect
from gantool.artifact.manifest import Manifest
from gantool.artifact.provenance import NAMESPACES, Provenance
from gantool.plugin.registry import Plugin
from gantool.run.rundir import RunDir

MADE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
FULL = Provenance("mlp", "0001-mlp", 200, 7, 10, 3, 2, "digits", "ab12", "CC BY 4.0")


def properties(packet: str | bytes) -> dict[str, str | None]:
    """What an XMP packet says of the picture that it is in, as RDF/XML has it: property → value."""
    root = ElementTree.fromstring(packet)
    assert root.tag == f"{{{NAMESPACES['x']}}}xmpmeta"
    (description,) = root.findall("rdf:RDF/rdf:Description", NAMESPACES)
    assert description.get(f"{{{NAMESPACES['rdf']}}}about") == ""
    names = {f"{{{uri}}}": f"{name}:" for name, uri in NAMESPACES.items()}
    found = {}
    for item in description:
        uri, _, name = item.tag.rpartition("}")
        found[names[uri + "}"] + name] = item.text
        assert not list(item)
        assert not item.attrib
    return found


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Type and content of each chunk of a PNG."""
    found, at = [], 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += size + 12
    return found


def saved(to: Path, told: Provenance) -> Path:
    Image.new("L", (2, 2)).save(to, pnginfo=pictures.png_info(told))
    return to


def test_the_packet_is_that_of_a_generated_picture() -> None:
    packet = provenance.xmp("a <tool> & more")
    assert packet.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>')
    assert packet.endswith('<?xpacket end="r"?>')
    said = {"Iptc4xmpExt:DigitalSourceType": MADE, "xmp:CreatorTool": "a <tool> & more"}
    assert properties(packet) == said
    assert properties(provenance.xmp("t", composite=True))["Iptc4xmpExt:DigitalSourceType"] == COMPOSITE


@given(st.text())
def test_any_name_of_a_tool_leaves_sound_xml(tool: str) -> None:
    found = properties(provenance.xmp(tool))["xmp:CreatorTool"] or ""
    assert len(found) <= 200
    if tool.isprintable() and len(tool) <= 200:
        assert found == tool


def test_a_png_is_read_back(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.png", FULL)
    with Image.open(path) as picture:
        text: dict[str, Any] = dict(picture.text)
        packet = picture.info["xmp"]
    assert properties(packet) == {
        "Iptc4xmpExt:DigitalSourceType": MADE,
        "xmp:CreatorTool": f"gantool {__version__}",
    }
    assert text["Software"] == f"gantool {__version__}"
    assert text["Description"] == (
        "3 generated images, number 10 to 12 of seed 7, made by mlp at step 200, trained on digits (CC BY 4.0)."
    )
    assert json.loads(text["gantool"]) == {
        "software": f"gantool {__version__}",
        "architecture": "mlp",
        "run": "0001-mlp",
        "step": 200,
        "seed": 7,
        "first": 10,
        "count": 3,
        "label": 2,
        "data": {"name": "digits", "fingerprint": "ab12", "licence": "CC BY 4.0"},
    }


def test_the_chunks_are_uncompressed_and_come_before_the_picture(tmp_path: Path) -> None:
    """As ISO 16684-3 wants the XMP: five zero bytes say no compression, language or translation."""
    kinds = [kind for kind, _ in chunks(saved(tmp_path / "p.png", FULL).read_bytes())]
    assert kinds == [b"IHDR", *[b"iTXt"] * 4, b"IDAT", b"IEND"]
    packet = provenance.xmp(provenance.SOFTWARE).encode()
    assert chunks((tmp_path / "p.png").read_bytes())[1][1] == b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + packet


def test_what_is_not_known_is_left_out() -> None:
    assert json.loads(Provenance("mlp", seed=0, first=0, count=1).to_json()) == {
        "software": f"gantool {__version__}", "architecture": "mlp", "seed": 0, "first": 0, "count": 1
    }  # fmt: skip
    assert Provenance("mlp").describe() == "A generated image, made by mlp."
    assert Provenance("mlp", seed=0, first=3, count=1).describe() == (
        "A generated image, number 3 of seed 0, made by mlp."
    )


@pytest.mark.parametrize(
    "value",
    [None, 3, "\x00\ud800\x1b" * 1000, ["deep"], {}, 10**400, True, "Übung & <b>"],
    ids=["null", "number", "control characters", "list", "object", "huge number", "true", "markup"],
)
def test_any_manifest_makes_a_sound_picture(exported_run: RunDir, tmp_path: Path, value: Any) -> None:
    """Names come from a file that may be anybody's."""
    honest = inspect(exported_run.export / "generator.onnx").manifest
    forged: Manifest = dataclasses.replace(
        honest,
        architecture={"name": value},
        training={"run": value, "step": value},
        data={"name": value, "fingerprint": value},
        licence=value if isinstance(value, str) else "",
    )
    with Image.open(saved(tmp_path / "p.png", provenance.of(forged, -5, 2**46))) as picture:
        found = json.loads(picture.text["gantool"])
        assert properties(picture.info["xmp"])["Iptc4xmpExt:DigitalSourceType"] == MADE
        assert picture.text["Description"].isprintable()
    assert (found["seed"], found["first"], found["count"]) == (-5, 2**46, 1)
    assert (tmp_path / "p.png").stat().st_size < 4000
    if value == "Übung & <b>":
        assert found["architecture"] == found["run"] == found["data"]["name"] == value


def test_samples_of_a_training_are_marked(exported_run: RunDir) -> None:
    (path, *_) = sorted((exported_run.path / "samples").glob("*.png"))
    with Image.open(path) as picture:
        found = json.loads(picture.text["gantool"])
        assert properties(picture.info["xmp"])["Iptc4xmpExt:DigitalSourceType"] == MADE
    info = exported_run.read()
    assert (found["architecture"], found["run"]) == ("mlp", "0001-tiny")
    assert found["step"] == int(path.stem.removeprefix("step-"))
    assert found["data"]["fingerprint"] == info.data.fingerprint


def test_samples_beside_real_pictures_are_marked_as_such(tmp_path: Path) -> None:
    """A translator's grid shows each image beside what became of it."""
    (architecture,) = tiny_cyclegan.gantool_architectures()
    opened = start(Plugin("tiny-cyclegan", "tests", "1", architecture), tmp_path, steps=1, tick=1)
    run_until(opened)
    with Image.open(opened.run.sample(1)) as picture:
        assert properties(picture.info["xmp"])["Iptc4xmpExt:DigitalSourceType"] == COMPOSITE

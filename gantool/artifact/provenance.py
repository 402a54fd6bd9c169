"""Where a generated sample comes from: written into its file as an XMP mark for platforms and as text for people.

The mark is `trainedAlgorithmicMedia` of the IPTC's digital source types, in an XMP packet, which platforms and photo
tools look for (https://iptc.org/std/photometadata/specification/IPTC-PhotoMetadata, property Digital Source Type; XMP
as in ISO 16684-1). The text names the model and the seed, enough to make the picture again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from gantool import __version__
from gantool.artifact.manifest import NOUNS, Manifest
from gantool.errors import excerpt, printable

SOFTWARE = f"gantool {__version__}"
KEY = "gantool"  # the PNG keyword of the JSON
XMP_KEY = "XML:com.adobe.xmp"  # the PNG keyword of an XMP packet (ISO 16684-3)
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
}
_MAX_NAME = 200  # characters of a name: a manifest may hold anything


@dataclass(frozen=True)
class Provenance:
    """Where generated images come from: the model, and images `first … first+count-1` of `seed` if there is one.

    `label`: the class of all images; `labels`: the classes they have in turn. `composite`: the picture also shows real
    samples. `values`: those of the generator that were given, by name. `kind`: image, audio, volume or film; `through`:
    the key frames of a film. Empty texts and None are not written.
    """

    architecture: str
    run: str = ""
    step: int | None = None
    seed: int | None = None
    first: int | None = None
    count: int | None = None
    label: int | None = None
    data: str = ""
    fingerprint: str = ""
    licence: str = ""
    composite: bool = False
    labels: tuple[int, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict, hash=False)
    kind: str = "image"
    through: tuple[str, ...] = ()

    def to_json(self) -> str:
        """ASCII on one line.

        The keys are software, architecture, run, step, seed, first, count, label, labels, values, through, data {…}.
        """
        data = {"name": self.data, "fingerprint": self.fingerprint, "licence": self.licence}
        about: dict[str, Any] = {"software": SOFTWARE, "architecture": self.architecture, "run": self.run}
        about |= {name: getattr(self, name) for name in ("step", "seed", "first", "count", "label")}
        about["labels"], about["values"] = list(self.labels) or None, dict(self.values) or None
        about["through"] = list(self.through) or None
        about["data"] = {name: text for name, text in data.items() if text} or None
        return json.dumps({name: value for name, value in about.items() if value not in ("", None)})

    def describe(self) -> str:
        """One sentence."""
        noun = NOUNS[self.kind]
        what = f"A generated {noun}"
        if self.count is not None and self.count > 1:
            what = f"{self.count} generated {noun}s"
        parts = [what]
        if self.through:
            parts.append(f"through {len(self.through)} key frame" + "s" * (len(self.through) > 1))
        if self.seed is not None and self.first is not None:
            last = "" if (self.count or 1) == 1 else f" to {self.first + (self.count or 1) - 1}"
            parts.append(f"number {self.first}{last} of seed {self.seed}")
        parts.append(f"made by {self.architecture or 'a model'}" + (f" at step {self.step}" if self.step else ""))
        if self.data:
            parts.append(f"trained on {self.data}" + (f" ({self.licence})" if self.licence else ""))
        parts += [f"{name} {value:g}" for name, value in self.values.items()]
        return printable(", ".join(parts)) + "."


def of(
    manifest: Manifest,
    seed: int,
    first: int,
    count: int = 1,
    label: int | None = None,
    values: Mapping[str, float] | None = None,
) -> Provenance:
    """The provenance of images `first … first+count-1` of `seed`, made by the file that `manifest` describes."""
    architecture, training, data = manifest.architecture, manifest.training, manifest.data
    return Provenance(
        architecture=_text(architecture.get("name")),
        run=_text(training.get("run")),
        step=_whole(training.get("step")),
        seed=seed,
        first=first,
        count=count,
        label=label,
        data=_text(data.get("name")),
        fingerprint=_text(data.get("fingerprint")),
        licence=_text(manifest.licence),
        values=values or {},
        kind=manifest.output.kind,
    )


def xmp(tool: str, composite: bool = False) -> str:
    """The XMP packet of an image that `tool` made with a trained model; `composite`: it also shows other images.

    As UTF-8 it goes under the PNG keyword XML:com.adobe.xmp, or wherever other formats keep XMP.
    """
    source = "compositeWithTrainedAlgorithmicMedia" if composite else "trainedAlgorithmicMedia"
    spaces = "".join(f' xmlns:{name}="{NAMESPACES[name]}"' for name in ("Iptc4xmpExt", "xmp"))
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        f'<x:xmpmeta xmlns:x="{NAMESPACES["x"]}">\n'
        f'  <rdf:RDF xmlns:rdf="{NAMESPACES["rdf"]}">\n'
        f'    <rdf:Description rdf:about=""{spaces}>\n'
        f"      <Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPES}{source}</Iptc4xmpExt:DigitalSourceType>\n"
        f"      <xmp:CreatorTool>{escape(excerpt(tool, _MAX_NAME))}</xmp:CreatorTool>\n"
        "    </rdf:Description>\n"
        "  </rdf:RDF>\n"
        "</x:xmpmeta>\n"
        '<?xpacket end="r"?>'
    )


def _text(value: object) -> str:
    return excerpt(value, _MAX_NAME) if isinstance(value, str) else ""


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None

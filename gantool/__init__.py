"""gantool: train a GAN, export its generator verified, measure it, embed it anywhere.

    import gantool

    run = gantool.train("mlp", steps=2000)
    run.samples()
    (file,) = run.export("onnx-seeded")
    images = gantool.Generator(file.path).sample(16, seed=7)

`import gantool` loads no other package; each name below does when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gantool.errors import ArgumentError, GantoolError

if TYPE_CHECKING:
    from gantool.api.bench import bench
    from gantool.api.card import card
    from gantool.api.directions import directions, name_direction, remove_direction
    from gantool.api.dissect import dissect
    from gantool.api.evaluate import evaluate
    from gantool.api.export import export
    from gantool.api.film import film
    from gantool.api.hub import pull, push
    from gantool.api.invert import invert
    from gantool.api.runs import Run, runs, train
    from gantool.api.watch import watch
    from gantool.runtime import Generator

__version__ = "0.1.0"
__all__ = [
    "ArgumentError",
    "GantoolError",
    "Generator",
    "Run",
    "__version__",
    "bench",
    "card",
    "directions",
    "dissect",
    "evaluate",
    "export",
    "film",
    "invert",
    "name_direction",
    "pull",
    "push",
    "remove_direction",
    "runs",
    "train",
    "watch",
]

_MODULES = {
    "Generator": "gantool.runtime",
    "Run": "gantool.api.runs",
    "bench": "gantool.api.bench",
    "card": "gantool.api.card",
    "directions": "gantool.api.directions",
    "name_direction": "gantool.api.directions",
    "remove_direction": "gantool.api.directions",
    "dissect": "gantool.api.dissect",
    "evaluate": "gantool.api.evaluate",
    "export": "gantool.api.export",
    "film": "gantool.api.film",
    "invert": "gantool.api.invert",
    "pull": "gantool.api.hub",
    "push": "gantool.api.hub",
    "runs": "gantool.api.runs",
    "train": "gantool.api.runs",
    "watch": "gantool.api.watch",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'gantool' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})

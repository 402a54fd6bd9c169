"""App kits: a folder with which a program in Python, Node, C++ or a web page has images, without gantool."""

from gantool.exporting.app.kit import check, write_app
from gantool.exporting.app.playground import require_fit

__all__ = ["check", "require_fit", "write_app"]

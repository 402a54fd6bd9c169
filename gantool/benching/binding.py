"""Where the runtime keeps it; what `gantool bench` measures is what apps run."""

from gantool.runtime.session import Bound

__all__ = ["Bound"]

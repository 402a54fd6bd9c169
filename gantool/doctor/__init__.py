"""Find out which providers work on this machine by running them, and how to fix those that do not.

It needs only numpy and onnxruntime: `python -m gantool.doctor` works where an app runs, without torch or typer.
"""

from gantool.doctor.examination import examine

__all__ = ["examine"]

"""What works on this machine, found by running it, and the line that mends what does not.

It needs numpy and onnxruntime alone: `python -m gantool.doctor` works where an app runs, without torch or typer.
"""

from gantool.doctor.examination import examine

__all__ = ["examine"]

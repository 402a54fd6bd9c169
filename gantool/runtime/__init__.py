"""Use an exported generator from a Python program: numpy and onnxruntime, no torch."""

from gantool.runtime.generator import Generator, SelfTest

__all__ = ["Generator", "SelfTest"]

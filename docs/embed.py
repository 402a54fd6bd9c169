"""An exported generator inside a program: numpy, onnxruntime and Pillow; no torch, no gantool.

usage: python embed.py generator.seeded.onnx out.png
"""

import sys

import numpy as np
import onnxruntime as ort
from PIL import Image

model, out = sys.argv[1:]
session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
seed, index = (
    np.array([7], np.int64),
    np.arange(16, dtype=np.int64),
)  # image i of a seed is always the same image
inputs = {"seed": seed, "index": index}
if any(item.name == "label" for item in session.get_inputs()):  # of a class each: here 0, 1, …, 9, 0, 1, …
    inputs["label"] = index % 10
images = session.run(["image"], inputs)[0]  # uint8 (16, height, width, channels)
sheet = np.concatenate([np.concatenate(row, axis=1) for row in images.reshape(4, 4, *images.shape[1:])])
Image.fromarray(sheet.squeeze()).resize((sheet.shape[1] * 3, sheet.shape[0] * 3), Image.Resampling.NEAREST).save(out)
assert "torch" not in sys.modules
print(f"{out}: 16 images of seed 7 from {model}, without torch")

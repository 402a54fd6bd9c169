"""A page with a slider: pip install 'gantool[cpu]' gradio, then python gradio_app.py generator.seeded.onnx"""

import sys

import gradio

from gantool.runtime import Generator

generator = Generator(sys.argv[1])


def draw(seed: float, count: float) -> list:
    return [image.squeeze() for image in generator.sample(int(count), seed=int(seed))]


inputs = [gradio.Number(7, precision=0, label="seed"), gradio.Slider(1, 64, 16, step=1, label="images")]
gradio.Interface(draw, inputs, gradio.Gallery(columns=8), flagging_mode="never", live=True).launch()

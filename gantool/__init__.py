"""gantool: train a GAN, export its generator verified, measure it, embed it anywhere."""

__version__ = "0.1.0"

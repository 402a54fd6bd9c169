"""A generator as files for LibTorch and torch."""

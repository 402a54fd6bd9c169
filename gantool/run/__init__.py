"""One training on disk: its folder, checkpoints, metrics and what is drawn from them."""

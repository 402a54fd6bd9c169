"""The shared training loop and its parts."""

"""Packs: data decoded once, on disk, as training reads it."""

"""Sharing a generator: its card, for people, and its files, to a hub and back."""

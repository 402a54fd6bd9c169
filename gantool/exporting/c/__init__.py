"""The generator in C: `gantool export --c DIR`."""

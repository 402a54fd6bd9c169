"""A module for each kind of source that gantool reads."""

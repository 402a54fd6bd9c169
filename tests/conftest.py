"""Shared fixtures. Torch runs on one thread: the suite runs on two processes, and results must not depend on load."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for every subprocess

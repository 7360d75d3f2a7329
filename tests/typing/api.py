"""Uses every public signature the way a caller would. Checked by mypy, never run."""

from __future__ import annotations

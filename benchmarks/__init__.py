"""How fast the library is, beside its peers: ``python -m benchmarks``. See README.md."""

from __future__ import annotations

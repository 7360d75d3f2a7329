"""TSS2 key files of tpm2_encodeobject."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_public_key

from backends.swtpm import ALGORITHMS, TPMStore


class Store(TPMStore):
    """tpm2-tools make them."""

    def new_key(self, key_type: str, password: str) -> tuple[str, Any]:
        auth = ("-p", password) if password else ()
        plain = self.tpm.path(".public.pem")
        key = self.tpm.create(ALGORITHMS[key_type], *auth, "-f", "pem", "-o", plain)
        return self.tpm.encode(key, *auth[:1]), load_pem_public_key(Path(plain).read_bytes())

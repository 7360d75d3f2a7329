"""TSS2 key files of tpm2-openssl, the provider for OpenSSL 3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_public_key

from backends.swtpm import TPMStore


class Store(TPMStore):
    """``openssl genpkey`` makes them."""

    def new_key(self, key_type: str, password: str) -> tuple[str, Any]:
        family, _, size = key_type.rpartition("-")
        kind = (
            ("-algorithm", "RSA", "-pkeyopt", f"bits:{size}")
            if family == "rsa"
            else ("-algorithm", "EC", "-pkeyopt", f"group:{size.upper().replace('P', 'P-')}")
        )
        auth = ("-pkeyopt", f"user-auth:{password}") if password else ()
        path, plain = self.tpm.path(".pem"), self.tpm.path(".public.pem")
        provider = ("-provider", "tpm2", "-provider", "default")
        self.tpm.run("openssl", "genpkey", *provider, *kind, *auth, "-out", path)
        passin = ("-passin", f"pass:{password}") if password else ()
        self.tpm.run("openssl", "pkey", *provider, *passin, "-in", path, "-pubout", "-out", plain)
        return path, load_pem_public_key(Path(plain).read_bytes())

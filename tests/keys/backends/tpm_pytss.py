"""TSS2 key files of tpm2-pytss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import TPM2_ECC
from tpm2_pytss.tsskey import TSSPrivKey

from backends import Place
from backends.swtpm import TPMStore


class Store(TPMStore):
    """``TSSPrivKey`` makes them."""

    def new_key(self, key_type: str, password: str) -> tuple[str, Any]:
        family, _, size = key_type.rpartition("-")
        secret = password.encode() or None
        with ESAPI(self.tpm.tcti) as esapi:
            if family == "rsa":
                key = TSSPrivKey.create_rsa(esapi, keyBits=int(size), password=secret)
            else:
                curve = TPM2_ECC.parse(f"nist_{size}")
                key = TSSPrivKey.create_ecc(esapi, curveID=curve, password=secret)
        self.tpm.run("tpm2_getcap", "handles-transient")  # flushes what older releases leave there
        path = self.tpm.path(".pem")
        Path(path).write_bytes(key.to_pem())
        return path, load_pem_public_key(key.public.to_pem())

    def refusals(self, place: Place) -> None:
        """Its keys are outside of the dictionary attack protection, so that nothing counts."""

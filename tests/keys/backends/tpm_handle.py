"""Keys at persistent handles of a TPM, by reference."""

from __future__ import annotations

from typing import Any, ClassVar

from backends import Place
from backends.swtpm import ALGORITHMS, TPMStore


class Store(TPMStore):
    """tpm2-tools make them."""

    key_types: ClassVar = ("ec-p256", "ec-p384", "rsa-2048")

    def new_key(self, key_type: str, password: str) -> tuple[str, Any]:
        auth = ("-p", password) if password else ()
        key = self.tpm.create(ALGORITHMS[key_type], *auth)
        reference = self.tpm.persist(key, 0x81000100 + len(self._keys))
        return reference, self.tpm.public_key(reference)

    def remove_key(self, place: Place) -> None:
        assert place.private_key is not None
        self.tpm.run("tpm2_evictcontrol", "-C", "o", "-c", place.private_key.removeprefix("tpm:"))

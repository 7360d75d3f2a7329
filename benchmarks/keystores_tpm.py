"""The floor for keys in a TPM: TPM2_Sign through an ESAPI context with the key's handle open."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any


def raw_signature(signer: Any, text: bytes) -> Callable[[], object]:
    """TPM2_Sign of tpm2-pytss, for the key of a `TPMSigner` at a persistent handle.

    Digest, scheme and ticket are made before. A key of a file is loaded before each signature
    where no resource manager is, and has no such floor.
    """
    from rolesanywhere_auth.keys._tpm_public import _ECDSA, _RSASSA, SHA256, _no_ticket, _scheme

    context = signer._device._context
    handle = context.persistent(signer._key._handle)
    digest = hashlib.sha256(text).digest()
    scheme, ticket = _scheme(_RSASSA if signer._plan.rsa else _ECDSA, SHA256), _no_ticket()
    return lambda: context.esapi.sign(handle, digest, scheme, ticket)

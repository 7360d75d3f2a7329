# SPDX-License-Identifier: Apache-2.0
"""Signatures by a key on a token, in the form that `Signer.sign` promises."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from rolesanywhere_auth.keys._pkcs11_objects import EC, ML_DSA, RSA

_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
"""Of SHA-256, RFC 8017 section 9.2."""
_MECHANISMS = {
    RSA: (0x0001, 0x0040),
    EC: (0x1041, 0x1044),
    ML_DSA: (0x001D,),
}
"""By key type. First what is done by the digest, which all modules can (CKM_RSA_PKCS, CKM_ECDSA);
then what digests by itself, for those that are not allowed to do the other."""
_DIGESTED = frozenset({0x0001, 0x1041})
_LONGEST = {RSA: 2048, EC: 256, ML_DSA: 4640}
"""Bytes of a signature; a longer one is asked for once more."""


def sign(
    key: Any, key_type: int, data: bytes, *, context_pin: str | None, chosen: dict[int, Any]
) -> bytes:
    """A signature of *data*.

    Args:
        key: The private key, an object of ``python-pkcs11``.
        key_type: Its CKA_KEY_TYPE.
        context_pin: For a key with CKA_ALWAYS_AUTHENTICATE; empty for the PIN pad.
        chosen: The mechanism that worked before, by key type; written to.

    Raises:
        pkcs11.PKCS11Error: The module refuses.
    """
    found = chosen.get(key_type)
    if found is None:
        signature = _first(key, key_type, data, context_pin, chosen)
    else:
        signature = key.sign(
            _payload(data, found),
            mechanism=found,
            pin=context_pin,
            buffer_size=_LONGEST[key_type],
        )
    return _der(signature) if key_type == EC else signature


def _first(
    key: Any, key_type: int, data: bytes, context_pin: str | None, chosen: dict[int, Any]
) -> bytes:
    """Sign by the first mechanism that the module has."""
    import pkcs11

    *others, last = map(pkcs11.Mechanism, _MECHANISMS[key_type])
    missing = (pkcs11.MechanismInvalid, pkcs11.FunctionNotSupported, pkcs11.KeyTypeInconsistent)
    for mechanism in others:
        with contextlib.suppress(*missing):
            signature = _by(key, mechanism, data, context_pin)
            chosen[key_type] = mechanism
            return signature
    signature = _by(key, last, data, context_pin)
    chosen[key_type] = last
    return signature


def _by(key: Any, mechanism: Any, data: bytes, context_pin: str | None) -> bytes:
    signature: bytes = key.sign(_payload(data, mechanism), mechanism=mechanism, pin=context_pin)
    return signature


def _payload(data: bytes, mechanism: int) -> bytes:
    if mechanism not in _DIGESTED:
        return data
    digest = hashlib.sha256(data).digest()
    return _DIGEST_INFO + digest if mechanism == 0x0001 else digest


def _der(signature: bytes) -> bytes:
    """ECDSA-Sig-Value of the two halves that PKCS #11 gives (v3.1 section 6.3.1)."""
    half = len(signature) // 2
    r, s = signature[:half], signature[half:]
    return encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))

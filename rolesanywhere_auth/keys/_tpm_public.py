# SPDX-License-Identifier: Apache-2.0
"""What the public area of a TPM key says: which key it is, and how it can sign for the service."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from rolesanywhere_auth.errors import UnsupportedKeyError
from rolesanywhere_auth.keys import unsupported_key

if TYPE_CHECKING:
    from rolesanywhere_auth.keys import PublicKey

# TPM 2.0 Part 2, 6.3 "TPM_ALG_ID" and 6.4 "TPM_ECC_CURVE"
_RSA, _ECC = 0x01, 0x23
_NULL, _RSASSA, _RSAPSS, _ECDSA = 0x10, 0x14, 0x16, 0x18
SHA256 = 0x0B
_HASHES = {SHA256: "sha256", 0x0C: "sha384", 0x0D: "sha512"}
_CURVES = {3: 256, 4: 384, 5: 521}

# Part 2, 8.3 "TPMA_OBJECT"
_USER_WITH_AUTH = 1 << 6
_NO_DA = 1 << 10
_RESTRICTED = 1 << 16
_DECRYPT = 1 << 17
_SIGN = 1 << 18

_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
"""Of SHA-256: RFC 8017 9.2, note 1."""
_LARGEST_BUFFER = 1024
"""Of one TPM2_Hash: MAX_DIGEST_BUFFER of every TPM."""


class Plan(NamedTuple):
    """How a key is used."""

    public_key: PublicKey
    hash: int
    """The algorithm that the key's scheme names, or is given."""
    width: int
    """Bytes of the digest that the TPM wants."""
    curve_bytes: int
    """Of the curve's order; 0 for RSA."""
    restricted: bool
    raw: bool
    """An RSA key that may only decrypt: what it does then to a padded digest is a signature."""
    needs_policy: bool
    protected: bool
    """Whether wrong passwords count towards a lock-out."""

    @property
    def rsa(self) -> bool:
        """Or else it is EC."""
        return not self.curve_bytes


def examine(public: Any, *, source: str) -> Plan:
    """Understand a TPMT_PUBLIC of tpm2-pytss.

    Raises:
        UnsupportedKeyError: such a key cannot sign for the service.
    """
    kind, attributes = int(public.type), int(public.objectAttributes)
    if kind == _RSA:
        key, algorithm, curve_bytes = _rsa(public, attributes, source=source), SHA256, 0
    elif kind == _ECC:
        key, algorithm, curve_bytes = _ecc(public, attributes, source=source)
    else:
        raise unsupported_key("a TPM object that is neither an RSA nor an EC key", source=source)
    name = _HASHES[algorithm]
    if attributes & _RESTRICTED and algorithm != SHA256:
        raise _bound(f"a restricted key of {name}, which signs digests of its own only", source)
    return Plan(
        key,
        algorithm,
        hashlib.new(name).digest_size,
        curve_bytes,
        restricted=bool(attributes & _RESTRICTED),
        raw=not attributes & _SIGN,
        needs_policy=not attributes & _USER_WITH_AUTH,
        protected=not attributes & _NO_DA,
    )


def _bound(what: str, source: str) -> UnsupportedKeyError:
    return UnsupportedKeyError(
        f"{source}: {what}, while the service wants PKCS#1 v1.5 or ECDSA with SHA-256. Make a key "
        "without a scheme of its own (tpm2_create -G rsa2048 or -G ecc256), or of rsassa-sha256 "
        "or ecdsa-sha256.",
        source=source,
    )


def _rsa(public: Any, attributes: int, *, source: str) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    details = public.parameters.rsaDetail
    scheme = int(details.scheme.scheme)
    bound_hash = int(details.scheme.details.anySig.hashAlg)
    if not attributes & _SIGN and (attributes & _RESTRICTED or scheme != _NULL):
        raise _bound("an RSA key for decryption or storage only", source)
    if scheme == _RSAPSS:
        raise _bound("a key that signs by RSASSA-PSS only", source)
    if scheme not in (_NULL, _RSASSA) or (scheme == _RSASSA and bound_hash != SHA256):
        raise _bound("an RSA key bound to another scheme or hash", source)
    modulus = int.from_bytes(bytes(public.unique.rsa), "big")
    return RSAPublicNumbers(int(details.exponent) or 65537, modulus).public_key()


def _ecc(public: Any, attributes: int, *, source: str) -> tuple[PublicKey, int, int]:
    from cryptography.hazmat.primitives.asymmetric import ec

    details = public.parameters.eccDetail
    scheme, algorithm = int(details.scheme.scheme), SHA256
    if scheme != _NULL:
        algorithm = int(details.scheme.details.anySig.hashAlg)
    if not attributes & _SIGN:
        raise _bound("an EC key that may not sign", source)
    if scheme not in (_NULL, _ECDSA) or algorithm not in _HASHES:
        raise _bound("an EC key bound to another scheme or hash", source)
    bits = _CURVES.get(int(details.curveID))
    if bits is None:
        raise unsupported_key(f"an EC key on the TPM's curve {details.curveID}", source=source)
    curves: dict[int, ec.EllipticCurve] = {
        256: ec.SECP256R1(),
        384: ec.SECP384R1(),
        521: ec.SECP521R1(),
    }
    point = public.unique.ecc
    x, y = (int.from_bytes(bytes(each), "big") for each in (point.x, point.y))
    return (
        ec.EllipticCurvePublicNumbers(x, y, curves[bits]).public_key(),
        algorithm,
        (bits + 7) // 8,
    )


def sign(esapi: Any, handle: Any, plan: Plan, data: bytes, *, session: Any) -> bytes:
    """Sign in the form that ``Signer.sign`` promises; raises what the TPM says."""
    from tpm2_pytss.types import TPM2B_DIGEST

    if plan.raw:
        return _decrypt(esapi, handle, plan, data, session=session)
    if plan.restricted:
        digest, ticket = _hash(esapi, data)
    else:
        digest, ticket = TPM2B_DIGEST(widen(hashlib.sha256(data).digest(), plan)), _no_ticket()
    scheme = _scheme(_RSASSA if plan.rsa else _ECDSA, plan.hash)
    # TPMT_SIGNATURE: the algorithm, its hash, and one or two sized numbers.
    done: bytes = esapi.sign(handle, digest, scheme, ticket, session1=session).marshal()
    end = 6 + int.from_bytes(done[4:6], "big")
    if plan.rsa:
        return done[6:end].rjust(_octets(plan), b"\0")
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    return encode_dss_signature(
        int.from_bytes(done[6:end], "big"), int.from_bytes(done[end + 2 :], "big")
    )


def widen(digest: bytes, plan: Plan) -> bytes:
    """A SHA-256 digest as the number that it is, for a key that takes only longer digests.

    ECDSA takes as many bits from the left as the curve's order has (FIPS 186-5 6.4.1).
    """
    return digest.rjust(min(plan.width, plan.curve_bytes), b"\0").ljust(plan.width, b"\0")


def _octets(plan: Plan) -> int:
    """Bytes of an RSA modulus."""
    size: int = plan.public_key.key_size  # type: ignore[union-attr]
    return (size + 7) // 8


@cache
def _scheme(algorithm: int, hash_algorithm: int) -> Any:
    from tpm2_pytss.constants import TPM2_ALG
    from tpm2_pytss.types import TPMT_SIG_SCHEME

    scheme = TPMT_SIG_SCHEME(scheme=TPM2_ALG(algorithm))
    scheme.details.any.hashAlg = TPM2_ALG(hash_algorithm)
    return scheme


@cache
def _no_ticket() -> Any:
    from tpm2_pytss.constants import TPM2_RH, TPM2_ST
    from tpm2_pytss.types import TPMT_TK_HASHCHECK

    return TPMT_TK_HASHCHECK(tag=TPM2_ST.HASHCHECK, hierarchy=TPM2_RH.NULL)


def _hash(esapi: Any, data: bytes) -> tuple[Any, Any]:
    """Digest and ticket: a restricted key signs only what the TPM hashed itself."""
    from tpm2_pytss.constants import ESYS_TR, TPM2_ALG
    from tpm2_pytss.types import TPM2B_AUTH, TPM2B_MAX_BUFFER

    algorithm = TPM2_ALG(SHA256)
    chunks = [data[at : at + _LARGEST_BUFFER] for at in range(0, len(data), _LARGEST_BUFFER)]
    if len(chunks) <= 1:
        return esapi.hash(TPM2B_MAX_BUFFER(data), algorithm, ESYS_TR.OWNER)  # type: ignore[no-any-return]
    sequence = esapi.hash_sequence_start(TPM2B_AUTH(), algorithm)
    for chunk in chunks[:-1]:
        esapi.sequence_update(sequence, TPM2B_MAX_BUFFER(chunk))
    return esapi.sequence_complete(sequence, TPM2B_MAX_BUFFER(chunks[-1]), ESYS_TR.OWNER)  # type: ignore[no-any-return]


def _decrypt(esapi: Any, handle: Any, plan: Plan, data: bytes, *, session: Any) -> bytes:
    """EMSA-PKCS1-v1_5 (RFC 8017 9.2) and the bare RSA operation."""
    from tpm2_pytss.constants import TPM2_ALG
    from tpm2_pytss.types import TPM2B_DATA, TPM2B_PUBLIC_KEY_RSA, TPMT_RSA_DECRYPT

    size = _octets(plan)
    info = _DIGEST_INFO + hashlib.sha256(data).digest()
    block = b"\0\1" + b"\xff" * (size - len(info) - 3) + b"\0" + info
    scheme = TPMT_RSA_DECRYPT(scheme=TPM2_ALG.NULL)
    done = esapi.rsa_decrypt(
        handle, TPM2B_PUBLIC_KEY_RSA(block), scheme, TPM2B_DATA(), session1=session
    )
    return bytes(done).rjust(size, b"\0")

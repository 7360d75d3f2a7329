# SPDX-License-Identifier: Apache-2.0
"""What is on a token: certificates and keys, and how they are found from each other.

PKCS #11 leaves it to the user which objects belong together. CKA_ID says so by convention
(PKCS #11 v3.1 section 4.6.3); where it is missing, the label does, then the public key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rolesanywhere_auth._der import OCTET_STRING, DERError, Reader
from rolesanywhere_auth.certificates import Certificate, issuers
from rolesanywhere_auth.errors import CertificateLoadError
from rolesanywhere_auth.forking import local_work
from rolesanywhere_auth.keys._pkcs11_token import UnavailableError
from rolesanywhere_auth.keys._rfc7512 import PKCS11URI

if TYPE_CHECKING:
    from rolesanywhere_auth.keys import PublicKey

RSA, EC, ML_DSA = 0x00, 0x03, 0x4A
"""CKA_KEY_TYPE."""
KINDS = {RSA: "RSA", EC: "EC", ML_DSA: "ML-DSA"}
_CURVES = {
    "06082a8648ce3d030107": "SECP256R1",
    "06052b81040022": "SECP384R1",
    "06052b81040023": "SECP521R1",
}
_ML_DSA = {1: "MLDSA44PublicKey", 2: "MLDSA65PublicKey", 3: "MLDSA87PublicKey"}
"""CKA_PARAMETER_SET, PKCS #11 v3.2 section 6.67."""


class Item(NamedTuple):
    """An object on a token."""

    handle: Any
    id: bytes
    label: str

    def __str__(self) -> str:
        kind = KINDS.get(attribute(self.handle, "KEY_TYPE") or 0, "key")
        return f"{kind} {self.label!r} (id {self.id.hex() or 'none'})"


def find(
    session: Any,
    kind: str,
    *,
    id: bytes | None = None,  # noqa: A002 - CKA_ID
    label: str | None = None,
) -> list[Item]:
    """The objects of a class (``CERTIFICATE``, ``PRIVATE_KEY`` …), of all or with this name.

    An empty name is a name: NSS has none for public keys, and PIV cards have no labels.
    """
    from pkcs11 import Attribute, ObjectClass

    template: dict[Any, Any] = {Attribute.CLASS: ObjectClass[kind]}
    if id is not None:
        template[Attribute.ID] = id
    if label is not None:
        template[Attribute.LABEL] = label
    return [
        Item(each, attribute(each, "ID") or b"", attribute(each, "LABEL") or "")
        for each in list(session.get_objects(template))
    ]


def attribute(item: Any, name: str) -> Any:
    """None if the object has none such, or does not show it."""
    import pkcs11

    try:
        return item[pkcs11.Attribute[name]]
    except (pkcs11.AttributeTypeInvalid, pkcs11.AttributeSensitive, pkcs11.FunctionFailed):
        return None


def holds(session: Any, uri: PKCS11URI) -> bool:
    """Whether anything of the URI's can be seen."""
    return any(
        find(session, kind, id=uri.id, label=uri.object)
        for kind in ("CERTIFICATE", "PUBLIC_KEY", "PRIVATE_KEY")
    )


def certificates(session: Any, uri: PKCS11URI) -> list[bytes]:
    """DER of those that the URI names, directly or by their key, and of their issuers."""
    named = find(session, "CERTIFICATE", id=uri.id, label=uri.object) or _certificates_of(
        session, _keys_named(session, uri)
    )
    chosen = [der for der in map(_value, named) if der]
    if not chosen:
        return []
    leaves = [parsed for der in chosen if (parsed := _parsed(der))]
    others = [parsed for each in find(session, "CERTIFICATE") if (parsed := _parsed(_value(each)))]
    return list(dict.fromkeys([*chosen, *(each.der for each in issuers(leaves, others))]))


def _keys_named(session: Any, uri: PKCS11URI) -> list[Item]:
    return [
        key
        for kind in ("PRIVATE_KEY", "PUBLIC_KEY")
        for key in find(session, kind, id=uri.id, label=uri.object)
    ]


def _certificates_of(session: Any, keys: Sequence[Item]) -> list[Item]:
    for by in (
        [found for key in keys if key.id for found in find(session, "CERTIFICATE", id=key.id)],
        [
            found
            for key in keys
            if key.label
            for found in find(session, "CERTIFICATE", label=key.label)
        ],
    ):
        if by:
            return by
    infos = {info_of(public_key) for key in keys if (public_key := public_key_of(session, key))}
    return [
        each
        for each in find(session, "CERTIFICATE")
        if (parsed := _parsed(_value(each))) and parsed.public_key_info in infos
    ]


def _value(certificate: Item) -> bytes:
    return attribute(certificate.handle, "VALUE") or b""


def _parsed(der: bytes) -> Certificate | None:
    """A token may hold certificates that are none of ours, and damaged."""
    try:
        return Certificate.from_der(der, source="")
    except CertificateLoadError:
        return None


def keys(session: Any, uri: PKCS11URI) -> list[Item]:
    """The private keys that the URI names, directly or by their certificate."""
    named = find(session, "PRIVATE_KEY", id=uri.id, label=uri.object)
    if named or (uri.id is None and uri.object is None):
        return named
    about = find(session, "CERTIFICATE", id=uri.id, label=uri.object)
    found = [key for each in about if each.id for key in find(session, "PRIVATE_KEY", id=each.id)]
    if found or not about:
        return found
    infos = {parsed.public_key_info for each in about if (parsed := _parsed(_value(each)))}
    return _fitting(session, find(session, "PRIVATE_KEY"), infos)


def one_key(session: Any, uri: PKCS11URI, public_keys: Collection[bytes], *, token: object) -> Item:
    """The one private key meant.

    Args:
        public_keys: DER of the SubjectPublicKeyInfo of the certificates it may belong to.
        token: How messages name it.

    Raises:
        UnavailableError: There is none, or more than one.
    """
    found = keys(session, uri)
    if len(found) > 1:
        found = _fitting(session, found, public_keys) or found
    if len(found) == 1 or _are_one(session, found):
        return found[0]
    if found:
        raise UnavailableError(
            f"this fits several private keys of the {token}: {', '.join(map(str, found))}. Add "
            "id=… or object=… to the reference"
        )
    others = find(session, "PRIVATE_KEY")
    listed = ", ".join(map(str, others))
    raise UnavailableError(
        f"the {token} has no such private key. There are: {listed}"
        if others
        else f"the {token} has no private key, as far as this login shows"
    )


def _are_one(session: Any, found: Sequence[Item]) -> bool:
    """Whether all are copies of one key."""
    public_keys = [public_key_of(session, each) for each in found]
    return len({key and info_of(key) for key in public_keys}) == 1 and None not in public_keys


def _fitting(session: Any, found: Iterable[Item], infos: Collection[bytes]) -> list[Item]:
    wanted = set(map(_normal, infos))
    return [
        each
        for each in found
        if (key := public_key_of(session, each)) is not None and info_of(key) in wanted
    ]


def _normal(info: bytes) -> bytes:
    """The one way to write a public key that `info_of` uses."""
    key = load_info(info)
    return info if key is None else info_of(key)


def load_info(info: bytes) -> PublicKey | None:
    """The public key of a SubjectPublicKeyInfo; None if it is of no kind known here."""
    with local_work():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        try:
            return load_der_public_key(info)  # type: ignore[return-value]
        except (ValueError, UnsupportedAlgorithm):
            return None


def info_of(key: PublicKey) -> bytes:
    """DER of the SubjectPublicKeyInfo."""
    with local_work():
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_type(key: Item) -> int:
    """CKA_KEY_TYPE."""
    found: int = key.handle.key_type
    return found


def public_key_of(session: Any, key: Item) -> PublicKey | None:
    """The public half: by the key itself, its public key object, or its certificate.

    None if the token does not tell.
    """
    objects = [key.handle]
    if key.id:
        objects += [each.handle for each in find(session, "PUBLIC_KEY", id=key.id)]
    elif key.label:
        objects += [each.handle for each in find(session, "PUBLIC_KEY", label=key.label)]
    kind = key_type(key)
    for each in objects:
        if attribute(each, "KEY_TYPE") == kind:
            found = _public_key(each, kind, private=each is key.handle)
            if found is not None:
                return found
    for certificate in find(session, "CERTIFICATE", id=key.id) if key.id else ():
        parsed = _parsed(_value(certificate))
        if parsed is not None:
            return load_info(parsed.public_key_info)
    return None


def _public_key(item: Any, kind: int, *, private: bool) -> PublicKey | None:
    if kind == RSA:
        return _rsa(attribute(item, "MODULUS"), attribute(item, "PUBLIC_EXPONENT"))
    if kind == EC:
        return _ec(attribute(item, "EC_PARAMS"), attribute(item, "EC_POINT"))
    if kind == ML_DSA and not private:  # whose CKA_VALUE is the secret
        return _ml_dsa(attribute(item, "PARAMETER_SET"), attribute(item, "VALUE"))
    return None


def _rsa(modulus: bytes | None, exponent: bytes | None) -> PublicKey | None:
    if not modulus or not exponent:
        return None
    with local_work():
        from cryptography.hazmat.primitives.asymmetric import rsa

        e, n = int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")
        return rsa.RSAPublicNumbers(e, n).public_key()


def _ec(parameters: bytes | None, point: bytes | None) -> PublicKey | None:
    if not point or (name := _CURVES.get((parameters or b"").hex())) is None:
        return None
    with local_work():
        from cryptography.hazmat.primitives.asymmetric import ec

        curve = getattr(ec, name)()
        for encoded in (_unwrapped(point), point):  # some modules leave the OCTET STRING off
            try:
                return ec.EllipticCurvePublicKey.from_encoded_point(curve, encoded)
            except ValueError:
                continue
    return None


def _unwrapped(point: bytes) -> bytes:
    try:
        return Reader(point).read(OCTET_STRING)
    except DERError:
        return b""


def _ml_dsa(parameter_set: int | None, value: bytes | None) -> PublicKey | None:
    with local_work():
        try:
            from cryptography.hazmat.primitives.asymmetric import mldsa

            found = getattr(mldsa, _ML_DSA[parameter_set or 0])
            return found.from_public_bytes(value)  # type: ignore[no-any-return]
        except (ImportError, KeyError, TypeError, ValueError):
            return None

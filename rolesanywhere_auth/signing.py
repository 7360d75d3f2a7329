# SPDX-License-Identifier: Apache-2.0
"""AWS Signature Version 4 with an X.509 certificate: request in, ``Authorization`` out.

Pure functions without I/O and without a clock. The rules are those of the AWS IAM
Roles Anywhere user guide, "Signing process": SigV4's canonical form, with the
certificate's serial number in decimal where SigV4 has the access key, and the
private key where it has the secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timezone
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote_plus, urlsplit

from rolesanywhere_auth.errors import RolesAnywhereError, SigningError, UnsupportedKeyError

if TYPE_CHECKING:
    from rolesanywhere_auth.identity import Identity

SERVICE = "rolesanywhere"
RSA_SHA256 = "AWS4-X509-RSA-SHA256"
ECDSA_SHA256 = "AWS4-X509-ECDSA-SHA256"
MLDSA = "AWS4-X509-MLDSA"

UNSIGNED_HEADERS = frozenset({"authorization", "user-agent", "connection", "x-amzn-trace-id"})
"""Headers that proxies and HTTP libraries add or change on the way."""

_DEFAULT_PORTS = {"https": ":443", "http": ":80"}


class HTTPRequest(NamedTuple):
    """One request, ready to be signed or sent."""

    method: str
    url: str
    headers: Mapping[str, str] = MappingProxyType({})
    """Not shown: a signed request could be sent again for some minutes."""
    body: bytes = b""

    def __repr__(self) -> str:
        return f"HTTPRequest(method={self.method!r}, url={self.url!r}, body={self.body!r})"


def algorithm_for(public_key: Any) -> str:
    """The algorithm's name, by the type of the leaf's own key.

    The hash is SHA-256 on every curve and key size, and the algorithm with which
    the CA signed the certificate plays no part.

    Raises:
        UnsupportedKeyError: the service has no algorithm for such a key.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(public_key, rsa.RSAPublicKey):
        return RSA_SHA256
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return ECDSA_SHA256
    if type(public_key).__name__.startswith("MLDSA"):
        return MLDSA
    raise UnsupportedKeyError(
        f"the service has no algorithm for a {type(public_key).__name__}; "
        "use an RSA, EC (P-256, P-384, P-521) or ML-DSA key"
    )


def canonical_query(query: str) -> str:
    """Every name and value decoded, encoded again as RFC 3986 has it, and sorted."""
    pairs = []
    for item in query.split("&") if query else []:
        name, _, value = item.partition("=")
        pairs.append((_encode(unquote_plus(name)), _encode(unquote_plus(value))))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")


def canonical_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers to sign, by lower-case name in order, blanks in values collapsed."""
    lower = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    return {name: lower[name] for name in sorted(lower) if name not in UNSIGNED_HEADERS}


def canonical_request(request: HTTPRequest, headers: Mapping[str, str] | None = None) -> str:
    """The canonical request, of a request that carries all its headers but ``Authorization``.

    *headers* are its `canonical_headers()`, where these are known already.
    """
    parts = urlsplit(request.url)
    if headers is None:
        headers = canonical_headers(request.headers)
    return "\n".join(
        [
            request.method,
            quote(parts.path or "/", safe="/-_.~"),  # of the path as sent: encoded twice
            canonical_query(parts.query),
            *(f"{name}:{value}" for name, value in headers.items()),
            "",
            ";".join(headers),
            hashlib.sha256(request.body).hexdigest(),
        ]
    )


def timestamp(when: datetime) -> str:
    """*when* as ``X-Amz-Date`` has it: ``20261122T120000Z``.

    Raises:
        ValueError: *when* has no time zone.
    """
    if when.tzinfo is None:
        raise ValueError("the signing time needs a time zone")
    return when.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def credential_scope(*, date: str, region: str) -> str:
    """``20261122/eu-west-1/rolesanywhere/aws4_request``, of an ``X-Amz-Date``."""
    return f"{date[:8]}/{region}/{SERVICE}/aws4_request"


def string_to_sign(*, algorithm: str, date: str, scope: str, canonical: str) -> str:
    """What the private key signs."""
    return "\n".join([algorithm, date, scope, hashlib.sha256(canonical.encode()).hexdigest()])


def host_header(url: str) -> str:
    """``Host`` as HTTP clients send it: without the scheme's own port (RFC 9110, 7.2)."""
    parts = urlsplit(url)
    return parts.netloc.removesuffix(_DEFAULT_PORTS[parts.scheme])


def sign(request: HTTPRequest, *, identity: Identity, region: str, when: datetime) -> HTTPRequest:
    """*request* with ``Host``, ``X-Amz-Date``, the certificate's headers and ``Authorization``.

    Everything is signed but ``User-Agent`` and its like.

    Raises:
        SigningError: the key store refuses.
        ValueError: *when* has no time zone.
    """
    date = timestamp(when)
    scope = credential_scope(date=date, region=region)
    headers = {
        **request.headers,
        "Host": host_header(request.url),
        "X-Amz-Date": date,
        "X-Amz-X509": identity.certificate_header,
    }
    if identity.chain_header:
        headers["X-Amz-X509-Chain"] = identity.chain_header
    signed = canonical_headers(headers)
    algorithm = algorithm_for(identity.signer.public_key())
    to_sign = string_to_sign(
        algorithm=algorithm,
        date=date,
        scope=scope,
        canonical=canonical_request(request, signed),
    )
    signature = _signature(identity, to_sign.encode()).hex()
    authorization = (
        f"{algorithm} Credential={identity.serial_number}/{scope}, "
        f"SignedHeaders={';'.join(signed)}, Signature={signature}"
    )
    return request._replace(headers={**headers, "Authorization": authorization})


def _signature(identity: Identity, data: bytes) -> bytes:
    try:
        return identity.signer.sign(data)
    except RolesAnywhereError:
        raise
    except Exception as error:
        # a key store's own text may hold a PIN: it stays in the cause
        signer = getattr(identity.signer, "signer", identity.signer)
        raise SigningError(
            f"the {type(signer).__name__} for {identity.source} raised {type(error).__name__}",
            source=identity.source,
        ) from error

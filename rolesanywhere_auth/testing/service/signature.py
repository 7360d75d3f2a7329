# SPDX-License-Identifier: Apache-2.0
"""Checks the signature of a CreateSession request.

Written from AWS's user guide, pages "authentication" and
"authentication-sign-process", and not from this library's own signing code, so
that a mistake there cannot hide here.

``Invalid signature`` is AWS's text, for a signature that does not verify. What
AWS says to a request that cannot be checked at all is not known; every other
text here is ours.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from rolesanywhere_auth._x509 import read_certificate
from rolesanywhere_auth.testing.service.algorithms import (
    UnusableKeyError,
    key_kind,
)
from rolesanywhere_auth.testing.service.wire import Reason, Request, access_denied

MAX_INTERMEDIATES = 5

_ALGORITHM = re.compile(r"AWS4-X509-(?:(?P<key>RSA|ECDSA)-SHA(?P<bits>256|384|512)|MLDSA)")
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}


@dataclass(frozen=True)
class VerifiedSignature:
    """A request whose signature fits its certificate; the certificate is not judged yet.

    ``missing_signed_headers``, ``post_empty_body`` and ``algorithm_mismatch`` are
    CloudTrail's ``additionalEventData`` (user guide, "logging-using-cloudtrail").
    """

    certificate: x509.Certificate
    intermediates: tuple[x509.Certificate, ...]
    algorithm: str
    serial_number: int
    region: str
    date: datetime
    signed_headers: tuple[str, ...]
    missing_signed_headers: tuple[str, ...]
    post_empty_body: bool
    algorithm_mismatch: bool


@dataclass(frozen=True)
class _Authorization:
    algorithm: str
    serial_number: str
    day: str
    region: str
    signed_headers: tuple[str, ...]
    signature: bytes

    @property
    def scope(self) -> str:
        return f"{self.day}/{self.region}/rolesanywhere/aws4_request"


def verify_signature(
    request: Request,
    *,
    now: datetime,
    max_skew: timedelta = timedelta(minutes=5),
    strict: bool = False,
) -> VerifiedSignature:
    """Check that *request* was signed by the key of the certificate it carries.

    AWS tolerates some deviations from its own specification and only records
    them: an unsigned host, date or content type, an algorithm that does not fit
    the key, and a POST with everything in the query and no body.

    Args:
        request: The request as it came.
        now: The service's time, with a time zone.
        max_skew: How far ``X-Amz-Date`` may be from *now*. AWS does not say; ours.
        strict: Refuse the deviations as well.

    Raises:
        Refusal: The signature is missing, malformed, out of date or wrong.
    """
    authorization = _authorization(_needed(request, "Authorization"))
    leaf = _certificate(_needed(request, "X-Amz-X509"), "X-Amz-X509")
    intermediates = _intermediates(request.header("X-Amz-X509-Chain"))
    date = _date(_needed(request, "X-Amz-Date"))
    _check_credential(authorization, leaf, date)
    _check_time(date, now=now, max_skew=max_skew)
    missing = _missing_signed_headers(request, authorization.signed_headers)
    try:
        mismatch = _verify(authorization, leaf, _string_to_sign(request, authorization))
    except InvalidSignature:
        reason = Reason(f"the canonical request here is {_shown(request, authorization)}")
        raise access_denied("Invalid signature") from reason
    verified = VerifiedSignature(
        certificate=leaf,
        intermediates=intermediates,
        algorithm=authorization.algorithm,
        serial_number=leaf.serial_number,
        region=authorization.region,
        date=date,
        signed_headers=authorization.signed_headers,
        missing_signed_headers=missing,
        post_empty_body=request.method == "POST" and bool(request.query) and not request.body,
        algorithm_mismatch=mismatch,
    )
    if strict:
        _check_strictly(verified)
    return verified


def _check_time(date: datetime, *, now: datetime, max_skew: timedelta) -> None:
    if abs(now - date) > max_skew:
        raise access_denied(
            f"Signature expired or not yet current: X-Amz-Date is {date:%Y-%m-%dT%H:%M:%SZ}, "
            f"the service's time is {now.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
        )


# Reading the headers


def _needed(request: Request, name: str) -> str:
    value = request.header(name)
    if not value:
        raise access_denied(f"Missing {name} header")
    return value


def _authorization(value: str) -> _Authorization:
    algorithm, _, rest = value.strip().partition(" ")
    if not _ALGORITHM.fullmatch(algorithm):
        raise access_denied(f"Unsupported signature algorithm {algorithm!r} in Authorization")
    pairs = [part.strip().partition("=")[::2] for part in rest.split(",")]
    fields = dict(pairs)
    if len(pairs) != 3 or set(fields) != {"Credential", "SignedHeaders", "Signature"}:
        raise access_denied("Authorization must have Credential, SignedHeaders and Signature, once")
    credential = fields["Credential"].split("/")
    if len(credential) != 5:
        raise access_denied("Credential must be serial/date/region/rolesanywhere/aws4_request")
    serial_number, day, region, service, terminator = credential
    if (service, terminator) != ("rolesanywhere", "aws4_request") or not region:
        raise access_denied("Credential must be scoped to region/rolesanywhere/aws4_request")
    names = tuple(fields["SignedHeaders"].split(";"))
    if list(names) != sorted({name.lower() for name in names}) or not all(names):
        raise access_denied("SignedHeaders must be lower-case, sorted, each once, joined by ';'")
    if not re.fullmatch(r"(?:[0-9a-f]{2})+", fields["Signature"]):
        raise access_denied("Signature must be lower-case hexadecimal")
    signature = bytes.fromhex(fields["Signature"])
    return _Authorization(algorithm, serial_number, day, region, names, signature)


def _certificate(text: str, header: str) -> x509.Certificate:
    try:
        der = base64.b64decode(text.strip(), validate=True)
        return read_certificate(der, extensions=True)
    except ValueError as error:
        raise access_denied(f"{header} is not a base64-encoded DER certificate") from error


def _intermediates(value: str | None) -> tuple[x509.Certificate, ...]:
    if value is None:
        return ()
    parts = value.split(",")
    if len(parts) > MAX_INTERMEDIATES:
        raise access_denied(
            f"X-Amz-X509-Chain has {len(parts)} certificates; at most {MAX_INTERMEDIATES} are read"
        )
    return tuple(_certificate(part, "X-Amz-X509-Chain") for part in parts)


def _date(value: str) -> datetime:
    if re.fullmatch(r"\d{8}T\d{6}Z", value, re.ASCII):
        try:
            return datetime.strptime(value, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        except ValueError:
            pass
    raise access_denied("X-Amz-Date must be YYYYMMDD'T'HHMMSS'Z'")


def _check_credential(
    authorization: _Authorization, leaf: x509.Certificate, date: datetime
) -> None:
    if authorization.serial_number != str(leaf.serial_number):
        raise access_denied(
            "Credential must begin with the serial number of the X-Amz-X509 certificate in "
            f"decimal, {leaf.serial_number}"
        )
    if authorization.day != f"{date:%Y%m%d}":
        raise access_denied("The date in Credential is not the day of X-Amz-Date")


def _missing_signed_headers(request: Request, signed: tuple[str, ...]) -> tuple[str, ...]:
    """Which of the headers that should be signed are not, in CloudTrail's order.

    The guide says that X-Amz-X509 and X-Amz-X509-Chain MUST be signed; without
    that anybody could exchange them.
    """
    for name in signed:
        if request.header(name) is None:
            raise access_denied(f"SignedHeaders lists {name}, but the request has no such header")
    for name in ("X-Amz-X509", "X-Amz-X509-Chain"):
        if request.header(name) is not None and name.lower() not in signed:
            raise access_denied(f"{name} must be one of the SignedHeaders")
    expected = ["host", "x-amz-date"]
    if request.header("Content-Type") is not None:
        expected.append("content-type")
    return tuple(name for name in expected if name not in signed)


# Rebuilding what was signed


def _string_to_sign(request: Request, authorization: _Authorization) -> bytes:
    canonical = hashlib.sha256(_canonical_request(request, authorization.signed_headers))
    lines = (
        authorization.algorithm,
        _needed(request, "X-Amz-Date"),
        authorization.scope,
        canonical.hexdigest(),
    )
    return "\n".join(lines).encode()


def _canonical_request(request: Request, signed: tuple[str, ...]) -> bytes:
    headers = "".join(f"{name}:{_canonical_value(request, name)}\n" for name in signed)
    lines = (
        request.method,
        quote(request.path or "/", safe="/-_.~"),
        _canonical_query(request.query),
        headers,
        ";".join(signed),
        hashlib.sha256(request.body).hexdigest(),
    )
    return "\n".join(lines).encode()


def _shown(request: Request, authorization: _Authorization) -> str:
    """The canonical request, with long lines (certificates) cut."""
    lines = _canonical_request(request, authorization.signed_headers).decode().split("\n")
    return repr("\n".join(line if len(line) <= 120 else f"{line[:117]}..." for line in lines))


def _canonical_value(request: Request, name: str) -> str:
    values = (value for key, value in request.headers if key.lower() == name)
    return ",".join(" ".join(value.split()) for value in values)


def _canonical_query(query: str) -> str:
    def encoded(text: str) -> str:
        return quote(unquote_to_bytes(text.replace("+", " ")), safe="-_.~")

    pairs = [part.partition("=")[::2] for part in query.split("&") if part]
    return "&".join(f"{k}={v}" for k, v in sorted((encoded(k), encoded(v)) for k, v in pairs))


# Verifying


def _verify(authorization: _Authorization, leaf: x509.Certificate, signed: bytes) -> bool:
    """Verify the signature over *signed*; returns whether the algorithm's name misfits."""
    name = _ALGORITHM.fullmatch(authorization.algorithm)
    declared = (name["key"], name["bits"]) if name else (None, None)
    try:
        kind = key_kind(leaf)
        key: Any = leaf.public_key()
    except (UnusableKeyError, UnsupportedAlgorithm, ValueError) as error:
        raise access_denied(f"Unsupported certificate: {error}") from error
    if kind == "MLDSA":
        key.verify(authorization.signature, signed)
        return declared != (None, None)
    _verify_hashed(key, authorization.signature, signed, declared[1])
    return declared != (kind, "256")


def _verify_hashed(key: Any, signature: bytes, signed: bytes, bits: str | None) -> None:
    # SHA-256 whatever the name says is what deployed clients do whose name follows the
    # certificate's own signature; the digest that the name says is tried as well.
    digests = [_HASHES["256"]]
    if bits not in (None, "256"):
        digests.append(_HASHES[str(bits)])
    for digest in digests:
        try:
            if isinstance(key, rsa.RSAPublicKey):
                key.verify(signature, signed, padding.PKCS1v15(), digest)
            else:
                key.verify(signature, signed, ec.ECDSA(digest))
            return
        except InvalidSignature:
            continue
    raise InvalidSignature


def _check_strictly(verified: VerifiedSignature) -> None:
    if verified.missing_signed_headers:
        names = ", ".join(verified.missing_signed_headers)
        raise access_denied(f"Strict mode: {names} must be among the SignedHeaders")
    if verified.algorithm_mismatch:
        raise access_denied(
            f"Strict mode: {verified.algorithm} does not fit the certificate's key and SHA-256"
        )
    if verified.post_empty_body:
        raise access_denied("Strict mode: a POST with a query must have a body")

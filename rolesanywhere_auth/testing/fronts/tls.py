# SPDX-License-Identifier: Apache-2.0
"""A certification authority and a server certificate for the HTTPS front, made at each start."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rolesanywhere_auth.testing._material import key_usage

if TYPE_CHECKING:
    from pathlib import Path

_DNS_SUFFIXES = ("amazonaws.com", "api.aws", "amazonaws.com.cn", "amazonaws.eu")
_CA_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Roles Anywhere emulator TLS CA")])
_SERVER_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Roles Anywhere emulator")])


def server_context(
    directory: Path, *, region: str, names: Sequence[str] = ()
) -> tuple[ssl.SSLContext, Path]:
    """A TLS context for loopback, *names* and the service's host names in *region*.

    Returns:
        The context, and the path of the PEM file in *directory* that verifies it.
    """
    ca_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    # TLS clients verify by the machine's clock; the emulator's own may run ahead of it.
    now = datetime.now(timezone.utc)
    ca = _ca(ca_key, now)
    server = _server(ca, ca_key, key.public_key(), now=now, names=_names(region, names))
    bundle = directory / "ca-bundle.pem"
    bundle.write_bytes(ca.public_bytes(Encoding.PEM))
    chain = directory / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain.write_bytes(private + server.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    chain.unlink()
    return context, bundle


def _ca(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    builder = _builder(_CA_NAME, _CA_NAME, key.public_key(), now)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(key_usage(key_cert_sign=True, crl_sign=True), critical=True)
    return builder.sign(key, hashes.SHA256())


def _server(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePublicKey,
    *,
    now: datetime,
    names: list[x509.GeneralName],
) -> x509.Certificate:
    # OpenSSL's strict mode, Python 3.13's default, wants the key identifiers.
    builder = _builder(_SERVER_NAME, ca.subject, key, now)
    builder = builder.add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    )
    builder = builder.add_extension(key_usage(digital_signature=True), critical=True)
    server_auth = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    builder = builder.add_extension(server_auth, critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
    )
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def _names(region: str, more: Sequence[str]) -> list[x509.GeneralName]:
    hosts = ["localhost"]
    for service in ("rolesanywhere", "rolesanywhere-fips"):
        hosts += [f"{service}.{region}.{suffix}" for suffix in _DNS_SUFFIXES]
    return [_name(text) for text in dict.fromkeys(("127.0.0.1", "::1", *hosts, *more))]


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(hours=1),
        not_valid_after=now + timedelta(days=30),
    )
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)

# SPDX-License-Identifier: Apache-2.0
"""A CA whose key is at hand: for development, and for revocation lists.

What `rolesanywhere_auth.testing` has for tests is another one, on purpose: the emulator judges
what is made here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rolesanywhere_auth._containers import Readable, open_contents, read_material
from rolesanywhere_auth._x509 import read_certificate
from rolesanywhere_auth.errors import (
    CertificateExpiredError,
    CertificateLoadError,
    CertificateRequirementError,
    ConfigurationError,
    KeyMismatchError,
)
from rolesanywhere_auth.keys.files import load_key
from rolesanywhere_auth.provisioning._new_files import (
    KeyType,
    key_at,
    occupied,
    write_key,
    write_new,
)
from rolesanywhere_auth.secrets import Passphrase, reveal

CA_CERTIFICATE, CA_KEY = "ca.pem", "ca.key"
"""Names of files in the folder of a development CA."""

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,99}")
_BACKDATED = timedelta(minutes=5)  # for clocks that are behind


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A CA's certificate and its private key."""

    certificate: x509.Certificate
    key: Any = field(repr=False)

    @classmethod
    def load(
        cls,
        certificate: Readable,
        private_key: Readable,
        *,
        passphrase: Passphrase | None = None,
    ) -> Authority:
        """A CA from its files.

        Args:
            certificate: Path or content.
            private_key: Path or content: RSA, EC or ML-DSA.
            passphrase: Of the private key, where it is encrypted.

        Raises:
            CertificateLoadError, PrivateKeyLoadError, PassphraseError: One cannot be read.
            CertificateRequirementError: It is no CA certificate.
            KeyMismatchError: The key is another CA's.
        """
        material = read_material(certificate, role="ca_certificate")
        found = load_certificate(certificate, role="ca_certificate", extensions=True)
        secret = reveal(passphrase)
        opened = open_contents(
            read_material(private_key, role="ca_key"), passphrase=secret
        )  # fmt: skip
        key: Any = load_key(opened, passphrase=secret)
        name = found.subject.rfc4514_string()
        if not _is_ca(found):
            raise CertificateRequirementError(
                f"{material.source}: the certificate {name} is none of a CA (no CA:TRUE). Give "
                "that of the CA which issued the certificates.",
                source=material.source,
            )
        if key.public_key() != found.public_key():
            raise KeyMismatchError(
                f"{opened.material.source} is not the private key of the CA certificate {name} "
                f"in {material.source}. Give the two files that belong together.",
                source=opened.material.source,
            )
        return cls(certificate=found, key=key)

    @property
    def name(self) -> str:
        """Its subject, as RFC 4514 writes it."""
        return self.certificate.subject.rfc4514_string()

    @property
    def certificate_pem(self) -> bytes:
        """Its certificate in PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def signing_hash(self) -> Any:
        """What its signatures take; None where the key has its own (ML-DSA)."""
        is_classic = isinstance(self.key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
        return hashes.SHA256() if is_classic else None

    def issued(self, certificate: x509.Certificate) -> bool:
        """Whether this CA signed *certificate*."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return False
        return True


class LeafFiles(NamedTuple):
    """Where `issue_leaf` wrote."""

    certificate: Path
    private_key: Path


def make_development_ca(
    folder: str | os.PathLike[str],
    *,
    now: datetime,
    common_name: str = "Development CA",
    key_type: KeyType = "ec-p256",
    lifetime: timedelta = timedelta(days=3650),
) -> Authority:
    """Make a root CA for development, or load the one that is there.

    Its key lies in a file that its owner alone can read, and nothing else protects it: good
    for trying and for tests. Nothing is ever overwritten.

    Args:
        folder: Gets ``ca.pem`` and ``ca.key`` (mode 0600); it is made if needed.
        now: The time, aware.
        common_name: CN of a new one.
        key_type: Of a new one.
        lifetime: Of a new one.

    Raises:
        ConfigurationError: There is no such key type.
        IdentityError: What is there cannot be read, or does not belong together.
        OSError: The folder cannot be written.
    """
    authority = open_development_ca(
        folder, now=now, common_name=common_name, key_type=key_type, lifetime=lifetime
    )
    write_development_ca(authority, folder)
    return authority


def open_development_ca(
    folder: str | os.PathLike[str],
    *,
    now: datetime,
    common_name: str = "Development CA",
    key_type: KeyType = "ec-p256",
    lifetime: timedelta = timedelta(days=3650),
) -> Authority:
    """As `make_development_ca`, but a new one is not written yet."""
    certificate, key_file = Path(folder) / CA_CERTIFICATE, Path(folder) / CA_KEY
    if certificate.exists():
        return Authority.load(certificate, key_file)
    key = key_at(key_file, key_type)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = _builder(name, key.public_key(), now=now, lifetime=lifetime).issuer_name(name)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(ca=True), critical=True)
    return Authority(certificate=builder.sign(key, hashes.SHA256()), key=key)


def write_development_ca(authority: Authority, folder: str | os.PathLike[str]) -> None:
    """Write what `open_development_ca` made, as far as it is not there.

    Raises:
        ConfigurationError: Another CA is there by now.
        OSError: The folder cannot be written.
    """
    certificate, key_file = Path(folder) / CA_CERTIFICATE, Path(folder) / CA_KEY
    if not certificate.exists():
        write_key(key_file, authority.key)
        write_new(certificate, authority.certificate_pem, mode=0o644)
    elif load_certificate(certificate, role="ca_certificate") != authority.certificate:
        raise occupied(certificate)  # by another run, since this one looked


def issue_leaf(
    authority: Authority,
    folder: str | os.PathLike[str],
    *,
    common_name: str,
    now: datetime,
    file_name: str | None = None,
    organization: str | None = None,
    organizational_units: Sequence[str] = (),
    dns_names: Sequence[str] = (),
    uris: Sequence[str] = (),
    key_type: KeyType = "ec-p256",
    lifetime: timedelta = timedelta(days=90),
) -> LeafFiles:
    """Make a key, and issue a certificate for it that can sign in.

    Nothing is overwritten: a renewed certificate goes under another *file_name*.

    Args:
        authority: Who issues it.
        folder: Gets ``NAME.pem`` and ``NAME.key`` (mode 0600); it is made if needed.
        common_name: CN of the subject.
        now: The time, aware.
        file_name: NAME; *common_name* by default.
        organization: O of the subject.
        organizational_units: One OU each.
        dns_names: Subject alternative names, as *uris*.
        key_type: Of the new key.
        lifetime: At most that of the CA.

    Raises:
        ConfigurationError: The certificate is there already, or *file_name* is no file's name.
        CertificateExpiredError: The CA has expired.
        OSError: The folder cannot be written.
    """
    files = _free_files(Path(folder), file_name or common_name)
    lifetime = min(lifetime, _time_left(authority, now))
    key = key_at(files.private_key, key_type)
    names: list[x509.GeneralName] = [x509.DNSName(each) for each in dns_names]
    names += [x509.UniformResourceIdentifier(each) for each in uris]
    subject = _subject(common_name, organization, organizational_units)
    builder = _builder(subject, key.public_key(), now=now, lifetime=lifetime)
    made = _signed_leaf(builder, authority, names)
    write_key(files.private_key, key)
    write_new(files.certificate, made.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return files


def _free_files(folder: Path, name: str) -> LeafFiles:
    if not _FILE_NAME.fullmatch(name) or f"{name}.pem" == CA_CERTIFICATE:
        raise ConfigurationError(f"{name!r} cannot be a file's name here; give another file_name")
    files = LeafFiles(folder / f"{name}.pem", folder / f"{name}.key")
    if files.certificate.exists():
        raise occupied(files.certificate)
    return files


def _time_left(authority: Authority, now: datetime) -> timedelta:
    end = authority.certificate.not_valid_after_utc
    if now >= end:
        raise CertificateExpiredError(
            f"the CA {authority.name} expired at {end:%Y-%m-%dT%H:%M:%SZ}, so that no certificate "
            "of it is valid. Make a new one, in another folder.",
            source=authority.name,
        )
    return end - now


def _subject(common_name: str, organization: str | None, units: Sequence[str]) -> x509.Name:
    parts = [(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    parts += [(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
    parts.append((NameOID.COMMON_NAME, common_name))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _signed_leaf(
    builder: x509.CertificateBuilder, authority: Authority, names: list[x509.GeneralName]
) -> x509.Certificate:
    builder = builder.issuer_name(authority.certificate.subject)
    constraints = x509.BasicConstraints(ca=False, path_length=None)
    builder = builder.add_extension(constraints, critical=True)
    builder = builder.add_extension(_usage(ca=False), critical=True)
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = builder.add_extension(purpose, critical=False)
    builder = builder.add_extension(authority_key_id(authority), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority.key, authority.signing_hash)


def authority_key_id(authority: Authority) -> x509.AuthorityKeyIdentifier:
    """The extension that names the CA's key, by the CA's own name for it (RFC 5280, 4.2.1.1)."""
    extensions = authority.certificate.extensions
    try:
        own = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def load_certificate(
    certificate: Readable, *, role: str, extensions: bool = False
) -> x509.Certificate:
    """The first certificate of a file, bytes or PEM text.

    Raises:
        CertificateLoadError: There is none, or its names or its *extensions* are malformed.
    """
    material = read_material(certificate, role=role)
    found = open_contents(material, passphrase=None).certificates
    if not found:
        raise CertificateLoadError(
            f"{material.source}, given as {role}, holds no certificate. Give a file with "
            "'-----BEGIN CERTIFICATE-----'.",
            source=material.source,
        )
    try:
        return read_certificate(found[0], extensions=extensions)
    except ValueError as error:
        raise CertificateLoadError(
            f"{material.source}, given as {role}: the certificate is damaged: {error}",
            source=material.source,
        ) from error


def _builder(
    subject: x509.Name, public_key: Any, *, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(
        subject_name=subject,
        public_key=public_key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - _BACKDATED,
        not_valid_after=now + lifetime,
    )
    key_id = x509.SubjectKeyIdentifier.from_public_key(public_key)
    return builder.add_extension(key_id, critical=False)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return constraints.value.ca

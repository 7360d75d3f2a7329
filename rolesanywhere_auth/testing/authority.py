# SPDX-License-Identifier: Apache-2.0
"""A certificate authority for tests: makes CAs, leaves, CRLs, and flawed leaves.

::

    ca = CertificateAuthority()
    leaf = ca.issue("my-app", dns_names=["my-app.example"])
    files = leaf.write_to(tmp_path)

Everything stays in memory until `Leaf.write_to`. The keys are for tests: nothing
protects them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rolesanywhere_auth.testing._flaws import Flaw, Plan, with_flaw
from rolesanywhere_auth.testing._leaf import Leaf, LeafFiles, certificate_pem, private_key_pem
from rolesanywhere_auth.testing._material import (
    HashName,
    KeyType,
    LeafKeyType,
    as_version_1,
    authority_key_id,
    generate_key,
    key_usage,
    resign,
    signing_hash,
)

__all__ = [
    "CertificateAuthority",
    "Flaw",
    "HashName",
    "KeyType",
    "Leaf",
    "LeafFiles",
    "LeafKeyType",
]

_DAY = timedelta(days=1)


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class CertificateAuthority:
    """A CA; self-signed, or made by another one's `intermediate`.

    Args:
        common_name: CN of its subject.
        key_type: Its key.
        organization: O of its subject.
        not_valid_before: Default: a day ago.
        not_valid_after: Default: in ten years.
        now: The clock that all defaults go by, also of what it issues.
    """

    def __init__(
        self,
        common_name: str = "Test Root CA",
        *,
        key_type: KeyType = "ec-p256",
        organization: str | None = None,
        not_valid_before: datetime | None = None,
        not_valid_after: datetime | None = None,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._now = now
        self._key = generate_key(key_type)
        self._above: tuple[x509.Certificate, ...] = ()
        self._revoked: dict[int, x509.RevokedCertificate] = {}
        subject = _subject(common_name, organization)
        start, end = self._validity(not_valid_before, not_valid_after, 3652 * _DAY)
        builder = _ca_builder(subject, self._key.public_key(), None).not_valid_before(start)
        self.certificate = self._sign(builder.not_valid_after(end), subject, self._key)
        """The CA's certificate."""

    @classmethod
    def load(
        cls,
        certificate_pem: bytes,
        private_key_pem: bytes,
        *,
        now: Callable[[], datetime] = _utc_now,
    ) -> CertificateAuthority:
        """A root CA that was written earlier, from its `certificate_pem` and `private_key_pem`.

        Raises:
            ValueError: One of them cannot be read, or they do not belong together.
        """
        ca = cls.__new__(cls)
        ca._now, ca._above, ca._revoked = now, (), {}
        ca.certificate = x509.load_pem_x509_certificate(certificate_pem)
        try:
            ca._key = serialization.load_pem_private_key(private_key_pem, password=None)
        except TypeError as error:
            raise ValueError(f"the CA's private key cannot be read: {error}") from error
        if ca._key.public_key() != ca.certificate.public_key():
            subject = ca.certificate.subject.rfc4514_string()
            raise ValueError(f"the private key is not that of the CA certificate {subject!r}")
        return ca

    def __repr__(self) -> str:
        return f"<CertificateAuthority {self.certificate.subject.rfc4514_string()!r}>"

    @property
    def certificate_pem(self) -> str:
        """The CA's certificate in PEM, as for a trust anchor."""
        return certificate_pem(self.certificate)

    @property
    def private_key_pem(self) -> str:
        """The CA's private key in PEM (PKCS #8), not encrypted."""
        return private_key_pem(self._key)

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """This CA and those above it, without the root; empty for a root."""
        return self._above

    def intermediate(
        self,
        common_name: str = "Test Intermediate CA",
        *,
        key_type: KeyType = "ec-p256",
        organization: str | None = None,
        path_length: int | None = None,
        not_valid_before: datetime | None = None,
        not_valid_after: datetime | None = None,
    ) -> CertificateAuthority:
        """A CA below this one; *path_length* CAs may follow below it (None: any number)."""
        ca = CertificateAuthority.__new__(CertificateAuthority)
        ca._now, ca._key, ca._revoked = self._now, generate_key(key_type), {}
        subject = _subject(common_name, organization)
        start, end = self._validity(not_valid_before, not_valid_after, 1826 * _DAY)
        builder = _ca_builder(subject, ca._key.public_key(), path_length).not_valid_before(start)
        ca.certificate = self._sign(
            builder.not_valid_after(end), self.certificate.subject, self._key
        )
        ca._above = (ca.certificate, *self._above)
        return ca

    def issue(
        self,
        common_name: str | None = "app",
        *,
        key_type: LeafKeyType = "ec-p256",
        serial_number: int | None = None,
        not_valid_before: datetime | None = None,
        not_valid_after: datetime | None = None,
        organization: str | None = None,
        organizational_units: Sequence[str] = (),
        subject: x509.Name | None = None,
        dns_names: Sequence[str] = (),
        uris: Sequence[str] = (),
        email_addresses: Sequence[str] = (),
        directory_names: Sequence[x509.Name] = (),
        client_auth: bool = True,
        public_key: Any = None,
        hash_algorithm: HashName = "sha256",
    ) -> Leaf:
        """Issue an end-entity certificate that IAM Roles Anywhere accepts.

        Args:
            common_name: CN of the subject; None for a subject without.
            key_type: The key to generate; ignored if *public_key* is given.
            serial_number: Default: random.
            not_valid_before: Default: a day ago; the other in a year.
            not_valid_after: See *not_valid_before*.
            organization: O of the subject.
            organizational_units: One OU each, in this order.
            subject: The whole subject, instead of the parts above.
            dns_names, uris, email_addresses, directory_names: Subject alternative names.
            client_auth: Whether to add the extended key usage clientAuth.
            public_key: Certify this key, for example of an HSM, and make none.
            hash_algorithm: Of this CA's signature; an ML-DSA CA has its own.
        """
        private_key = None if public_key is not None else generate_key(key_type)
        if subject is None:
            subject = _subject(common_name, organization, organizational_units)
        start, end = self._validity(not_valid_before, not_valid_after, 365 * _DAY)
        plan = Plan(
            subject=subject,
            public_key=private_key.public_key() if private_key is not None else public_key,
            serial_number=x509.random_serial_number() if serial_number is None else serial_number,
            not_valid_before=start,
            not_valid_after=end,
            names=_names(dns_names, uris, email_addresses, directory_names),
            client_auth=client_auth,
            hash_algorithm=hash_algorithm,
        )
        return Leaf(self._certify(plan, self._key), private_key, self.chain)

    def issue_flawed(
        self,
        flaw: Flaw,
        *,
        common_name: str = "app",
        key_type: LeafKeyType = "ec-p256",
        serial_number: int | None = None,
        dns_names: Sequence[str] = (),
    ) -> Leaf:
        """Issue an end-entity certificate that IAM Roles Anywhere refuses.

        Raises:
            ValueError: *flaw* is none of the names, or this CA's key cannot make it:
                ``md5`` needs an RSA CA, ``sha1`` and ``version-1`` one with RSA or EC.
        """
        private_key = generate_key(key_type)
        start, end = self._validity(None, None, 365 * _DAY)
        sound = Plan(
            subject=_subject(common_name, None),
            public_key=private_key.public_key(),
            serial_number=x509.random_serial_number() if serial_number is None else serial_number,
            not_valid_before=start,
            not_valid_after=end,
            names=tuple(x509.DNSName(name) for name in dns_names),
        )
        plan = with_flaw(sound, flaw)
        signer = generate_key("ec-p256") if flaw == "wrong-signature" else self._key
        certificate = self._certify(plan, signer)
        if flaw in ("sha1", "md5"):
            certificate = resign(certificate, self._key, "sha1" if flaw == "sha1" else "md5")
        elif flaw == "version-1":
            certificate = as_version_1(certificate, self._key)
        return Leaf(certificate, private_key, self.chain)

    def revoke(
        self,
        certificate: Leaf | CertificateAuthority | x509.Certificate | int,
        *,
        reason: x509.ReasonFlags | None = None,
    ) -> None:
        """Put a certificate of this CA, or a serial number, on its list of revoked ones.

        Raises:
            ValueError: Another CA issued the certificate.
        """
        serial_number = self._own_serial_number(certificate)
        builder = x509.RevokedCertificateBuilder().serial_number(serial_number)
        builder = builder.revocation_date(self._now())
        if reason is not None:
            builder = builder.add_extension(x509.CRLReason(reason), critical=False)
        self._revoked[serial_number] = builder.build()

    def crl_pem(
        self, *, last_update: datetime | None = None, next_update: datetime | None = None
    ) -> str:
        """The CRL of all certificates revoked so far, in PEM; for a day from now by default."""
        crl = self._crl(last_update, next_update)
        return crl.public_bytes(serialization.Encoding.PEM).decode()

    def crl_der(
        self, *, last_update: datetime | None = None, next_update: datetime | None = None
    ) -> bytes:
        """The CRL as `crl_pem` makes it, in DER."""
        return self._crl(last_update, next_update).public_bytes(serialization.Encoding.DER)

    def _crl(
        self, last_update: datetime | None, next_update: datetime | None
    ) -> x509.CertificateRevocationList:
        start = last_update or self._now()
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(start).next_update(next_update or start + _DAY)
        builder = builder.add_extension(authority_key_id(self._key), critical=False)
        for entry in self._revoked.values():
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self._key, signing_hash(self._key, "sha256"))

    def _own_serial_number(
        self, certificate: Leaf | CertificateAuthority | x509.Certificate | int
    ) -> int:
        if isinstance(certificate, int):
            return certificate
        if not isinstance(certificate, x509.Certificate):
            certificate = certificate.certificate
        if certificate.issuer != self.certificate.subject:
            raise ValueError(
                f"{self!r} did not issue the certificate {certificate.serial_number}; "
                f"revoke it at {certificate.issuer.rfc4514_string()!r}"
            )
        return certificate.serial_number

    def _validity(
        self, start: datetime | None, end: datetime | None, lifetime: timedelta
    ) -> tuple[datetime, datetime]:
        """*start* and *end*, or their defaults; a lone *start* counts on, a lone *end* back.

        Without a time zone they are UTC, as `cryptography` has it.
        """
        now, start, end = self._now(), _utc(start), _utc(end)
        if start is None:
            start = now - _DAY if end is None or end > now - _DAY else end - lifetime
        if end is None:
            end = max(now, start) + lifetime
        return start, end

    def _certify(self, plan: Plan, signing_key: Any) -> x509.Certificate:
        builder = x509.CertificateBuilder(
            subject_name=plan.subject,
            public_key=plan.public_key,
            serial_number=plan.serial_number,
            not_valid_before=plan.not_valid_before,
            not_valid_after=plan.not_valid_after,
        )
        constraints = x509.BasicConstraints(ca=plan.ca, path_length=None)
        builder = builder.add_extension(constraints, critical=True)
        if plan.key_usage is not None:
            builder = builder.add_extension(plan.key_usage, critical=True)
        if plan.client_auth:
            usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
            builder = builder.add_extension(usages, critical=False)
        if plan.names:
            names = x509.SubjectAlternativeName(plan.names)
            builder = builder.add_extension(names, critical=not list(plan.subject))
        if plan.extension is not None:
            builder = builder.add_extension(plan.extension, critical=True)
        key_id = x509.SubjectKeyIdentifier.from_public_key(plan.public_key)
        builder = builder.add_extension(key_id, critical=False)
        issuer = self.certificate.subject
        return self._sign(builder, issuer, signing_key, plan.hash_algorithm)

    @staticmethod
    def _sign(
        builder: x509.CertificateBuilder,
        issuer: x509.Name,
        key: Any,
        hash_algorithm: HashName = "sha256",
    ) -> x509.Certificate:
        builder = builder.issuer_name(issuer)
        builder = builder.add_extension(authority_key_id(key), critical=False)
        return builder.sign(key, signing_hash(key, hash_algorithm))


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=timezone.utc)


def _subject(
    common_name: str | None, organization: str | None, units: Sequence[str] = ()
) -> x509.Name:
    attributes = []
    if organization is not None:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    attributes += [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
    if common_name is not None:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(attributes)


def _ca_builder(
    subject: x509.Name, public_key: Any, path_length: int | None
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(subject_name=subject, public_key=public_key)
    builder = builder.serial_number(x509.random_serial_number())
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    builder = builder.add_extension(constraints, critical=True)
    builder = builder.add_extension(key_usage(key_cert_sign=True, crl_sign=True), critical=True)
    key_id = x509.SubjectKeyIdentifier.from_public_key(public_key)
    return builder.add_extension(key_id, critical=False)


def _names(
    dns_names: Sequence[str],
    uris: Sequence[str],
    email_addresses: Sequence[str],
    directory_names: Sequence[x509.Name],
) -> tuple[x509.GeneralName, ...]:
    """The subject alternative names, in this order."""
    return (
        *map(x509.DNSName, dns_names),
        *map(x509.UniformResourceIdentifier, uris),
        *map(x509.RFC822Name, email_addresses),
        *map(x509.DirectoryName, directory_names),
    )

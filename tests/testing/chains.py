"""Chains of certificates from a seed, made with `cryptography` alone, so that they can be odd.

`draft` plans an ordinary chain, `chain_variations` change the plan, `Draft.build` makes the
certificates. Keys are the same in each run (RSA and ML-DSA keys are made when first used).
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier

from rolesanywhere_auth.testing._material import as_version_1, resign

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=timezone.utc)
DAY = timedelta(days=1)
CABITS = frozenset({"key_cert_sign", "crl_sign"})
LEAFBITS = frozenset({"digital_signature"})
FAMILIES = ("p256",) * 14 + ("p384", "p521", "rsa", "mldsa", "mixed", "mixed")
_MIX = ("p256", "p384", "p521", "rsa", "mldsa")
BITS = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
_CURVES = {
    "p224": ec.SECP224R1(),
    "p256": ec.SECP256R1(),
    "p384": ec.SECP384R1(),
    "p521": ec.SECP521R1(),
    "secp256k1": ec.SECP256K1(),
}

# Keys


@functools.cache
def key(name: str) -> Any:
    """The private key *name*, such as ``p256-3``, ``rsa2048-0``, ``mldsa65-1``, ``ed25519-0``."""
    family, _, number = name.partition("-")
    if family in _CURVES:
        return ec.derive_private_key(1_000_003 + int(number), _CURVES[family])
    if family == "ed25519":
        return ed25519.Ed25519PrivateKey.from_private_bytes(bytes([int(number)]) * 32)
    if family.startswith("mldsa"):
        module = importlib.import_module("cryptography.hazmat.primitives.asymmetric.mldsa")
        return getattr(module, f"MLDSA{family[5:]}PrivateKey").generate()
    return rsa.generate_private_key(65537, int(family[3:]))


@functools.cache
def has_ml_dsa() -> bool:
    """Whether this `cryptography` makes ML-DSA keys."""
    try:
        key("mldsa65-0")
    except (ImportError, UnsupportedAlgorithm):
        return False
    return True


@functools.cache
def key_id(name: str) -> bytes:
    """The subject key identifier of the key *name*."""
    return x509.SubjectKeyIdentifier.from_public_key(key(name).public_key()).digest


# Plans


def name(text: str) -> x509.Name:
    """A name, written as in RFC 4514."""
    return x509.Name.from_rfc4514_string(text) if text else x509.Name([])


@dataclass(eq=False)
class Plan:
    """A certificate to be made; self-signed without *issuer*."""

    subject: x509.Name
    key: str
    issuer: Plan | None = None
    ca: bool | None = True
    path_length: int | None = None
    usage: frozenset[str] | None = CABITS
    start: datetime = NOW - DAY
    end: datetime = NOW + DAY
    extensions: list[tuple[x509.ExtensionType, bool]] = field(default_factory=list)
    serial: int = 0
    issuer_name: x509.Name | None = None  # written instead of the issuer's subject
    signer: str | None = None  # signs instead of the issuer's key
    hash_name: str = "sha256"  # also sha1, md5
    pss: bool = False
    key_ids: bool = True
    authority_key_id: x509.AuthorityKeyIdentifier | None = None
    version_1: bool = False
    broken: bool = False  # one bit of the signature is wrong

    @property
    def signing_key(self) -> str:
        """The name of the key that signs."""
        return self.signer or (self.issuer or self).key

    @functools.cached_property
    def certificate(self) -> x509.Certificate:
        """The certificate; the plan must not change afterwards."""
        signing_key = key(self.signing_key)
        hashed = isinstance(signing_key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey))
        old_hash = self.hash_name in ("sha1", "md5")
        digest = hashes.SHA256() if old_hash else getattr(hashes, self.hash_name.upper())()
        scheme: dict[str, Any] = {}
        if self.pss and isinstance(signing_key, rsa.RSAPrivateKey):
            scheme["rsa_padding"] = padding.PSS(padding.MGF1(digest), 32)
        made = self._builder().sign(signing_key, digest if hashed else None, **scheme)
        if old_hash and hashed:
            rsa_key = isinstance(signing_key, rsa.RSAPrivateKey)
            made = resign(
                made, signing_key, "md5" if rsa_key and self.hash_name == "md5" else "sha1"
            )
        if self.version_1 and hashed:
            made = as_version_1(made, signing_key)
        if self.broken:
            der = bytearray(made.public_bytes(serialization.Encoding.DER))
            der[-1] ^= 1
            made = x509.load_der_x509_certificate(bytes(der))
        return made

    def _builder(self) -> x509.CertificateBuilder:
        issuer = self.issuer or self
        public_key = key(self.key).public_key()
        builder = x509.CertificateBuilder(
            subject_name=self.subject,
            issuer_name=self.issuer_name or issuer.subject,
            public_key=public_key,
            serial_number=self.serial,
            not_valid_before=self.start,
            not_valid_after=self.end,
        )
        if self.ca is not None:
            length = self.path_length if self.ca else None
            constraints = x509.BasicConstraints(ca=self.ca, path_length=length)
            builder = builder.add_extension(constraints, critical=True)
        if self.usage is not None:
            usage = x509.KeyUsage(**{bit: bit in self.usage for bit in BITS})
            builder = builder.add_extension(usage, critical=True)
        for extension, critical in self.extensions:
            builder = builder.add_extension(extension, critical)
        if self.key_ids:
            builder = builder.add_extension(x509.SubjectKeyIdentifier(key_id(self.key)), False)
        authority = self.authority_key_id
        if authority is None and self.key_ids and issuer.key_ids:
            authority = x509.AuthorityKeyIdentifier(key_id(issuer.key), None, None)
        return builder if authority is None else builder.add_extension(authority, False)


@dataclass(eq=False)
class CRLPlan:
    """A list of revoked certificates to be made."""

    issuer: Plan
    serials: list[int] = field(default_factory=list)
    start: datetime = NOW - DAY / 2
    end: datetime = NOW + DAY / 2
    signer: str | None = None
    issuer_name: x509.Name | None = None
    weak: bool = False
    number: int = 1
    revoked_at: datetime = NOW - DAY / 2
    extensions: list[tuple[x509.ExtensionType, bool]] = field(default_factory=list)
    entry_extensions: list[tuple[x509.ExtensionType, bool]] = field(default_factory=list)

    @functools.cached_property
    def crl(self) -> x509.CertificateRevocationList:
        """The CRL; the plan must not change afterwards."""
        signer = self.signer or self.issuer.key
        issuer_name = self.issuer_name or self.issuer.subject
        builder = x509.CertificateRevocationListBuilder(issuer_name, self.start, self.end)
        authority = x509.AuthorityKeyIdentifier(key_id(signer), None, None)
        if self.issuer.key_ids:
            builder = builder.add_extension(authority, False)
        builder = builder.add_extension(x509.CRLNumber(self.number), False)
        for extension, critical in self.extensions:
            builder = builder.add_extension(extension, critical)
        for serial in self.serials:
            entry = x509.RevokedCertificateBuilder(serial, self.revoked_at)
            for extension, critical in self.entry_extensions:
                entry = entry.add_extension(extension, critical)
            builder = builder.add_revoked_certificate(entry.build())
        signing_key = key(signer)
        hashed = isinstance(signing_key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey))
        digest = hashes.SHA224() if self.weak else hashes.SHA256()
        return builder.sign(signing_key, digest if hashed else None)


@dataclass
class Chain:
    """What is presented to a verifier."""

    variations: tuple[str, ...]
    leaf: x509.Certificate
    sent: list[x509.Certificate]
    anchors: list[x509.Certificate]
    crls: list[x509.CertificateRevocationList]
    at: datetime = NOW

    def __str__(self) -> str:
        return " + ".join(self.variations) or "nothing special"


@dataclass
class Draft:
    """A chain that is still open to change."""

    random: Random
    anchors: list[Plan]
    cas: list[Plan]  # intermediates, from the anchor downwards
    leaf: Plan
    extras: list[Plan] = field(default_factory=list)
    crls: list[CRLPlan] = field(default_factory=list)
    missing: set[Plan] = field(default_factory=set)
    order: str = "upwards"
    taken: int = 0

    @property
    def issuers(self) -> list[Plan]:
        """The anchor and the intermediates."""
        return [self.anchors[0], *self.cas]

    @property
    def everyone(self) -> list[Plan]:
        """All certificates of the path."""
        return [*self.issuers, self.leaf]

    def new_key(self, family: str = "p256") -> str:
        """The name of a key that no other certificate of this chain has."""
        self.taken += 1
        sizes = {"rsa": "rsa2048", "mldsa": f"mldsa{(44, 65, 87)[self.taken % 3]}"}
        if family == "mldsa" and not has_ml_dsa():
            family = "p256"
        return f"{sizes.get(family, family)}-{self.taken % (4 if family in sizes else 40)}"

    def plan(self, subject: str | x509.Name, issuer: Plan | None, **changes: Any) -> Plan:
        """A further CA, not yet sent."""
        changes.setdefault("key", self.new_key())
        subject = name(subject) if isinstance(subject, str) else subject
        serial = self.random.getrandbits(100) | 1
        return Plan(subject=subject, issuer=issuer, serial=serial, **changes)

    def build(self, variations: Sequence[str]) -> Chain:
        """Make the certificates."""
        sent = [plan for plan in reversed(self.cas) if plan not in self.missing] + self.extras
        if self.order == "downwards":
            sent.reverse()
        elif self.order == "shuffled":
            self.random.shuffle(sent)
        return Chain(
            variations=tuple(variations),
            leaf=self.leaf.certificate,
            sent=[plan.certificate for plan in sent],
            anchors=[plan.certificate for plan in self.anchors],
            crls=[plan.crl for plan in self.crls],
        )


def draft(random: Random, *, depth: int | None = None) -> Draft:
    """An ordinary chain with *depth* intermediates, by default up to three."""
    family = random.choice(FAMILIES)
    depth = random.choice((0, 1, 1, 1, 2, 2, 3)) if depth is None else depth
    made = Draft(random, [], [], leaf=Plan(name("CN=none"), "p256-0"))

    def kind() -> str:
        return random.choice(_MIX) if family == "mixed" else family

    made.anchors = [made.plan("CN=Root,O=Example,C=DE", None, key=made.new_key(kind()))]
    for number in range(depth):
        above = made.issuers[-1]
        subject = f"CN=CA {number},O=Example,C=DE"
        made.cas.append(made.plan(subject, above, key=made.new_key(kind())))
    made.leaf = made.plan(
        "CN=app,OU=Web,O=Example,C=DE",
        made.issuers[-1],
        key=made.new_key(kind()),
        ca=False,
        usage=LEAFBITS,
    )
    if random.random() < 0.4:
        names = [x509.DNSName("app.example.org"), x509.DNSName("app.example.com")]
        made.leaf.extensions.append((x509.SubjectAlternativeName(names), False))
    return made


UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")


def common_name(subject: x509.Name) -> str:
    """The CN of *subject*."""
    return str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

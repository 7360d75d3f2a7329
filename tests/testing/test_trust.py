"""Trust of certificates; the verdicts on paths are compared with ``openssl verify``."""

from __future__ import annotations

import contextlib
import ipaddress
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import chains
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ObjectIdentifier
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rolesanywhere_auth._x509 import read_certificate
from rolesanywhere_auth.testing.authority import CertificateAuthority
from rolesanywhere_auth.testing.service import algorithms, trust
from rolesanywhere_auth.testing.service.wire import Refusal

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=timezone.utc)
DAY = timedelta(days=1)
KEYS = [ec.generate_private_key(ec.SECP256R1()) for _ in range(8)]
UNTRUSTED = "Untrusted signing certificate"
INSUFFICIENT = "Untrusted certificate. Insufficient certificate"


def clock() -> datetime:
    """The time of this file."""
    return NOW


@dataclass
class Node:
    """A certificate with its key, made with `cryptography` alone, so that it can be odd."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass
class Spec:
    """What differs from an ordinary CA, or from an ordinary leaf."""

    ca: bool | None = True
    path_length: int | None = None
    usage: str | None = "key_cert_sign"
    start: datetime = NOW - DAY
    end: datetime = NOW + DAY
    digest: Any = field(default_factory=hashes.SHA256)
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = ()
    key: int | None = None


LEAF = Spec(ca=False, usage="digital_signature")


def make(name: str, issuer: Node | None, spec: Spec, *, signed_by: Node | None = None) -> Node:
    """A certificate for *name* (``CN=…``, perhaps with O), self-signed without issuer."""
    key = KEYS[sum(map(ord, name)) % len(KEYS) if spec.key is None else spec.key]
    subject = x509.Name.from_rfc4514_string(name) if name else x509.Name([])
    builder = x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=subject if issuer is None else issuer.certificate.subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=spec.start,
        not_valid_after=spec.end,
    )
    if spec.ca is not None:
        constraints = x509.BasicConstraints(ca=spec.ca, path_length=spec.path_length)
        builder = builder.add_extension(constraints, critical=True)
    if spec.usage is not None:
        bits = {bit: bit == spec.usage for bit in chains.BITS}
        builder = builder.add_extension(x509.KeyUsage(**bits), critical=True)
    for extension, critical in spec.extensions:
        builder = builder.add_extension(extension, critical)
    signer = signed_by or issuer
    # openssl finds the right one of several CAs of one name by these.
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer_key = (signer.key if signer else key).public_key()
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key)
    builder = builder.add_extension(key_id, False).add_extension(issuer_id, False)
    return Node(builder.sign(signer.key if signer else key, spec.digest), key)


def pem(certificates: Sequence[x509.Certificate]) -> str:
    """The certificates in PEM."""
    encoding = serialization.Encoding.PEM
    return "".join(certificate.public_bytes(encoding).decode() for certificate in certificates)


@dataclass
class Case:
    """What is presented, and to which anchors."""

    leaf: Node
    chain: Sequence[Node]
    anchors: Sequence[Node]

    def ours(self, at: datetime = NOW) -> bool:
        """The verdict of `find_path` and on the validity of the leaf."""
        try:
            self.path(at)
            trust._check_validity(self.leaf.certificate, at)
        except Refusal:
            return False
        return True

    def path(self, at: datetime = NOW) -> tuple[x509.Certificate, ...]:
        """The path that `find_path` finds."""
        certificates = [[n.certificate for n in nodes] for nodes in (self.chain, self.anchors)]
        return trust.find_path(self.leaf.certificate, *certificates, at=at)

    def openssls(self, folder: Path, at: datetime = NOW) -> bool:
        """The verdict of ``openssl verify``."""
        command = ["openssl", "verify", "-partial_chain", "-attime", str(int(at.timestamp()))]
        command += ["-no-CApath", "-no-CAstore"]
        for option, nodes in (("-CAfile", self.anchors), ("-untrusted", self.chain)):
            if nodes:
                file = folder / f"{option[1:]}.pem"
                file.write_text(pem([node.certificate for node in nodes]))
                command += [option, str(file)]
        leaf = folder / "leaf.pem"
        leaf.write_text(pem([self.leaf.certificate]))
        done = subprocess.run([*command, str(leaf)], capture_output=True, check=False)
        return done.returncode == 0


def refused(function: Callable[[], Any], message: str, cause: str = "") -> None:
    """The call is refused with *message*, for the reason *cause*."""
    with pytest.raises(Refusal) as raised:
        function()
    assert raised.value.message == message
    assert cause in str(raised.value.__cause__)


# Paths


def simple(spec: Spec = LEAF, *, root: Spec | None = None) -> Case:
    """A leaf directly below a root."""
    anchor = make("CN=Root", None, root or Spec())
    return Case(make("CN=leaf", anchor, spec), [], [anchor])


def below(*specs: Spec, leaf: Spec = LEAF, root: Spec | None = None, skip: int = -1) -> Case:
    """A leaf below intermediates (from the root downwards), one of them not sent."""
    anchor = issuer = make("CN=Root", None, root or Spec())
    chain: list[Node] = []
    for number, spec in enumerate(specs):
        issuer = make(f"CN=CA {number}", issuer, spec)
        chain.append(issuer)
    sent = [node for number, node in enumerate(chain) if number != skip]
    return Case(make("CN=leaf", issuer, leaf), sent[::-1], [anchor])


def other_key() -> Case:
    """The right names, signed by a key that is not the anchor's."""
    case = simple()
    impostor = Node(case.anchors[0].certificate, KEYS[7])
    leaf = make("CN=leaf", case.anchors[0], LEAF, signed_by=impostor)
    return Case(leaf, [], case.anchors)


def tampered() -> Case:
    """The last bit of the leaf's signature is wrong."""
    case = simple()
    der = bytearray(case.leaf.certificate.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    return Case(Node(x509.load_der_x509_certificate(bytes(der)), KEYS[0]), [], case.anchors)


def other_name() -> Case:
    """Signed by the anchor's key, but it names another issuer."""
    root = make("CN=Root", None, Spec(key=0))
    renamed = make("CN=Other", None, Spec(key=0))
    return Case(make("CN=leaf", renamed, LEAF), [], [root])


def same_name_twice() -> Case:
    """Two roots of one name, as in a rotation of keys; the second one issued the leaf."""
    old, new = (make("CN=Root", None, Spec(key=key)) for key in (0, 1))
    return Case(make("CN=leaf", new, LEAF), [], [old, new])


def same_name_chain() -> Case:
    """Two intermediates of one name, of which the second one leads up."""
    root = make("CN=Root", None, Spec())
    stranger = make("CN=CA", make("CN=Elsewhere", None, Spec()), Spec(key=3))
    ca = make("CN=CA", root, Spec(key=4))
    return Case(make("CN=leaf", ca, LEAF), [stranger, ca], [root])


def intermediate_as_anchor(path_length: int | None = None) -> Case:
    """The anchor is an intermediate; its issuer is unknown."""
    root = make("CN=Root", None, Spec())
    ca = make("CN=CA", root, Spec(path_length=path_length))
    return Case(make("CN=leaf", ca, LEAF), [], [ca])


def loop() -> Case:
    """Two intermediates that certified each other lead nowhere."""
    first = make("CN=A", None, Spec())
    second = make("CN=B", first, Spec())
    first = make("CN=A", second, Spec())
    return Case(make("CN=leaf", second, LEAF), [first, second], [make("CN=Root", None, Spec())])


def self_issued() -> Case:
    """A CA's new key, certified by its old one, does not count for pathLen."""
    root = make("CN=Root", None, Spec())
    old = make("CN=CA", root, Spec(path_length=0, key=1))
    new = make("CN=CA", old, Spec(key=2))
    return Case(make("CN=leaf", new, LEAF), [new, old], [root])


def constrained(
    *names: x509.GeneralName,
    permitted: Sequence[x509.GeneralName] | None = None,
    excluded: Sequence[x509.GeneralName] | None = None,
    subject: str = "CN=leaf",
) -> Case:
    """A leaf with SAN *names* below a CA with name constraints."""
    root = make("CN=Root", None, Spec())
    extension = x509.NameConstraints(permitted, excluded)
    ca = make("CN=CA", root, Spec(extensions=[(extension, True)]))
    spec = Spec(ca=False, usage="digital_signature")
    if names:
        spec.extensions = [(x509.SubjectAlternativeName(names), False)]
    return Case(make(subject, ca, spec), [ca], [root])


def directory(text: str) -> x509.DirectoryName:
    """A directoryName."""
    return x509.DirectoryName(x509.Name.from_rfc4514_string(text))


def address(text: str) -> x509.IPAddress:
    """An iPAddress: a host, or a network for a constraint."""
    kind = ipaddress.ip_network if "/" in text else ipaddress.ip_address
    return x509.IPAddress(kind(text))


DNS, URI, MAIL = x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name
UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
POLICIES = x509.CertificatePolicies(
    [x509.PolicyInformation(ObjectIdentifier("1.3.6.1.4.1.55555.2"), None)]
)


def reversed_chain() -> Case:
    """Three intermediates, sent from the root downwards."""
    case = below(Spec(), Spec(), Spec())
    return Case(case.leaf, case.chain[::-1], case.anchors)


def with_root() -> Case:
    """The root sent along in the chain."""
    case = below(Spec())
    return Case(case.leaf, [*case.chain, *case.anchors], case.anchors)


def self_issued_outside() -> Case:
    """A CA that may only certify O=A has a new key certified under its own name, O=B."""
    root = make("CN=Root", None, Spec())
    extension = x509.NameConstraints([directory("O=A")], None)
    old = make("CN=CA,O=B", root, Spec(key=1, extensions=[(extension, True)]))
    new = make("CN=CA,O=B", old, Spec(key=2))
    return Case(make("CN=leaf,O=A", new, LEAF), [new, old], [root])


def self_issued_leaf_outside() -> Case:
    """A CA that may only certify O=A makes a leaf of its own name, O=B."""
    root = make("CN=Root", None, Spec())
    extension = x509.NameConstraints([directory("O=A")], None)
    ca = make("CN=CA,O=B", root, Spec(key=1, extensions=[(extension, True)]))
    return Case(make("CN=CA,O=B", ca, LEAF), [ca], [root])


CASES: dict[str, tuple[Callable[[], Case], bool]] = {
    "leaf below root": (simple, True),
    "one intermediate": (lambda: below(Spec()), True),
    "five intermediates": (lambda: below(*[Spec()] * 5), True),
    "chain in the wrong order": (reversed_chain, True),
    "root sent along": (with_root, True),
    "intermediate as anchor": (intermediate_as_anchor, True),
    "intermediate with pathLen as anchor": (lambda: intermediate_as_anchor(0), True),
    "two roots of one name": (same_name_twice, True),
    "two intermediates of one name": (same_name_chain, True),
    "no anchor": (lambda: Case(simple().leaf, [], []), False),
    "another anchor": (
        lambda: Case(simple().leaf, [], [make("CN=Stranger", None, Spec())]),
        False,
    ),
    "intermediate not sent": (lambda: below(Spec(), skip=0), False),
    "upper intermediate not sent": (lambda: below(Spec(), Spec(), skip=0), False),
    "lower intermediate not sent": (lambda: below(Spec(), Spec(), skip=1), False),
    "loop": (loop, False),
    "signed by another key": (other_key, False),
    "broken signature": (tampered, False),
    "names another issuer": (other_name, False),
    "leaf expired": (lambda: simple(Spec(False, usage=None, end=NOW - DAY / 2)), False),
    "leaf not yet valid": (lambda: simple(Spec(False, usage=None, start=NOW + DAY / 2)), False),
    "root expired": (lambda: simple(root=Spec(end=NOW - DAY / 2)), False),
    "intermediate expired": (lambda: below(Spec(end=NOW - DAY / 2)), False),
    "intermediate not yet valid": (lambda: below(Spec(start=NOW + DAY / 2)), False),
    "issuer is no CA": (lambda: below(Spec(ca=False)), False),
    "issuer has no basicConstraints": (lambda: below(Spec(ca=None)), False),
    "root is no CA": (lambda: simple(root=Spec(ca=False)), False),
    "issuer may not sign certificates": (lambda: below(Spec(usage="crl_sign")), False),
    "issuer has no keyUsage": (lambda: below(Spec(usage=None)), True),
    "pathLen 0, leaf below": (lambda: below(Spec(path_length=0)), True),
    "pathLen 0, CA below": (lambda: below(Spec(path_length=0), Spec()), False),
    "pathLen 1, CA below": (lambda: below(Spec(path_length=1), Spec()), True),
    "pathLen 1, two CAs below": (lambda: below(Spec(path_length=1), Spec(), Spec()), False),
    "root's pathLen": (lambda: below(Spec(), root=Spec(path_length=0)), False),
    "self-issued CA does not count": (self_issued, True),
    "unknown critical extension, leaf": (
        lambda: simple(Spec(False, usage=None, extensions=[(UNKNOWN, True)])),
        False,
    ),
    "unknown critical extension, CA": (lambda: below(Spec(extensions=[(UNKNOWN, True)])), False),
    "unknown critical extension, root": (
        lambda: simple(root=Spec(extensions=[(UNKNOWN, True)])),
        False,
    ),
    "unknown extension": (lambda: below(Spec(extensions=[(UNKNOWN, False)])), True),
    "critical policies": (lambda: below(Spec(extensions=[(POLICIES, True)])), True),
    "DNS permitted": (lambda: constrained(DNS("a.b.example"), permitted=[DNS("b.example")]), True),
    "DNS itself": (lambda: constrained(DNS("B.example"), permitted=[DNS("b.example")]), True),
    "DNS not permitted": (
        lambda: constrained(DNS("ab.example"), permitted=[DNS("b.example")]),
        False,
    ),
    "DNS excluded": (lambda: constrained(DNS("a.example"), excluded=[DNS("example")]), False),
    "all DNS excluded": (lambda: constrained(DNS("a.example"), excluded=[DNS("")]), False),
    "other kind is free": (lambda: constrained(URI("https://x/"), permitted=[DNS("a")]), True),
    "DN permitted": (
        lambda: constrained(permitted=[directory("O=A,C=DE")], subject="CN=x,O=A,C=DE"),
        True,
    ),
    "DN not permitted": (
        lambda: constrained(permitted=[directory("O=A,C=DE")], subject="CN=x,O=B,C=DE"),
        False,
    ),
    "DN in SAN excluded": (
        lambda: constrained(directory("CN=x,O=A"), excluded=[directory("O=A")]),
        False,
    ),
    "self-issued CA is exempt from constraints": (self_issued_outside, True),
    "empty subject": (
        lambda: constrained(DNS("a"), permitted=[directory("O=A"), DNS("a")], subject=""),
        True,
    ),
    "URI permitted": (
        lambda: constrained(URI("https://a.example/x"), permitted=[URI(".example")]),
        True,
    ),
    "URI host": (lambda: constrained(URI("https://Example:8/x"), permitted=[URI("example")]), True),
    "URI not permitted": (
        lambda: constrained(URI("https://a.example/x"), permitted=[URI("example")]),
        False,
    ),
    "URI without a host": (
        lambda: constrained(URI("urn:example:app"), excluded=[URI("example")]),
        False,
    ),
    "mail at host": (lambda: constrained(MAIL("a@B.example"), permitted=[MAIL("b.example")]), True),
    "mail at subdomain": (
        lambda: constrained(MAIL("a@b.example"), permitted=[MAIL("example")]),
        False,
    ),
    "mailbox": (lambda: constrained(MAIL("a@b"), excluded=[MAIL("a@b")]), False),
    "another mailbox": (lambda: constrained(MAIL("c@b"), excluded=[MAIL("a@b")]), True),
    "self-issued leaf is not exempt from constraints": (self_issued_leaf_outside, False),
    "mail in subject": (
        lambda: constrained(
            permitted=[MAIL("b.example")], subject="1.2.840.113549.1.9.1=a@c.example"
        ),
        False,
    ),
    "address permitted": (
        lambda: constrained(address("10.1.2.3"), permitted=[address("10.0.0.0/8")]),
        True,
    ),
    "address excluded": (
        lambda: constrained(address("10.1.2.3"), excluded=[address("10.0.0.0/8")]),
        False,
    ),
}


@pytest.mark.conformance(
    "CreateSession: Names, signatures, validity, CA flags, key usages, path lengths, name "
    "constraints and critical extensions count as `openssl verify` has them.",
    source="RFC 5280, 6.1",
    check="path to the trust anchor",
)
@pytest.mark.parametrize("name", CASES)
def test_verdicts_on_paths_are_openssls(name: str, tmp_path: Path) -> None:
    """We accept and refuse the paths that ``openssl verify`` accepts and refuses."""
    build, expected = CASES[name]
    case = build()
    assert (case.openssls(tmp_path), case.ours()) == (expected, expected)


@pytest.mark.conformance("CreateSession", source="RFC 5280, 6.1", check="path to the trust anchor")
@pytest.mark.parametrize("moment", ["start", "end"])
@pytest.mark.parametrize("seconds", [-1, 1])
def test_the_limits_of_validity_are_openssls(tmp_path: Path, moment: str, seconds: int) -> None:
    """A second before and after both ends of the validity we say what openssl says."""
    case = simple()
    at = NOW + (DAY if moment == "end" else -DAY) + timedelta(seconds=seconds)
    assert case.ours(at) == case.openssls(tmp_path, at)


@pytest.mark.conformance(
    "CreateSession", source="RFC 5280, 4.1.2.5", check="path to the trust anchor"
)
def test_both_ends_belong_to_the_validity() -> None:
    """RFC 5280, 4.1.2.5: both ends count (openssl leaves out the last second)."""
    case = simple()
    assert case.ours(NOW - DAY)
    assert case.ours(NOW + DAY)


def test_the_path_is_given_from_leaf_to_anchor() -> None:
    """Intermediates that are not needed are not in it."""
    case = below(Spec(), Spec())
    stranger = make("CN=Stranger", None, Spec())
    chain = [stranger, *case.chain]
    expected = [case.leaf, *case.chain, *case.anchors]
    found = Case(case.leaf, chain, [stranger, *case.anchors]).path()
    assert list(found) == [node.certificate for node in expected]


@pytest.mark.conformance(
    "CreateSession",
    source="observed",
    check="path to the trust anchor",
    text="Untrusted signing certificate",
)
def test_a_refusal_carries_its_reason() -> None:
    """The text is AWS's; the cause tells what is wrong."""
    for case, reason in (
        (below(Spec(), skip=0), "the issuer is CN=CA 0"),
        (below(Spec(end=NOW - DAY / 2)), "CN=CA 0 is not valid at 2026-05-04T12:00:00Z"),
        (below(Spec(ca=False)), "CN=CA 0 is no CA"),
        (below(Spec(usage="crl_sign")), "keyCertSign"),
        (below(Spec(path_length=0), Spec()), "CN=CA 0 allows 0 CAs below it, not 1"),
        (other_key(), "CN=leaf is of another issuer, says its authorityKeyIdentifier"),
        (tampered(), "CN=leaf is not signed by the key of its issuer"),
        (simple(root=Spec(extensions=[(UNKNOWN, True)])), "1.3.6.1.4.1.55555.1"),
        (constrained(DNS("a"), excluded=[DNS("a")]), "outside the name constraints of CN=CA"),
    ):
        refused(case.path, UNTRUSTED, reason)


@pytest.mark.conformance("CreateSession", source="UG/trust-model", check="path to the trust anchor")
@pytest.mark.parametrize("digest", [hashes.SHA224(), hashes.SHA384(), hashes.SHA512()])
def test_sha224_is_too_weak(digest: Any) -> None:
    """SHA-256 is the least, for leaves and intermediates; an anchor's own signature is nothing."""
    strong = digest.digest_size >= 32
    assert simple(Spec(ca=False, usage=None, digest=digest)).ours() is strong
    assert below(Spec(digest=digest)).ours() is strong
    assert simple(root=Spec(digest=digest)).ours()


@pytest.mark.conformance("CreateSession", source="UG/trust-model", check="path to the trust anchor")
@pytest.mark.parametrize("flaw", ["sha1", "md5"])
def test_sha1_and_md5_are_too_weak(flaw: Any) -> None:
    """The service takes neither, although the signatures are right."""
    authority = CertificateAuthority(key_type="rsa-2048", now=clock)
    leaf = authority.issue_flawed(flaw)
    anchors = [authority.certificate]
    refused(
        lambda: trust.find_path(leaf.certificate, [], anchors, at=NOW), UNTRUSTED, "weaker than"
    )
    refused(lambda: trust.check_leaf(leaf.certificate, at=NOW), INSUFFICIENT, "weaker than SHA-256")


@pytest.mark.conformance("CreateTrustAnchor", source="UG/trust-model")
def test_a_version_1_root_is_no_anchor(tmp_path: Path) -> None:
    """Certificates without extensions cannot say that they are CAs."""
    key, certificate = tmp_path / "key.pem", tmp_path / "root.pem"
    key.write_bytes(
        KEYS[0].private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    request = ["openssl", "req", "-new", "-key", str(key), "-subj", "/CN=Old"]
    sign = ["openssl", "x509", "-req", "-signkey", str(key), "-days", "9", "-out", str(certificate)]
    csr = subprocess.run(request, capture_output=True, check=True).stdout
    subprocess.run(sign, input=csr, capture_output=True, check=True)
    root = Node(x509.load_pem_x509_certificate(certificate.read_bytes()), KEYS[0])
    at = root.certificate.not_valid_before_utc
    leaf = make("CN=leaf", root, Spec(ca=False, usage=None, start=at, end=at + DAY))
    refused(lambda: Case(leaf, [], [root]).path(at), UNTRUSTED, "version 3")
    refused(
        lambda: trust.load_anchor_bundle(certificate.read_text()),
        "CA certificate must be X.509 version 3",
    )


@pytest.mark.conformance(
    "CreateSession", source="UG/authentication", check="path to the trust anchor"
)
@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p384", "ec-p521", "ml-dsa-65"])
def test_all_kinds_of_keys_make_paths(key_type: Any) -> None:
    """RSA, the EC curves and ML-DSA, for CAs and for leaves."""
    if key_type.startswith("ml-dsa"):
        pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    root = CertificateAuthority(key_type=key_type, now=clock)
    leaf = root.intermediate(key_type=key_type).issue(key_type=key_type)
    path = trust.find_path(leaf.certificate, leaf.chain, [root.certificate], at=NOW)
    assert path == (leaf.certificate, *leaf.chain, root.certificate)
    trust.check_leaf(leaf.certificate, at=NOW)
    assert trust.load_anchor_bundle(root.certificate_pem) == (root.certificate,)


def renamed_algorithm(old: str, new: str, *, count: int, key_type: Any = "ec-p256") -> Case:
    """A leaf whose signature algorithm is replaced in *count* of the two places, signed anew."""
    root = CertificateAuthority(key_type=key_type, now=clock)
    leaf = root.issue().certificate
    der = leaf.public_bytes(serialization.Encoding.DER)
    places = [bytes.fromhex(oid) for oid in (old, new)]
    assert der.count(places[0]) == 2
    odd = der.replace(*places, count)
    anchor = Node(root.certificate, KEYS[0])
    return Case(Node(x509.load_der_x509_certificate(odd), KEYS[0]), [], [anchor])


SHA256, SHA512 = "06082a8648ce3d040302", "06082a8648ce3d040304"
RSA_SHA256 = "06092a864886f70d01010b0500"
ML_DSA_44, ML_DSA_65 = "0609608648016503040311", "0609608648016503040312"


@pytest.mark.conformance(
    "CreateSession", source="RFC 5280, 4.1.1.2", check="path to the trust anchor"
)
def test_the_two_names_of_the_signature_algorithm_must_agree() -> None:
    """RFC 5280, 4.1.1.2: the one inside what is signed, and the one beside the signature."""
    case = renamed_algorithm(SHA256, SHA512, count=1)
    refused(case.path, UNTRUSTED, "is not signed by the key of its issuer")

    # Also where the signature is right, over the wrong name and all.
    case = simple()
    content = case.leaf.certificate.tbs_certificate_bytes
    assert content.count(bytes.fromhex(SHA256)) == 1
    content = content.replace(bytes.fromhex(SHA256), bytes.fromhex(SHA512))
    signature = case.anchors[0].key.sign(content, ec.ECDSA(hashes.SHA256()))
    algorithm = tlv(0x30, bytes.fromhex(SHA256))
    der = tlv(0x30, content + algorithm + tlv(0x03, b"\0" + signature))
    odd = Node(x509.load_der_x509_certificate(der), KEYS[0])
    refused(Case(odd, [], case.anchors).path, UNTRUSTED, "is not signed by the key of its issuer")


def tlv(tag: int, content: bytes) -> bytes:
    """One element of DER, shorter than 64 KiB."""
    size = len(content)
    length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


@pytest.mark.conformance(
    "CreateSession", source="UG/authentication", check="path to the trust anchor"
)
@pytest.mark.parametrize("key_name", ["p256-1", "rsa2048-1", "mldsa44-1"])
def test_a_signature_with_a_wrong_bit_is_refused(key_name: str) -> None:
    """By a key of whatever kind; without the wrong bit there is a path."""
    if key_name.startswith("mldsa") and not chains.has_ml_dsa():
        pytest.skip("this cryptography has no ML-DSA")
    for broken in (False, True):
        made = chains.draft(Random(key_name), depth=0)
        made.anchors[0].key = key_name
        made.leaf.broken = broken
        chain = made.build(())
        case = partial(trust.find_path, chain.leaf, chain.sent, chain.anchors, at=chain.at)
        if broken:
            refused(case, UNTRUSTED, "is not signed by the key of its issuer")
        else:
            assert case() == (chain.leaf, chain.anchors[0])


def test_a_signature_without_a_hash_of_its_own_is_no_error() -> None:
    """Ed25519 names no hash; it is none of the service's, in leaf and path."""
    made = chains.draft(Random("ed25519"), depth=0)
    made.anchors[0].key = "ed25519-1"
    chain = made.build(())
    path = partial(trust.find_path, chain.leaf, chain.sent, chain.anchors, at=chain.at)
    refused(path, UNTRUSTED, "weaker than SHA-256")
    refused(partial(trust.check_leaf, chain.leaf, at=chain.at), INSUFFICIENT, "weaker than SHA-256")


@pytest.mark.conformance("CreateSession", source="RFC 5280, 6.1", check="path to the trust anchor")
def test_a_signature_must_be_of_the_kind_of_the_key() -> None:
    """An EC signature under an RSA key's name, one of ML-DSA-44 under the name of ML-DSA-65."""
    wide = "300d" + RSA_SHA256
    other = "300d06092a8648ce3d040302000000"  # as long, and nothing known
    case = renamed_algorithm(wide, other, count=2, key_type="rsa-2048")
    refused(case.path, UNTRUSTED, "weaker than SHA-256")
    root = CertificateAuthority(key_type="rsa-2048", now=clock).certificate
    named = x509.Name(root.subject)
    leaf = make(
        "CN=leaf", Node(make(named.rfc4514_string(), None, Spec()).certificate, KEYS[0]), LEAF
    )
    bare = algorithms.check_signature
    with pytest.raises(TypeError, match="not of the key's kind"):
        bare(leaf.certificate, root)


def test_a_signature_under_the_name_of_another_ml_dsa_is_refused() -> None:
    """Although the key itself would confirm it."""
    pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    case = renamed_algorithm(ML_DSA_44, ML_DSA_65, count=2, key_type="ml-dsa-44")
    with pytest.raises(TypeError, match="not ML-DSA's"):
        algorithms.check_signature(case.leaf.certificate, case.anchors[0].certificate)
    refused(case.path, UNTRUSTED, "is not signed by the key of its issuer")


@pytest.mark.conformance("CreateSession", source="choice", check="path to the trust anchor")
def test_a_ca_with_a_key_that_the_service_does_not_take_issues_nothing() -> None:
    """secp256k1, although `cryptography` could check it."""
    key = ec.generate_private_key(ec.SECP256K1())
    root = make("CN=Root", None, Spec())
    builder = x509.CertificateBuilder(
        root.certificate.subject,
        root.certificate.subject,
        key.public_key(),
        7,
        NOW - DAY,
        NOW + DAY,
    )
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    odd = builder.add_extension(constraints, critical=True).sign(key, hashes.SHA256())
    leaf = make("CN=leaf", Node(odd, key), LEAF)  # type: ignore[arg-type]
    refused(Case(leaf, [], [Node(odd, key)]).path, UNTRUSTED, "CN=Root: the key is not RSA")


@pytest.mark.conformance("CreateSession", source="RFC 5280, 6.1", check="path to the trust anchor")
def test_a_required_certificate_policy_is_asked_for() -> None:
    """A path without any policy fails where a CA requires one."""
    required = x509.PolicyConstraints(0, None)
    case = below(Spec(extensions=[(required, True)]))
    refused(case.path, UNTRUSTED, "requires an explicit certificate policy")


@pytest.mark.conformance(
    "CreateSession", source="RFC 5280, 4.2.1.10", check="path to the trust anchor"
)
def test_a_uri_that_is_none_cannot_be_judged() -> None:
    """Under a constraint on URIs, a malformed one is refused."""
    case = constrained(URI("https://[a"), excluded=[URI("b")])
    refused(case.path, UNTRUSTED, "'https://[a' is no URI, but URIs are constrained")


@pytest.mark.conformance(
    "CreateSession", source="RFC 5280, 4.2.1.10", check="path to the trust anchor"
)
@pytest.mark.parametrize(
    "uri", ["urn:example:app", "https://10.1.2.3/x", "https://[2001:db8::1]/x"]
)
def test_a_uri_without_a_host_name_is_refused_under_a_constraint(uri: str) -> None:
    """RFC 5280: one without a host name, or with an address, must be rejected."""
    case = constrained(URI(uri), excluded=[URI("example")])
    refused(case.path, UNTRUSTED, "has no host name, but URIs are constrained")


@pytest.mark.conformance("CreateSession", source="RFC 5280, 6.1", check="path to the trust anchor")
def test_a_registered_id_under_a_constraint_cannot_be_judged() -> None:
    """A kind of name that is constrained and not known here is refused, not let pass."""
    oid = x509.RegisteredID(ObjectIdentifier("1.2.3"))
    refused(constrained(oid, excluded=[oid]).path, UNTRUSTED, "cannot be judged here")


GOOD = below(Spec())


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@settings(deadline=None, max_examples=150)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_certificate_with_a_wrong_byte_is_refused_and_never_crashes(
    place: int, value: int
) -> None:
    """Whatever byte of the leaf is exchanged, there is no path for it."""
    der = bytearray(GOOD.leaf.certificate.public_bytes(serialization.Encoding.DER))
    place %= len(der)
    assume(der[place] != value)
    der[place] = value
    try:
        odd = read_certificate(bytes(der), extensions=True)
    except ValueError:
        return
    refused(Case(Node(odd, GOOD.leaf.key), GOOD.chain, GOOD.anchors).path, UNTRUSTED)
    with contextlib.suppress(Refusal):
        trust.check_leaf(odd, at=NOW)


# Leaves


@pytest.mark.conformance(
    "CreateSession",
    source="UG/trust-model",
    check="leaf",
    text="Untrusted certificate. Insufficient certificate",
)
@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        ("ca-true", "basicConstraints is CA:TRUE"),
        ("no-digital-signature", "keyUsage lacks digitalSignature"),
        ("no-key-usage", "keyUsage lacks digitalSignature"),
        ("empty-subject", "the subject is empty"),
        ("sha1", "weaker than SHA-256"),
        ("version-1", "not X.509 version 3"),
    ],
)
def test_an_unfit_leaf_is_insufficient(flaw: Any, reason: str) -> None:
    """The rules of the user guide's trust model, in AWS's one sentence."""
    leaf = CertificateAuthority(now=clock).issue_flawed(flaw, dns_names=["a.example"])
    refused(lambda: trust.check_leaf(leaf.certificate, at=NOW), INSUFFICIENT, reason)


@pytest.mark.conformance("CreateSession", source="UG/authentication + choice", check="leaf")
@pytest.mark.parametrize("key_type", ["ed25519", "ec-secp256k1"])
def test_a_leaf_with_an_unusable_key_is_insufficient(key_type: Any) -> None:
    """Ed25519 and secp256k1 are no keys of the service."""
    leaf = CertificateAuthority(now=clock).issue(key_type=key_type)
    refused(lambda: trust.check_leaf(leaf.certificate, at=NOW), INSUFFICIENT, "the key is not RSA")


def test_a_key_that_cannot_be_read_is_insufficient() -> None:
    """A certificate with a key of a kind unknown to `cryptography` is refused, not an error."""
    leaf = CertificateAuthority(now=clock).issue()
    der = leaf.certificate.public_bytes(serialization.Encoding.DER)
    known, unknown = bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0209")
    assert der.count(known) == 1
    odd = x509.load_der_x509_certificate(der.replace(known, unknown))
    refused(lambda: trust.check_leaf(odd, at=NOW), INSUFFICIENT, "the key is not RSA")


def test_a_signature_of_unknown_kind_is_insufficient() -> None:
    """So is one whose signature algorithm nobody knows."""
    leaf = CertificateAuthority(now=clock).issue()
    der = leaf.certificate.public_bytes(serialization.Encoding.DER)
    known, unknown = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d04037f")
    assert der.count(known) == 2
    odd = x509.load_der_x509_certificate(der.replace(known, unknown))
    refused(lambda: trust.check_leaf(odd, at=NOW), INSUFFICIENT, "weaker than SHA-256")


@pytest.mark.conformance("CreateSession", source="UG/trust-model", check="leaf")
@pytest.mark.parametrize("client_auth", [True, False])
def test_extended_key_usage_and_basic_constraints_are_not_needed(client_auth: bool) -> None:
    """Neither is asked for by the user guide."""
    leaf = CertificateAuthority(now=clock).issue(client_auth=client_auth, key_type="rsa-1024")
    trust.check_leaf(leaf.certificate, at=NOW)
    bare = simple(Spec(ca=None, usage="digital_signature")).leaf
    trust.check_leaf(bare.certificate, at=NOW)


@pytest.mark.conformance(
    "CreateSession", source="UG/trust-model + choice", check="leaf", text="Certificate expired at …"
)
@pytest.mark.conformance(
    "CreateSession",
    source="UG/trust-model + choice",
    check="leaf",
    text="Certificate not valid before …",
)
def test_an_expired_leaf_and_one_of_tomorrow() -> None:
    """Both have a path, and are refused with the date."""
    authority = CertificateAuthority(now=clock)
    for flaw, message in (
        ("expired", "Certificate expired at 2026-05-03T12:00:00Z"),
        ("not-yet-valid", "Certificate not valid before 2026-05-05T12:00:00Z"),
    ):
        leaf = authority.issue_flawed(flaw)  # type: ignore[arg-type]
        anchors = [authority.certificate]
        refused(lambda c=leaf.certificate: trust.check_leaf(c, at=NOW), message)
        assert trust.find_path(leaf.certificate, [], anchors, at=NOW)


# Anchors


@pytest.mark.conformance("CreateTrustAnchor, UpdateTrustAnchor", source="UG/quotas")
def test_a_bundle_may_have_two_anchors() -> None:
    """Two certificates, for a rotation, but not three."""
    roots = [make(f"CN=Root {n}", None, Spec()).certificate for n in range(3)]
    assert trust.load_anchor_bundle(pem(roots[:2])) == tuple(roots[:2])
    refused(
        lambda: trust.load_anchor_bundle(pem(roots)),
        "x509CertificateData has 3 certificates; a trust anchor takes at most 2",
    )


@pytest.mark.conformance("CreateTrustAnchor, UpdateTrustAnchor", source="choice")
@pytest.mark.parametrize(
    "text", ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_bundle_without_certificates_is_invalid(text: str) -> None:
    """The bundle must be PEM with at least one certificate."""
    message = "x509CertificateData must be one or two certificates in PEM"
    with pytest.raises(Refusal) as raised:
        trust.load_anchor_bundle(text)
    assert (raised.value.status, raised.value.code) == (400, "ValidationException")
    assert raised.value.message == message


def test_a_bundle_with_an_unreadable_extension_is_invalid() -> None:
    """Two extensions of one kind, which RFC 5280 forbids; and a name of bits."""
    certificate = make("CN=Root", None, Spec()).certificate
    der = certificate.public_bytes(serialization.Encoding.DER)
    for odd in (
        der.replace(bytes.fromhex("0603551d0e"), bytes.fromhex("0603551d23")),
        der.replace(b"\x0c\x04Root", b"\x03\x04\x00oot"),
    ):
        assert odd != der
        text = pem([x509.load_der_x509_certificate(odd)])
        refused(
            lambda text=text: trust.load_anchor_bundle(text),
            "x509CertificateData must be one or two certificates in PEM",
        )


@pytest.mark.conformance(
    "CreateTrustAnchor, UpdateTrustAnchor: A CA certificate is version 3, CA:TRUE, may sign "
    "certificates and is signed with SHA-256 or stronger; the text about basic constraints is "
    "AWS's, the others are ours.",
    source="observed + UG/trust-model",
    text="Incorrect basic constraints for CA certificate",
)
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (Spec(ca=False), "Incorrect basic constraints for CA certificate"),
        (Spec(ca=None), "Incorrect basic constraints for CA certificate"),
        (Spec(usage="crl_sign"), "CA certificate must have the key usage Certificate Sign"),
        (Spec(usage=None), "CA certificate must have the key usage Certificate Sign"),
        (Spec(digest=hashes.SHA224()), "CA certificate must be signed with SHA-256 or stronger"),
    ],
)
def test_an_unfit_anchor_is_invalid(spec: Spec, message: str) -> None:
    """The rules for CA certificates in the user guide's trust model."""
    certificate = make("CN=Root", None, spec).certificate
    refused(lambda: trust.check_anchor(certificate), message)
    refused(lambda: trust.load_anchor_bundle(pem([certificate])), message)

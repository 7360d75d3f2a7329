from __future__ import annotations

import base64
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolesanywhere_auth import _matching
from rolesanywhere_auth.certificates import Certificate, check_leaf, issuers
from rolesanywhere_auth.errors import (
    CertificateExpiredError,
    CertificateLoadError,
    CertificateNotYetValidError,
    CertificateRequirementError,
)
from rolesanywhere_auth.testing import CertificateAuthority

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
KEYS = {
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "rsa": rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}
_USAGES = """digital_signature content_commitment key_encipherment data_encipherment key_agreement
    key_cert_sign crl_sign encipher_only decipher_only"""
USAGE = dict.fromkeys(_USAGES.split(), False)
SIGNING = x509.KeyUsage(**{**USAGE, "digital_signature": True})


def name(text: str) -> x509.Name:
    """A subject or issuer with one common name, or an empty one."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def build(
    subject: str = "leaf",
    issuer: str = "CA",
    *,
    key: Any = KEYS["p256"],
    signer: Any = KEYS["p256"],
    digest: Any = hashes.SHA256(),  # noqa: B008
    extensions: tuple[x509.ExtensionType, ...] = (SIGNING,),
    serial: int = 1,
    days: tuple[float, float] = (-1, 30),
    **kwargs: Any,
) -> x509.Certificate:
    """A certificate as cryptography builds it."""
    builder = x509.CertificateBuilder(
        issuer_name=name(issuer),
        subject_name=name(subject),
        public_key=key.public_key(),
        serial_number=serial,
        not_valid_before=NOW + timedelta(days=days[0]),
        not_valid_after=NOW + timedelta(days=days[1]),
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer, digest, **kwargs)


def read(certificate: x509.Certificate) -> Certificate:
    """Our reading of a certificate that cryptography built."""
    return Certificate.from_der(certificate.public_bytes(Encoding.DER), source="test")


def make_ca(
    subject: str, issuer: str, key: Any, signer: Any, *, ids: bool = True, **kwargs: Any
) -> x509.Certificate:
    """A CA certificate, with or without key ids."""
    extensions: tuple[x509.ExtensionType, ...] = (x509.BasicConstraints(ca=True, path_length=None),)
    if ids:
        extensions += (
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
        )
    return build(subject, issuer, key=key, signer=signer, extensions=extensions, **kwargs)


def extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> Any:
    """An extension as cryptography reads it, or None."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def assert_agrees(ours: Certificate, theirs: x509.Certificate) -> None:
    """Every field is what cryptography reads from the same bytes."""
    basic = extension(theirs, x509.BasicConstraints)
    usage = extension(theirs, x509.KeyUsage)
    subject_key = extension(theirs, x509.SubjectKeyIdentifier)
    authority_key = extension(theirs, x509.AuthorityKeyIdentifier)

    assert ours.serial_number == theirs.serial_number
    assert ours.version == theirs.version.value + 1
    assert ours.subject == theirs.subject.public_bytes()
    assert ours.issuer == theirs.issuer.public_bytes()
    assert ours.not_valid_before == theirs.not_valid_before_utc
    assert ours.not_valid_after == theirs.not_valid_after_utc
    assert ours.signature_algorithm == theirs.signature_algorithm_oid.dotted_string
    assert ours.public_key_algorithm == theirs.public_key_algorithm_oid.dotted_string
    assert ours.public_key_info == theirs.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    assert ours.is_ca is bool(basic and basic.ca)
    assert (ours.key_usage is None) is (usage is None)
    assert ours.digital_signature is bool(usage and usage.digital_signature)
    assert ours.subject_key_id == (subject_key and subject_key.digest)
    assert ours.authority_key_id == (authority_key and authority_key.key_identifier)
    assert ours.encoded == base64.b64encode(theirs.public_bytes(Encoding.DER)).decode()
    assert ours.subject_text == (theirs.subject.rfc4514_string() or "(empty subject)")
    assert ours.issuer_text == (theirs.issuer.rfc4514_string() or "(empty issuer)")


usages = st.fixed_dictionaries({each: st.booleans() for each in list(USAGE)[:7]}).map(
    lambda chosen: x509.KeyUsage(**{**USAGE, **chosen})
)
optional_extensions = st.tuples(
    st.none() | usages,
    st.none() | st.booleans().map(lambda ca: x509.BasicConstraints(ca=ca, path_length=None)),
    st.none() | st.just(x509.BasicConstraints(ca=True, path_length=3)),
    st.none() | st.binary(min_size=1, max_size=40).map(x509.SubjectKeyIdentifier),
    st.none()
    | st.binary(min_size=1, max_size=40).map(
        lambda key: x509.AuthorityKeyIdentifier(key, None, None)
    )
    | st.just(x509.AuthorityKeyIdentifier(None, [x509.DNSName("x")], 7)),
    st.none() | st.text(st.characters(codec="ascii"), max_size=300).map(
        lambda text: x509.SubjectAlternativeName([x509.UniformResourceIdentifier(text)])
    ),
)  # fmt: skip


def unique(extensions: tuple[x509.ExtensionType | None, ...]) -> tuple[x509.ExtensionType, ...]:
    """No extension twice."""
    return tuple({type(each): each for each in extensions if each is not None}.values())


@settings(max_examples=150, deadline=None)
@given(
    subject=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=16),
    key=st.sampled_from(sorted(KEYS)),
    signer=st.sampled_from(["p256", "p384", "ed25519"]),
    serial=st.integers(1, 2**159 - 1),
    start=st.floats(-20_000, 20_000),
    length=st.floats(0, 800_000),
    extensions=optional_extensions,
)
def test_fields_agree_with_cryptography(
    subject: str, key: str, signer: str, serial: int, start: float, length: float, extensions: Any
) -> None:
    """Our reader and cryptography's read the same from generated certificates."""
    certificate = build(
        subject,
        key=KEYS[key],
        signer=KEYS[signer],
        digest=None if signer == "ed25519" else hashes.SHA384(),
        serial=serial,
        days=(start, start + length),
        extensions=unique(extensions),
    )

    assert_agrees(read(certificate), certificate)


SAMPLES = [
    build(extensions=(SIGNING, x509.BasicConstraints(ca=False, path_length=None))),
    make_ca("CA", "root", KEYS["rsa"], KEYS["p384"]),
    build("", extensions=()),
]


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # one that RFC 5280 forbids
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sample=st.sampled_from(SAMPLES),
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 2), st.binary(max_size=3)),
        min_size=1,
        max_size=3,
    ),
)
def test_damaged(sample: x509.Certificate, edits: list[tuple[float, int, bytes]]) -> None:
    """Damage leads to CertificateLoadError, or to what cryptography reads as well."""
    der = bytearray(sample.public_bytes(Encoding.DER))
    for where, removed, inserted in edits:
        at = int(where * len(der))
        der[at : at + removed] = inserted
    ours = readable(bytes(der))
    theirs = readable_by_cryptography(bytes(der))
    if ours is None:
        return
    assert ours.subject_text
    if theirs is None:
        return
    basic = extension(theirs, x509.BasicConstraints)

    assert ours.serial_number == theirs.serial_number
    assert ours.issuer == theirs.issuer.public_bytes()
    assert ours.not_valid_after == theirs.not_valid_after_utc
    assert ours.is_ca is bool(basic and basic.ca)


def readable(der: bytes) -> Certificate | None:
    """What we read from it; nothing if, and only if, the typed error says so."""
    try:
        return Certificate.from_der(der, source="file.pem")
    except CertificateLoadError:
        return None


def readable_by_cryptography(der: bytes) -> x509.Certificate | None:
    """What cryptography reads from it, if it can make sense of every part."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = certificate.public_key(), certificate.extensions, certificate.subject
        _ = certificate.issuer, certificate.not_valid_after_utc
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, TypeError, Warning):
        return None
    except KeyError:  # of cryptography 45, for a string in a name that is of no known type
        return None
    return certificate


def test_every_truncation() -> None:
    """No beginning of a certificate is taken for one, and neither is one with a tail."""
    der = SAMPLES[0].public_bytes(Encoding.DER)

    for length in range(len(der)):
        with pytest.raises(CertificateLoadError):
            Certificate.from_der(der[:length], source="x")
    with pytest.raises(CertificateLoadError, match=r"^chain\.pem: .* goes on at byte"):
        Certificate.from_der(der + b"\n", source="chain.pem")


def openssl(*arguments: str, cwd: Path) -> bytes:
    """Run openssl, and give its output."""
    run = subprocess.run(["openssl", *arguments], cwd=cwd, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a key of openssl's making."""
    directory = tmp_path_factory.mktemp("openssl")
    openssl("genrsa", "-out", "key.pem", "2048", cwd=directory)
    return directory


def self_made(workshop: Path, *arguments: str) -> Certificate:
    """A self-signed end-entity certificate of openssl's making."""
    der = openssl(
        "req", "-x509", "-key", "key.pem", "-subj", "/CN=self", "-outform", "DER",
        "-addext", "keyUsage=digitalSignature", "-addext", "basicConstraints=CA:FALSE", *arguments,
        cwd=workshop,
    )  # fmt: skip
    return Certificate.from_der(der, source="self.der")


@pytest.mark.parametrize(
    ("arguments", "weak"),
    [
        (["-sha256"], None),
        (["-sha512"], None),
        (["-sha1"], "SHA-1"),
        (["-md5"], "MD5"),
        (["-sha224"], "SHA-224"),
        (["-sha256", "-sigopt", "rsa_padding_mode:pss"], None),
        (["-sha1", "-sigopt", "rsa_padding_mode:pss"], "SHA-1"),
        (["-sha224", "-sigopt", "rsa_padding_mode:pss"], "SHA-224"),
    ],
)
def test_weak_digests(workshop: Path, arguments: list[str], weak: str | None) -> None:
    """SHA-1, MD5 and SHA-224 are refused with the remedy, also inside RSASSA-PSS."""
    leaf = self_made(workshop, *arguments)

    assert leaf.weak_digest == weak
    if weak is None:
        check_leaf(leaf, now=leaf.not_valid_before, source="self.der")
    else:
        with pytest.raises(CertificateRequirementError, match=rf"self\.der: .*CN=self.*{weak}"):
            check_leaf(leaf, now=leaf.not_valid_before, source="self.der")


def test_pss_of_cryptography() -> None:
    """A PSS signature that cryptography writes is read as well."""
    leaf = read(
        build(
            signer=KEYS["rsa"],
            rsa_padding=padding.PSS(padding.MGF1(hashes.SHA512()), padding.PSS.DIGEST_LENGTH),
            digest=hashes.SHA512(),
        )
    )

    assert leaf.weak_digest is None


def test_version_1(workshop: Path) -> None:
    """An X.509 v1 certificate is read, and refused as leaf."""
    openssl("req", "-new", "-key", "key.pem", "-subj", "/CN=old", "-out", "r.csr", cwd=workshop)
    der = openssl(
        "x509", "-req", "-in", "r.csr", "-signkey", "key.pem", "-outform", "DER", cwd=workshop
    )
    leaf = Certificate.from_der(der, source="old")

    assert_agrees(leaf, x509.load_der_x509_certificate(der))
    with pytest.raises(CertificateRequirementError, match="v1"):
        check_leaf(leaf, now=leaf.not_valid_before, source="old")


@pytest.mark.parametrize(
    ("certificate", "expected"),
    [
        (make_ca("CA", "root", KEYS["p256"], KEYS["p384"]), "CA certificate"),
        (build(extensions=()), "has no keyUsage extension"),
        (build(extensions=(x509.KeyUsage(**{**USAGE, "key_encipherment": True}),)),
         "keyUsage without digitalSignature"),
        (build(""), "empty subject"),
    ],
)  # fmt: skip
def test_requirements(certificate: x509.Certificate, expected: str) -> None:
    """What the service refuses is an error here that names the certificate and the remedy."""
    with pytest.raises(CertificateRequirementError, match=expected) as caught:
        check_leaf(read(certificate), now=NOW, source="leaf.pem")

    assert caught.value.source == "leaf.pem"
    assert "serial number 1" in str(caught.value)
    assert str(caught.value).startswith("leaf.pem: ")
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("offset", "error"),
    [
        (timedelta(days=-1, seconds=-1), CertificateNotYetValidError),
        (timedelta(days=-1), None),
        (timedelta(days=30), None),
        (timedelta(days=30, seconds=1), CertificateExpiredError),
    ],
)
def test_validity(offset: timedelta, error: type[Exception] | None) -> None:
    """The first and the last second belong to the validity period (RFC 5280 4.1.2.5)."""
    leaf = read(build())
    if error is None:
        check_leaf(leaf, now=NOW + offset, source="leaf.pem")
    else:
        with pytest.raises(error, match=r"leaf\.pem.*CN=leaf.*now 2026-0"):
            check_leaf(leaf, now=NOW + offset, source="leaf.pem")


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh key."""
    return ec.generate_private_key(ec.SECP256R1())


def signed_by(signer: Any, issuer: str, *, ids: bool = True) -> Certificate:
    """A leaf."""
    extensions: tuple[x509.ExtensionType, ...] = (SIGNING,)
    if ids:
        extensions += (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),)
    return read(build("leaf", issuer, signer=signer, extensions=extensions))


def ladder(count: int, *, ids: bool) -> tuple[Certificate, list[Certificate]]:
    """A leaf and its CAs upwards, of which the last is the root."""
    keys = [new_key() for _ in range(count)]
    last = count - 1
    authorities = [
        read(make_ca(f"CA {n}", f"CA {min(n + 1, last)}", keys[n], keys[min(n + 1, last)], ids=ids))
        for n in range(count)
    ]
    return signed_by(keys[0], "CA 0", ids=ids), authorities


def order_chain(leaf: Certificate, others: list[Certificate]) -> tuple[Certificate, ...]:
    """The chain of a leaf that stood in leaf.pem."""
    return _matching.order_chain(leaf, others, source="leaf.pem")


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("step", [1, -1])
def test_chain(ids: bool, step: int) -> None:
    """Intermediates come upwards, without leaf, root, strangers and doubles."""
    leaf, authorities = ladder(4, ids=ids)
    stranger = read(make_ca("stranger", "root", new_key(), new_key()))
    pool = [leaf, *authorities, stranger, *authorities][::step]

    assert order_chain(leaf, pool) == tuple(authorities[:3])


def test_chain_limit() -> None:
    """Five intermediates are sent; six are an error that says where and what to do."""
    leaf, authorities = ladder(7, ids=True)

    with pytest.raises(
        CertificateRequirementError, match=r"^leaf\.pem: the certificate CN=leaf .*chain of 6 inter"
    ) as caught:
        order_chain(leaf, authorities)
    assert caught.value.source == "leaf.pem"
    assert order_chain(leaf, authorities[:5]) == tuple(authorities[:5])


def test_chain_with_a_gap() -> None:
    """The chain ends where the next certificate is missing."""
    leaf, authorities = ladder(4, ids=True)

    assert order_chain(leaf, [authorities[0], authorities[2]]) == (authorities[0],)
    assert order_chain(leaf, authorities[1:]) == ()


def test_chain_needs_authorities() -> None:
    """A certificate that is no CA does not become an intermediate, whatever its name."""
    key = new_key()
    impostor = read(build("CA", "root", key=key))

    assert order_chain(signed_by(key, "CA", ids=False), [impostor]) == ()


@pytest.mark.parametrize("ids", [True, False])
def test_two_authorities_of_one_name(ids: bool) -> None:
    """Of two CAs with one name the key id decides, or else the signature."""
    keys = [new_key(), new_key()]
    candidates = [read(make_ca("CA", "root", key, new_key(), ids=ids)) for key in keys]

    for key, expected in zip(keys, candidates, strict=True):
        assert order_chain(signed_by(key, "CA", ids=ids), candidates) == (expected,)
    assert order_chain(signed_by(new_key(), "CA", ids=ids), candidates) == ()


def name_as(text: str, kind: _ASN1Type) -> x509.Name:
    """A name of one common name, in a string of this type."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text, _type=kind)])


@pytest.mark.parametrize(
    ("subject", "kind", "ids", "sent"),
    [
        ("My CA", _ASN1Type.PrintableString, True, True),
        ("MY  ca", _ASN1Type.UTF8String, True, True),
        ("My other CA", _ASN1Type.UTF8String, True, False),
        ("My CA", _ASN1Type.PrintableString, False, False),
    ],
    ids=["other string", "other letters", "another name", "no key ids"],
)
def test_issuers_name_spelled_otherwise(
    subject: str, kind: _ASN1Type, ids: bool, sent: bool
) -> None:
    """A name may be written otherwise in what it issued, if the key ids agree (RFC 5280 7.1)."""
    key = new_key()
    built = make_ca("My CA", "root", key, new_key(), ids=ids)
    builder = x509.CertificateBuilder(
        issuer_name=built.issuer,
        subject_name=name_as(subject, kind),
        public_key=built.public_key(),
        serial_number=1,
        not_valid_before=built.not_valid_before_utc,
        not_valid_after=built.not_valid_after_utc,
    )
    for each in built.extensions:
        builder = builder.add_extension(each.value, critical=each.critical)
    authority = read(builder.sign(key, hashes.SHA256()))
    leaf = signed_by(key, "My CA", ids=ids)

    assert authority.subject != leaf.issuer
    assert issuers([leaf], [authority]) == ([authority] if ids else [])
    assert order_chain(leaf, [authority]) == ((authority,) if sent else ())


def test_key_id_on_one_side_only() -> None:
    """A CA without a key id still serves a leaf that names one; a wrong id does not."""
    key = new_key()
    plain = read(make_ca("CA", "root", key, new_key(), ids=False))
    other = read(make_ca("CA", "root", new_key(), new_key(), ids=True))

    assert order_chain(signed_by(key, "CA"), [other, plain]) == (plain,)
    assert order_chain(signed_by(key, "CA"), [other]) == ()


def test_signature_of_a_key_that_cannot_sign() -> None:
    """A candidate of the same name with a key of another kind is not taken."""
    key = new_key()
    right = read(make_ca("CA", "root", key, new_key(), ids=False))
    wrong = read(make_ca("CA", "root", KEYS["rsa"], new_key(), ids=False))

    assert order_chain(signed_by(key, "CA", ids=False), [wrong, right]) == (right,)


def test_signature_of_a_key_that_cannot_be_read() -> None:
    """Nor is one whose key is of a kind that cryptography does not know."""
    key = new_key()
    right = read(make_ca("CA", "root", key, new_key(), ids=False))
    other = make_ca("CA", "root", new_key(), new_key(), ids=False)
    ec_key, unknown = bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0209")
    der = other.public_bytes(Encoding.DER).replace(ec_key, unknown)
    wrong = Certificate.from_der(der, source="test")

    assert order_chain(signed_by(key, "CA", ids=False), [wrong, right]) == (right,)


def test_renewed_and_cross_signed_authority() -> None:
    """Of certificates for one CA key: the cross certificate, and of equals the later one."""
    key, other = new_key(), new_key()
    root = read(make_ca("CA", "CA", key, key, days=(-1, 900)))
    short = read(make_ca("CA", "other", key, other, days=(-1, 10)))
    long = read(make_ca("CA", "other", key, other, days=(-1, 90)))
    leaf = signed_by(key, "CA")

    assert order_chain(leaf, [root, short, long]) == (long,)
    assert order_chain(leaf, [root]) == ()


def test_key_rollover() -> None:
    """A CA certificate with its own name as issuer but another key is no root: it is sent."""
    old, new = new_key(), new_key()
    rolled = read(make_ca("CA", "CA", new, old))
    root = read(make_ca("CA", "CA", old, old))

    assert not rolled.is_self_signed
    assert root.is_self_signed
    assert order_chain(signed_by(new, "CA"), [root, rolled]) == (rolled,)


def test_loop() -> None:
    """Two CAs that certified each other do not make an endless chain."""
    one, two = new_key(), new_key()
    first = read(make_ca("one", "two", one, two))
    second = read(make_ca("two", "one", two, one))

    assert order_chain(signed_by(one, "one"), [first, second]) == (first, second)


def test_self_signed_leaf() -> None:
    """A self-signed leaf has no chain."""
    key = new_key()
    leaf = read(build("same", "same", key=key, signer=key))

    assert order_chain(leaf, [read(make_ca("same", "same", key, key))]) == ()


def test_representation_is_short() -> None:
    """The repr holds no DER."""
    assert len(repr(read(build()))) < 500


@pytest.mark.parametrize("number", [3, 18, 255])
def test_unknown_version(number: int) -> None:
    """A version beyond v3 is refused when it is read."""
    der = build().public_bytes(Encoding.DER)
    v3 = b"\xa0\x03\x02\x01\x02"

    assert der.count(v3) == 1
    with pytest.raises(CertificateLoadError, match=r"unknown X\.509 version"):
        Certificate.from_der(der.replace(v3, v3[:-1] + bytes([number])), source="x")


def test_extension_twice() -> None:
    """A certificate with one extension twice is refused (RFC 5280 4.2)."""
    key_id = x509.SubjectKeyIdentifier(b"\x03\x02\x07\x80")
    der = build(extensions=(SIGNING, key_id)).public_bytes(Encoding.DER)

    assert der.count(b"\x55\x1d\x0e") == 1
    with pytest.raises(CertificateLoadError, match="is there twice"):
        Certificate.from_der(der.replace(b"\x55\x1d\x0e", b"\x55\x1d\x0f"), source="x")


def test_unreadable_name() -> None:
    """A name that cryptography refuses does not spoil a message."""
    der = build("abc").public_bytes(Encoding.DER)
    broken = Certificate.from_der(der.replace(b"\x0c\x03abc", b"\x0c\x03\xff\xff\xff"), source="x")

    assert broken.subject_text == "(unreadable subject, serial number 1)"
    bits = Certificate.from_der(der.replace(b"\x0c\x03abc", b"\x03\x03\x00bc"), source="x")
    assert bits.subject_text == "(unreadable subject, serial number 1)"


def test_what_stands_above() -> None:
    """Issuers by name, up to the root, each once; nobody else."""
    root = CertificateAuthority()
    upper = root.intermediate("Upper")
    lower = upper.intermediate("Lower")
    leaf = lower.issue().certificate
    pool = [
        Certificate.from_der(each.public_bytes(Encoding.DER), source="test")
        for each in (
            leaf,
            root.certificate,
            CertificateAuthority().intermediate("Other").certificate,
            upper.certificate,
            lower.certificate,
            lower.certificate,
        )
    ]

    found = issuers([pool[0]], pool)

    assert [each.der for each in found] == [pool[4].der, pool[3].der, pool[1].der]

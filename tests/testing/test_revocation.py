"""Revocation lists: which are taken at import, and what they do at the next sign-in."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, ObjectIdentifier

from rolesanywhere_auth.testing.authority import CertificateAuthority
from rolesanywhere_auth.testing.service import revocation, trust
from rolesanywhere_auth.testing.service.wire import Refusal

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=timezone.utc)
DAY = timedelta(days=1)
KEY = ec.generate_private_key(ec.SECP256R1())
UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")


def clock() -> datetime:
    """The time of this file."""
    return NOW


def pem(certificates: Sequence[x509.Certificate]) -> str:
    """The certificates in PEM."""
    encoding = serialization.Encoding.PEM
    return "".join(certificate.public_bytes(encoding).decode() for certificate in certificates)


def refused(function: Callable[[], Any], message: str, cause: str = "") -> None:
    """The call is refused with *message*, for the reason *cause*."""
    with pytest.raises(Refusal) as raised:
        function()
    assert raised.value.message == message
    assert cause in str(raised.value.__cause__)


@dataclass
class Revocation:
    """A root, an intermediate, two leaves below it."""

    root: CertificateAuthority
    ca: CertificateAuthority
    path: tuple[x509.Certificate, ...]
    other: tuple[x509.Certificate, ...]


@pytest.fixture
def pki() -> Revocation:
    """A fresh PKI, as revoking changes it."""
    root = CertificateAuthority(now=clock)
    ca = root.intermediate()
    above = (ca.certificate, root.certificate)
    return Revocation(
        root, ca, (ca.issue("a").certificate, *above), (ca.issue("b").certificate, *above)
    )


@pytest.mark.conformance(
    "CreateSession", source="observed", check="revocation", text="Certificate revoked"
)
def test_a_revoked_leaf_is_refused(pki: Revocation, tmp_path: Path) -> None:
    """The leaf on its CA's list is refused, another one is not; openssl agrees."""
    pki.ca.revoke(pki.path[0])
    crls = [revocation.load_crl(pki.ca.crl_pem().encode())]
    refused(
        lambda: revocation.check_revocation(pki.path, crls, at=NOW),
        "Certificate revoked",
        f"CN=a, serial {pki.path[0].serial_number}, is on the CRL of CN=Test Intermediate CA",
    )
    revocation.check_revocation(pki.other, crls, at=NOW)
    assert not openssl_accepts(tmp_path, pki.path, pki.ca.crl_pem())
    assert openssl_accepts(tmp_path, pki.other, pki.ca.crl_pem())


def openssl_accepts(folder: Path, path: Sequence[x509.Certificate], crl: str) -> bool:
    """The verdict of ``openssl verify -crl_check`` on the leaf of *path*."""
    files = {"leaf": pem(path[:1]), "chain": pem(path[1:-1]), "root": pem(path[-1:]), "crl": crl}
    for name, text in files.items():
        (folder / name).write_text(text)
    command = ["openssl", "verify", "-crl_check", "-attime", str(int(NOW.timestamp()))]
    command += ["-CAfile", "root", "-untrusted", "chain", "-CRLfile", "crl", "leaf"]
    return not subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode


@pytest.mark.conformance("CreateSession", source="choice", check="revocation")
def test_a_revoked_intermediate_is_refused(pki: Revocation) -> None:
    """All below a revoked CA are refused."""
    pki.root.revoke(pki.ca)
    crls = [revocation.load_crl(pki.root.crl_der())]
    for path in (pki.path, pki.other):
        refused(lambda p=path: revocation.check_revocation(p, crls, at=NOW), "Certificate revoked")


@pytest.mark.conformance("CreateSession", source="choice", check="revocation")
def test_foreign_crls_do_not_count(pki: Revocation) -> None:
    """Neither another CA's list, nor one of the right name with another's signature."""
    serial_number = pki.path[0].serial_number
    namesake = CertificateAuthority("Test Intermediate CA", now=clock)
    strange = CertificateAuthority("Test Intermediate CA", key_type="rsa-2048", now=clock)
    for authority in (pki.root, namesake, strange):
        authority.revoke(serial_number)
    crls = [revocation.load_crl(ca.crl_der()) for ca in (pki.root, namesake, strange)]
    revocation.check_revocation(pki.path, crls, at=NOW)


@pytest.mark.conformance("CreateSession", source="choice", check="revocation")
def test_an_outdated_crl_counts_and_a_future_one_does_not(pki: Revocation) -> None:
    """Past nextUpdate it still revokes; before thisUpdate it does not yet."""
    pki.ca.revoke(pki.path[0])
    old = revocation.load_crl(pki.ca.crl_der(last_update=NOW - 2 * DAY, next_update=NOW - DAY))
    refused(lambda: revocation.check_revocation(pki.path, [old], at=NOW), "Certificate revoked")
    revocation.check_revocation(pki.other, [old], at=NOW)
    future = revocation.load_crl(pki.ca.crl_der(last_update=NOW + DAY))
    revocation.check_revocation(pki.path, [future], at=NOW)
    refused(
        lambda: revocation.check_revocation(pki.path, [future], at=NOW + DAY), "Certificate revoked"
    )


@pytest.mark.conformance(
    "ImportCrl, UpdateCrl: A CRL is PEM or DER; other bytes are refused, in our words.",
    source="choice",
)
@pytest.mark.parametrize("data", [b"", b"hello", b"-----BEGIN X509 CRL-----\nAAAA\n"])
def test_what_is_no_crl_is_invalid(data: bytes) -> None:
    """A CRL is PEM or DER."""
    message = "crlData is not a certificate revocation list in PEM or DER"
    with pytest.raises(Refusal) as raised:
        revocation.load_crl(data)
    assert (raised.value.code, raised.value.message) == ("ValidationException", message)


def test_words_before_the_pem_are_skipped() -> None:
    """Tools that print a list for people leave the PEM below, as with certificates."""
    authority = CertificateAuthority("app")
    authority.revoke(7)
    text = "Certificate Revocation List (CRL):\n    Version 2 (0x1)\n" + authority.crl_pem()
    assert [entry.serial_number for entry in revocation.load_crl(text.encode())] == [7]


def test_list_with_an_unreadable_issuer_is_invalid() -> None:
    """The issuer is read late; it must not fail at the next CreateSession."""
    data = CertificateAuthority("app").crl_der()
    odd = data.replace(b"\x0c\x03app", b"\x03\x03\x00pp")
    assert odd != data
    with pytest.raises(Refusal, match="crlData is not a certificate revocation list"):
        revocation.load_crl(odd)


def crl(
    *extensions: tuple[x509.ExtensionType, bool],
    serial_number: int = 5,
    entry: Sequence[tuple[x509.ExtensionType, bool]] = (),
    issuer: x509.Name | None = None,
    key: Any = KEY,
    digest: Any = None,
) -> bytes:
    """A CRL with one entry, in DER, made with `cryptography` alone."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Root")])
    builder = x509.CertificateRevocationListBuilder(issuer or name, NOW, NOW + DAY)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    revoked = x509.RevokedCertificateBuilder(serial_number, NOW)
    for extension, critical in entry:
        revoked = revoked.add_extension(extension, critical)
    made = builder.add_revoked_certificate(revoked.build()).sign(key, digest or hashes.SHA256())
    return made.public_bytes(serialization.Encoding.DER)


def point(**parts: Any) -> x509.IssuingDistributionPoint:
    """The extension that limits what a list is about."""
    flags = ["user_certs", "ca_certs", "attribute_certs"]
    usual: dict[str, Any] = {f"only_contains_{flag}": False for flag in flags}
    usual |= {"full_name": None, "relative_name": None}
    usual |= {"only_some_reasons": None, "indirect_crl": False}
    return x509.IssuingDistributionPoint(**usual | parts)


INDIRECT = "crlData is indirect or of attribute certificates; import the CA's own list"
ODD = "crlData has critical extensions unknown here: 1.3.6.1.4.1.55555.1"


@pytest.mark.conformance(
    "ImportCrl, UpdateCrl: Delta and indirect lists, weak hashes and unknown critical extensions "
    "are refused at import.",
    source="choice",
)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (crl(digest=hashes.SHA224()), "crlData must be signed with SHA-256 or stronger"),
        *[
            (
                crl((x509.DeltaCRLIndicator(1), critical)),
                "crlData is a delta CRL; import the complete one",
            )
            for critical in (True, False)
        ],
        (crl((point(indirect_crl=True), True)), INDIRECT),
        (crl((point(only_contains_attribute_certs=True), True)), INDIRECT),
        (crl((UNKNOWN, True)), ODD),
        (crl(entry=[(UNKNOWN, True)]), ODD),
        (
            crl(entry=[(x509.CertificateIssuer([x509.DNSName("other")]), True)]),
            "crlData has critical extensions unknown here: 2.5.29.29",
        ),
    ],
)
def test_lists_that_mean_something_else_are_invalid(data: bytes, message: str) -> None:
    """A list that is only a part of one, or of other certificates, or not understood."""
    refused(lambda: revocation.load_crl(data), message)


@pytest.mark.conformance("ImportCrl, CreateSession", source="choice", check="revocation")
@pytest.mark.parametrize(
    "extension",
    [
        point(only_contains_user_certs=True),
        point(full_name=[x509.UniformResourceIdentifier("http://crl.example/1.crl")]),
        point(only_some_reasons=frozenset({x509.ReasonFlags.key_compromise})),
    ],
)
def test_a_partition_is_taken(pki: Revocation, extension: x509.IssuingDistributionPoint) -> None:
    """A list for a part of the certificates revokes those on it; AWS Private CA makes such."""
    data = crl(
        (extension, True),
        serial_number=pki.path[0].serial_number,
        issuer=pki.ca.certificate.subject,
        key=pki.ca._key,
    )
    lists = [revocation.load_crl(data)]
    refused(lambda: revocation.check_revocation(pki.path, lists, at=NOW), "Certificate revoked")
    revocation.check_revocation(pki.other, lists, at=NOW)


@pytest.mark.conformance("CreateSession", source="RFC 5280, 6.3.3", check="revocation")
def test_what_was_removed_from_the_list_is_not_revoked(pki: Revocation) -> None:
    """RFC 5280, 6.3.3 (k), about the reason removeFromCRL; any other reason revokes."""
    for reason in (x509.ReasonFlags.remove_from_crl, x509.ReasonFlags.certificate_hold):
        data = crl(
            serial_number=pki.path[0].serial_number,
            entry=[(x509.CRLReason(reason), True)],
            issuer=pki.ca.certificate.subject,
            key=pki.ca._key,
        )
        lists = [revocation.load_crl(data)]
        if reason is x509.ReasonFlags.remove_from_crl:
            revocation.check_revocation(pki.path, lists, at=NOW)
        else:
            refused(
                lambda lists=lists: revocation.check_revocation(pki.path, lists, at=NOW),
                "Certificate revoked",
            )


@pytest.mark.conformance("CreateSession", source="choice", check="revocation")
def test_another_key_of_the_ca_may_sign_the_list() -> None:
    """After a rotation the new key lists what the old one issued, if the anchor has both."""
    old, new = (CertificateAuthority(now=clock) for _ in range(2))
    leaf = old.issue().certificate
    new.revoke(leaf.serial_number)
    lists, path = [revocation.load_crl(new.crl_der())], (leaf, old.certificate)
    both = (old.certificate, new.certificate)
    revocation.check_revocation(path, lists, at=NOW, anchors=both[:1])
    refused(
        lambda: revocation.check_revocation(path, lists, at=NOW, anchors=both),
        "Certificate revoked",
    )


@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p384", "ml-dsa-65"])
def test_all_kinds_of_keys_sign_lists(key_type: Any) -> None:
    """RSA, EC and ML-DSA."""
    if key_type.startswith("ml-dsa"):
        pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    root = CertificateAuthority(key_type=key_type, now=clock)
    leaf = root.issue()
    path = trust.find_path(leaf.certificate, [], [root.certificate], at=NOW)
    root.revoke(leaf)
    lists = [revocation.load_crl(root.crl_der())]
    refused(lambda: revocation.check_revocation(path, lists, at=NOW), "Certificate revoked")


# At the next sign-in

REVOKED = (403, "AccessDeniedException", "Certificate revoked")


@pytest.mark.conformance(
    "ImportCrl, EnableCrl, UpdateCrl, DisableCrl, DeleteCrl", source="observed", check="revocation"
)
def test_changes_of_a_list_count_at_the_next_call(emulator, create_session) -> None:
    """Import, enable, update, disable and delete; the list may be PEM or DER."""
    setup, client = emulator.set_up(), emulator.control_plane()
    clean = setup.authority.crl_pem().encode()
    setup.authority.revoke(setup.leaf)
    listing = setup.authority.crl_der()
    answer = client.import_crl(
        name="list", crlData=listing, trustAnchorArn=setup.trust_anchor_arn, enabled=False
    )
    crl_id = answer["crl"]["crlId"]
    assert create_session(setup).status == 201
    client.enable_crl(crlId=crl_id)
    assert create_session(setup).refusal == REVOKED
    client.update_crl(crlId=crl_id, crlData=clean)
    assert create_session(setup).status == 201
    client.update_crl(crlId=crl_id, crlData=setup.authority.crl_pem().encode())
    assert create_session(setup).refusal == REVOKED
    client.disable_crl(crlId=crl_id)
    assert create_session(setup).status == 201
    client.enable_crl(crlId=crl_id)
    client.delete_crl(crlId=crl_id)
    assert create_session(setup).status == 201


@pytest.mark.conformance("CreateSession", source="UG/quotas + choice", check="revocation")
def test_two_lists_of_one_anchor_both_count(emulator, create_session) -> None:
    """One of the root for the intermediate, one of the intermediate for the leaf."""
    root = CertificateAuthority(now=clock)
    ca = root.intermediate()
    setup, client = emulator.set_up(authority=ca, anchor=root), emulator.control_plane()
    leaves = [ca.issue("a"), ca.issue("b")]
    ca.revoke(leaves[0])
    arn = setup.trust_anchor_arn
    lists = [
        client.import_crl(
            name="list", crlData=authority.crl_der(), trustAnchorArn=arn, enabled=True
        )["crl"]["crlId"]
        for authority in (root, ca)
    ]
    assert create_session(setup, leaf=leaves[0]).refusal == REVOKED
    assert create_session(setup, leaf=leaves[1]).status == 201
    root.revoke(ca)
    client.update_crl(crlId=lists[0], crlData=root.crl_der())
    assert create_session(setup, leaf=leaves[1]).refusal == REVOKED


@pytest.mark.conformance(
    "CreateSession, UpdateTrustAnchor", source="UG/quotas", check="path to the trust anchor"
)
def test_a_rotated_anchor_takes_leaves_and_lists_of_both_certificates(
    emulator, create_session
) -> None:
    """The second certificate counts from the update on, the first one until it is taken out."""
    old, new = (CertificateAuthority(now=clock) for _ in range(2))
    setup, client = emulator.set_up(authority=old), emulator.control_plane()
    leaves = [old.issue("a"), new.issue("b")]

    def statuses() -> list[int]:
        return [create_session(setup, leaf=leaf).status for leaf in leaves]

    def certificates(*authorities: CertificateAuthority) -> None:
        bundle = "".join(authority.certificate_pem for authority in authorities)
        source = {
            "sourceType": "CERTIFICATE_BUNDLE",
            "sourceData": {"x509CertificateData": bundle},
        }
        anchor_id = setup.trust_anchor_arn.rpartition("/")[2]
        client.update_trust_anchor(trustAnchorId=anchor_id, source=source)

    assert statuses() == [201, 403]
    certificates(old, new)
    assert statuses() == [201, 201]
    new.revoke(leaves[0].certificate.serial_number)
    client.import_crl(
        name="list", crlData=new.crl_der(), trustAnchorArn=setup.trust_anchor_arn, enabled=True
    )
    assert statuses() == [403, 201]
    certificates(new)
    assert statuses() == [403, 201]

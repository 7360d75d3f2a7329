from __future__ import annotations

from dataclasses import replace
from typing import Any

import boto3
import pytest
import servers
from bench import Bench
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from test_moto_iam import private_ca, source

from rolesanywhere_auth import RolesAnywhereConfig, diagnose
from rolesanywhere_auth.diagnosis import Diagnosis
from rolesanywhere_auth.testing import CertificateAuthority
from rolesanywhere_auth.testing.service.state import CRL, TrustAnchor


def seen(
    bench: Bench, config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch, **settings: str
) -> Diagnosis:
    """A diagnosis with the administrator's keys; *settings* are environment variables."""
    settings = {"AWS_ENDPOINT_URL_IAM": bench.emulator.aws_endpoint_url, **settings}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    key_id, secret = bench.keys
    session = boto3.Session(aws_access_key_id=key_id, aws_secret_access_key=secret)
    return diagnose(config, administrator=session)


def test_good_set_up_is_well(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anchor, path, CRLs, profile, role and trust policy all pass, before the sign-in."""
    setup = bench.set_up(accept_role_session_name=True)

    found = seen(bench, bench.config(setup, role_session_name="my-name"), monkeypatch)

    assert found.ok, found
    assert not found.warnings
    names = [check.name for check in found.checks]
    passed = names[names.index("administrator") : names.index("session-tags")]
    assert len(passed) == 10
    assert {found[name].status for name in passed} == {"pass"}
    assert found["session-name"].evidence == "the profile accepts the name my-name"
    assert found["session-tags"].evidence.startswith("by the attribute mappings of this profile")


def test_what_may_not_be_read_is_a_warning(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator without a permission learns which; the sign-in is made all the same."""
    config = bench.config(endpoint_url=bench.emulator.aws_endpoint_url)
    bench.keys  # noqa: B018 - made while everything is allowed
    with bench.emulator.enforcing_iam():
        found = seen(bench, config, monkeypatch)

    assert found.ok, found
    # The first: moto hands GET /sessions to its S3, and that answers without headers of AWS.
    warned = [check.name for check in found.warnings]
    assert warned == ["service", "trust-anchor", "profile", "role"]
    assert (
        "rolesanywhere:GetTrustAnchor was refused: AccessDenied" in found["trust-anchor"].evidence
    )
    assert found["role"].fix == "allow the administrator iam:GetRole"
    assert found["trust-policy"].evidence == "needs profile, which could not be made"


def test_keys_that_are_wrong_are_no_lack_of_permission(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has expired keys is told to log in, and not to be given a policy."""
    config = bench.config(endpoint_url=bench.emulator.aws_endpoint_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_IAM", bench.emulator.aws_endpoint_url)
    stale = boto3.Session(aws_access_key_id="AKIANOBODY", aws_secret_access_key="x")
    with bench.emulator.enforcing_iam():
        found = diagnose(config, administrator=stale)["role"]

    assert found.status == "warn"
    assert found.evidence == "iam:GetRole was refused: InvalidClientTokenId"
    assert "log in with the profile" in found.fix


def test_service_that_does_not_answer_is_a_warning(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IAM may be out of reach from where the certificate is."""
    nowhere = f"http://127.0.0.1:{servers.closed_port()}"

    found = seen(bench, bench.config(), monkeypatch, AWS_ENDPOINT_URL_IAM=nowhere)

    assert found.ok
    assert found["role"].status == "warn"
    assert "iam:GetRole had no answer" in found["role"].evidence


def test_iam_of_aws_is_not_asked_about_an_emulator(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role of the same name at AWS is another one, and so says nothing."""
    found = seen(
        bench, bench.config(), monkeypatch, AWS_ENDPOINT_URL_IAM="https://iam.amazonaws.com"
    )

    assert found.ok
    assert found["role"].status == "warn"
    assert found["role"].fix.startswith("set AWS_ENDPOINT_URL_IAM")
    assert found["trust-policy"].evidence == "needs role, which could not be made"


def test_administrator_without_credentials(bench: Bench) -> None:
    """It is said before anything is asked."""
    found = diagnose(bench.config(proxies=None), administrator=boto3.Session())

    assert found.first_failure is not None
    assert found.first_failure.name == "administrator"
    assert found["trust-anchor"].evidence == "needs administrator, which failed"
    assert found["sign-in"].status == "pass"


def test_anchor_of_private_ca(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CA's certificate is not in the trust anchor: path and CRLs are left to the sign-in."""
    arn, _ = private_ca(bench.emulator)
    anchor = bench.emulator.control_plane().create_trust_anchor(
        name="private", source=source(arn), enabled=True
    )["trustAnchor"]["trustAnchorArn"]

    found = seen(bench, bench.config(trust_anchor_arn=anchor), monkeypatch)

    assert found["trust-anchor"].evidence.endswith("holds AWS_ACM_PCA")
    assert found["trust-path"].status == found["revocation"].status == "skipped"
    assert found["sign-in"].status == "fail"


def test_trust_anchor_of_the_same_name(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CA with the issuer's name and another key: nothing is said of a certificate between."""
    other = bench.emulator.create_trust_anchor(CertificateAuthority("Test Root CA"))

    found = seen(bench, bench.config(trust_anchor_arn=other), monkeypatch)["trust-path"]

    assert found.status == "fail"
    assert "was renewed with another key" in found.fix


def test_role_with_another_path(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """IAM finds roles by name alone; the ARN of the right name may be wrong."""
    role = bench.set_up().role_arn
    wrong = role.replace("role/", "role/team/")

    found = seen(bench, bench.config(bench.set_up(role_arn=wrong)), monkeypatch)

    assert found["role"].evidence == f"the ARN of the role app is {role}, not {wrong}"
    assert found["trust-policy"].evidence == "needs role, which failed"


def test_policy_that_cannot_be_judged(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator that the evaluator does not know is a warning, never a verdict."""
    setup = bench.trusting(condition={"StringResembles": {"aws:SourceArn": "x"}})

    found = seen(bench, bench.config(setup), monkeypatch)

    assert found["trust-policy"].status == "warn"
    assert "condition operator StringResembles is not known" in found["trust-policy"].evidence


def test_crls_of_other_anchors_do_not_count(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that lists the same serial number, of another CA; all pages are read."""
    setup, client = bench.set_up(), bench.emulator.control_plane()
    for number in range(3):
        other = bench.set_up(authority=CertificateAuthority(f"Other {number}"))
        other.authority.revoke(setup.leaf.serial_number)
        data: Any = other.authority.crl_der()
        client.import_crl(
            name="other", crlData=data, trustAnchorArn=other.trust_anchor_arn, enabled=True
        )
    client.import_crl(
        name="own",
        crlData=setup.authority.crl_der(),
        trustAnchorArn=setup.trust_anchor_arn,
        enabled=True,
    )

    found = seen(bench, bench.config(setup), monkeypatch)

    assert found.ok, found
    assert (
        found["revocation"].evidence == "CRLs of the trust anchor: 1; none lists this certificate"
    )


@pytest.mark.parametrize("what", ["trust-anchor", "revocation"])
def test_what_cannot_be_read_is_not_judged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The service may hold what is malformed for others: a warning, and no traceback."""
    setup = bench.set_up(authority=CertificateAuthority("app"))
    bench.emulator.control_plane().import_crl(
        name="own",
        crlData=setup.authority.crl_der(),
        trustAnchorArn=setup.trust_anchor_arn,
        enabled=True,
    )
    bits = (b"\x0c\x03app", b"\x03\x03\x00pp")
    state = bench.emulator.service.state
    (shelf,) = state.shelves()
    if what == "revocation":
        (crl,) = shelf.all(CRL)
        shelf.put(replace(crl, crl_data=crl.crl_data.replace(*bits)))
    else:
        (anchor,) = shelf.all(TrustAnchor)
        der = setup.authority.certificate.public_bytes(Encoding.DER).replace(*bits)
        pem = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()
        source = {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": pem}}
        shelf.put(replace(anchor, source=source))

    found = seen(bench, bench.config(setup), monkeypatch)

    assert found.ok, found
    assert found[what].status == "warn"
    assert "is malformed, and is not judged here" in found[what].evidence


def test_alias_is_asked_for_by_its_arn() -> None:
    """The identifier of a plain ARN is its UUID, that of an alias the whole ARN."""
    from rolesanywhere_auth.diagnosis.control_plane import _id

    plain = "arn:aws:rolesanywhere:eu-west-1:111122223333:profile/1-2"
    alias = "arn:aws:rolesanywhere:eu-west-1:111122223333:alias/profile/mine"

    assert (_id(plain, "profile"), _id(alias, "profile")) == ("1-2", alias)

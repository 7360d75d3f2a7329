"""The unmodified `iam-rolesanywhere-session` package of awslabs signs in."""

from __future__ import annotations

import pytest
from iam_rolesanywhere_session import CredentialsRetrievalError, IAMRolesAnywhereSession

from rolesanywhere_auth.testing import CertificateAuthority, Emulator


@pytest.fixture(scope="module")
def emulator():
    """An emulator by the machine's clock, which the peer goes by."""
    with Emulator() as emulator:
        yield emulator


def peer(emulator, setup, host="127.0.0.1", **options):
    """The peer's session for *setup*."""
    port = emulator.https_endpoint_url.rpartition(":")[2]
    return IAMRolesAnywhereSession(
        profile_arn=setup.profile_arn,
        role_arn=setup.role_arn,
        trust_anchor_arn=setup.trust_anchor_arn,
        certificate=str(setup.certificate),
        private_key=str(setup.private_key),
        certificate_chain=str(setup.chain) if setup.chain else None,
        region=emulator.region,
        endpoint=f"{host}:{port}",
        verify=emulator.ca_bundle,
        **options,
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256", "ec-p384"])
def test_peer_signs_in_over_https(emulator, key_type, host):
    """RSA and EC keys get credentials by TLS that is verified."""
    setup = emulator.set_up(key_type=key_type)

    credentials = peer(emulator, setup, host).get_session().get_credentials()

    assert credentials.get_frozen_credentials().access_key.startswith("ASIA")
    assert emulator.events[-1].serial_number == str(setup.leaf.serial_number)
    assert emulator.events[-1].additional_event_data == {
        "missingSignedHeaders": [],
        "postEmptyBody": False,
        "algorithmMismatch": False,
    }


def test_peer_sends_its_chain_name_and_properties(emulator):
    """A chain, a session name and instance properties arrive."""
    root = CertificateAuthority("Peer Root")
    setup = emulator.set_up(
        authority=root.intermediate(),
        anchor=root,
        common_name="peer",
        accept_role_session_name=True,
    )

    peer(
        emulator, setup, role_session_name="night-shift", instance_properties={"rack": "7"}
    ).get_session().get_credentials().get_frozen_credentials()

    assert emulator.sessions[-1].assumed_role_arn.endswith("/night-shift")
    plane = emulator.control_plane()
    (found,) = [s for s in plane.list_subjects()["subjects"] if s["x509Subject"] == "CN=peer"]
    subject = plane.get_subject(subjectId=found["subjectId"])["subject"]
    assert subject["instanceProperties"][0]["properties"] == {"rack": "7"}


def test_peer_reads_the_refusal(emulator):
    """The peer reports status and text of a refusal."""
    setup = emulator.set_up()
    emulator.revoke(setup.leaf)
    credentials = peer(emulator, setup).get_session().get_credentials()

    with pytest.raises(CredentialsRetrievalError, match="Certificate revoked"):
        credentials.get_frozen_credentials()

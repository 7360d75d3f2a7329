from __future__ import annotations

import json
import logging

import pytest

from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.testing import Emulator


@pytest.fixture
def path(tmp_path):
    """Where the state is kept."""
    return tmp_path / "state.json"


def start(path, now, **options) -> Emulator:
    """An emulator with this state file, not started."""
    return Emulator(state_file=path, clock=lambda: now, tls_port=None, **options)


def everything(emulator):
    """What the control plane says of everything there is."""
    client = emulator.control_plane()
    found = {}
    for kind in ("trust_anchors", "profiles", "crls", "subjects"):
        answer = getattr(client, f"list_{kind}")()
        answer.pop("ResponseMetadata")
        found |= answer
    for subject in list(found["subjects"]):
        answer = client.get_subject(subjectId=subject["subjectId"])["subject"]
        found[subject["subjectId"]] = answer
    for anchor in found["trustAnchors"]:
        arn = anchor["trustAnchorArn"]
        found[arn] = client.list_tags_for_resource(resourceArn=arn)["tags"]
    return found


def test_all_of_it_outlives_the_process(path, now, create_session):
    """Resources, tags, subjects and roles are as they were, and a sign-in works again."""
    properties = {"instanceProperties": {"$time": "not a time", "host": "a"}}
    with start(path, now) as emulator:
        setup = emulator.set_up()
        emulator.control_plane().tag_resource(
            resourceArn=setup.trust_anchor_arn, tags=[{"key": "team", "value": "blue"}]
        )
        assert create_session(setup, parameters=properties).status == 201
        assert (
            create_session(setup, parameters={"instanceProperties": {"$time": "x"}}).status == 201
        )
        before = everything(emulator)

    with start(path, now) as emulator:
        assert everything(emulator) == before
        assert create_session(setup, endpoint_url=emulator.endpoint_url).status == 201
        leaf = setup.leaf
        setup.authority.revoke(leaf)
        emulator.control_plane().import_crl(
            name="late",
            crlData=setup.authority.crl_pem().encode(),
            trustAnchorArn=setup.trust_anchor_arn,
            enabled=True,
        )
    with start(path, now) as emulator:
        assert create_session(setup, endpoint_url=emulator.endpoint_url).refusal[2] == (
            "Certificate revoked"
        )


def test_no_secret_is_in_it_and_it_is_private(path, now, create_session):
    """Neither keys of sessions nor private keys; only the owner may read what is there."""
    with start(path, now) as emulator:
        setup = emulator.set_up()
        keys = create_session(setup).session["credentials"]

    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE KEY" not in text
    for name in ("accessKeyId", "secretAccessKey", "sessionToken"):
        assert keys[name] not in text
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_each_change_is_written_before_its_answer(path, now):
    """Whoever was told that it is made finds it after a crash."""
    with start(path, now) as emulator:
        client = emulator.control_plane()
        client.list_profiles()
        assert not path.exists()
        client.create_profile(name="kept", roleArns=["arn:aws:iam::111122223333:role/app"])
        assert '"kept"' in path.read_text()
        content = path.stat().st_mtime_ns
        client.list_profiles()
        assert path.stat().st_mtime_ns == content


def test_stop_writes_what_no_request_made(path, now):
    """Roles are made in the process; they are there after a stop, or after save()."""
    with start(path, now) as emulator:
        emulator.create_role("first")
        emulator.save()
        assert "role/first" in path.read_text()
        emulator.create_role("second")
    assert "role/second" in path.read_text()
    Emulator().save()  # without a file there is nothing to do


def test_roles_of_moto_are_its_own(path):
    """Behind moto only Roles Anywhere's resources are kept."""
    with Emulator(aws=True, tls_port=None, state_file=path) as emulator:
        setup = emulator.set_up()
    with Emulator(aws=True, tls_port=None, state_file=path) as emulator:
        [anchor] = emulator.control_plane().list_trust_anchors()["trustAnchors"]
        assert anchor["trustAnchorArn"] == setup.trust_anchor_arn
    assert json.loads(path.read_text())["roles"] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"format": "rolesanywhere-emulator-state", "version": 2}',
        '{"format": "rolesanywhere-emulator-state", "version": 1}',
        (
            '{"format": "rolesanywhere-emulator-state", "version": 1, "roles": [], "shelves": '
            '[{"account_id": "1", "region": "r", "tags": {}, "resources": [{"kind": "car"}]}]}'
        ),
    ],
)
def test_what_is_no_state_is_left_alone(path, now, text):
    """The error names the file and a way out; nothing is overwritten."""
    path.write_text(text)

    with pytest.raises(ConfigurationError, match=r"state\.json is no state of this version"):
        start(path, now).start()
    assert path.read_text() == text


def test_failed_save_is_told(path, now, caplog, tmp_path, monkeypatch):
    """A disk that refuses is an error in the log, then at the end; the old file is whole."""
    import rolesanywhere_auth.testing._state_file as module

    emulator = start(path, now).start()
    emulator.create_role("app")
    emulator.save()
    before = path.read_text()

    def refuse(descriptor, *given, **options):
        import os

        os.close(descriptor)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fdopen", refuse)
    with caplog.at_level(logging.ERROR):
        emulator.control_plane().create_profile(
            name="lost", roleArns=["arn:aws:iam::111122223333:role/app"]
        )
    assert "The state was not saved" in caplog.text
    with pytest.raises(OSError, match="No space left"):
        emulator.stop()
    monkeypatch.undo()
    assert path.read_text() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    with pytest.raises(RuntimeError, match="does not run"):
        emulator.endpoint_url  # noqa: B018

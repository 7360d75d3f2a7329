"""``emulator record`` and ``emulator replay``: answers on file, and where the emulator differs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from rolesanywhere_auth import cli
from rolesanywhere_auth.cli import _answers, _experiments
from rolesanywhere_auth.testing import Emulator

SUBSET = ["sound", "unsigned-host", "wrong-algorithm", "skew-+6-minutes", "get-no-crl"]
ROLE = "arn:aws:iam::111122223333:role/a"
NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def target() -> Iterator[Emulator]:
    """What stands in for AWS."""
    with Emulator(tls_port=None) as emulator:
        yield emulator


def record(target: Emulator, path: Path, *more: str) -> int:
    """Records the answers of *target*."""
    return cli.main(
        [
            *("emulator", "record", "--region", "eu-west-1", "--pause", "0"),
            *("--endpoint", target.endpoint_url, "--output", str(path)),
            *("--role-arn", target.create_role("experiment"), *more),
        ]
    )


def only(names: list[str]) -> list[str]:
    """The flags that choose these experiments."""
    return [word for name in names for word in ("--experiment", name)]


@pytest.fixture(scope="module")
def everything(target: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of every experiment."""
    target.clear()
    path = tmp_path_factory.mktemp("record") / "all.jsonl"
    assert record(target, path) == 0
    return path


@pytest.fixture
def some(target: Emulator, tmp_path: Path) -> Path:
    """A record of a few."""
    target.clear()
    path = tmp_path / "some.jsonl"
    assert record(target, path, *only(SUBSET)) == 0
    return path


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a record."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_record_is_as_documented(everything: Path) -> None:
    """One head, then one line per experiment, each with its question, request and answer."""
    head, *lines = lines_of(everything)

    assert (head["format"], head["version"]) == ("rolesanywhere-answers", 1)
    assert set(head) == {
        *("format", "version", "recorded_at", "endpoint", "region", "botocore", "library")
    }
    assert [line["experiment"] for line in lines] == [
        experiment.name for experiment in _experiments.EXPERIMENTS
    ]
    for line in lines:
        assert set(line) == {"experiment", "question", "request", "answer"}
        assert line["question"]


def test_answers_are_those_of_the_service(everything: Path) -> None:
    """The experiments do what their names say: each gets the answer that belongs to its fault."""
    answers = {line["experiment"]: line["answer"] for line in lines_of(everything)[1:]}
    expected = {
        "sound": (201, None),
        "expired-leaf": (403, "Certificate expired at {time}"),
        "expired-anchor": (403, "Untrusted signing certificate"),
        "foreign-leaf": (403, "Untrusted signing certificate"),
        "revoked-leaf": (403, "Certificate revoked"),
        "disabled-anchor": (403, "Trust anchor is disabled"),
        "no-such-anchor": (404, "Trust anchor {anchor:missing} does not exist."),
        "too-long": (
            403,
            (
                "Unable to assume role for {role:given}. The requested DurationSeconds exceeds "
                "the MaxSessionDuration set for this role."
            ),
        ),
        "bad-signature": (403, "Invalid signature"),
        "order-revoked-role": (403, "Certificate revoked"),
        "wrong-algorithm": (201, None),
        "unsigned-host": (201, None),
        "empty-body": (201, None),
        "skew--6-minutes": (403, ...),
        "skew-+4-minutes": (201, None),
        "six-intermediates": (403, "X-Amz-X509-Chain has 6 certificates; at most 5 are read"),
        "stale-crl": (403, "Certificate revoked"),
        "foreign-crl": (201, None),
        "throttling": (201, None),
        "get-no-crl": (404, "No crl {missing} in account {account}, Region eu-west-1."),
        "mapping-beside-star": (200, None),
        "delta-crl": (400, ...),
    }
    for name, (status, text) in expected.items():
        body = answers[name]["body"]
        assert answers[name]["status"] == status, (name, body)
        assert text is ... or body.get("message") == text, (name, body)

    def name_of(experiment: str) -> str:
        user = answers[experiment]["body"]["credentialSet"][0]["assumedRoleUser"]
        return str(user["arn"]).rpartition("/")[2]

    assert name_of("sound") == "{serial-hex}"
    assert name_of("serial-of-one-digit") == "01"
    assert name_of("serial-of-odd-length") == "0abc"
    assert name_of("serial-with-high-bit") == "936eacbe07f201df"


def test_nothing_secret_and_nothing_of_the_account_is_on_file(
    everything: Path, target: Emulator
) -> None:
    """No keys, no signatures, no certificates, no ARNs, no account number."""
    text = everything.read_text(encoding="utf-8")

    assert len(target.sessions) > 50
    for session in target.sessions:
        assert session.access_key_id not in text
    sound = lines_of(everything)[1]["answer"]["body"]["credentialSet"][0]["credentials"]
    assert sound == {
        "accessKeyId": "***",
        "secretAccessKey": "***",
        "sessionToken": "***",
        "expiration": "{now + 60 minutes}",
    }
    assert "Signature=" not in text
    assert "MII" not in text
    assert "111122223333" not in text
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-", text)


def test_everything_made_for_it_is_removed(everything: Path, target: Emulator) -> None:
    """No trust anchor, profile or CRL of the experiments is left at the endpoint."""
    client = target.control_plane()

    assert client.list_trust_anchors()["trustAnchors"] == []
    assert client.list_profiles()["profiles"] == []
    assert client.list_crls()["crls"] == []


def test_a_record_of_the_emulator_is_its_own(
    everything: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Replayed, it differs nowhere: what changes from run to run is not in it."""
    assert cli.main(["emulator", "replay", str(everything)]) == 0

    count = len(_experiments.EXPERIMENTS)
    assert capsys.readouterr().out == f"0 of {count} answers differ\n"


@pytest.mark.parametrize(
    ("flags", "different"),
    [
        (["--strict"], ["wrong-algorithm", "unsigned-host"]),
        (["--max-skew", "600"], ["skew-+6-minutes"]),
    ],
)
def test_another_setting_is_seen(
    some: Path, capsys: pytest.CaptureFixture[str], flags: list[str], different: list[str]
) -> None:
    """An emulator that decides otherwise is told apart, with what it said, in status 3."""
    assert cli.main(["emulator", "replay", str(some), *flags]) == 3

    out = capsys.readouterr().out
    assert re.findall(r"^([\w+-]+) \(", out, re.MULTILINE) == different
    assert f"{len(different)} of {len(SUBSET)} answers differ" in out
    assert re.search(r"^  status: recorded \d{3}, here \d{3}$", out, re.MULTILINE)
    assert "body.message: recorded" in out


def test_changed_record_is_seen(some: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What AWS might say instead is shown beside the emulator's words."""
    text = some.read_text(encoding="utf-8").replace("No crl {missing}", "CRL not found: {missing}")
    some.write_text(text, encoding="utf-8")

    assert cli.main(["emulator", "replay", str(some)]) == 3
    out = capsys.readouterr().out
    assert 'body.message: recorded "CRL not found: {missing} in' in out
    assert 'here "No crl {missing} in' in out


def test_refused_set_up_is_warned_about(
    target: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """If even the sound sign-in fails, the other answers say little: that is said at once."""
    status = cli.main(
        [
            *("emulator", "record", "--region", "eu-west-1", "--pause", "0"),
            *("--endpoint", target.endpoint_url, "--experiment", "sound"),
            *("--role-arn", "arn:aws:iam::111122223333:role/nobody"),
        ]
    )

    out, err = capsys.readouterr()
    assert status == 0
    assert json.loads(out.splitlines()[1])["answer"]["status"] == 403
    assert "the sign-in that should succeed did not" in err


def test_what_cannot_be_prepared_is_an_answer(
    target: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trust anchor that the service does not make is that experiment's answer; what the
    installed botocore cannot ask is skipped; what cannot be deleted is left.
    """
    from rolesanywhere_auth.cli import _stage
    from rolesanywhere_auth.testing import CertificateAuthority

    leaf = CertificateAuthority().issue().certificate_pem
    monkeypatch.setattr(_stage.CertificateAuthority, "certificate_pem", property(lambda self: leaf))
    long = _experiments.Call("long", "q", "get_crl", {"crlId": "x", "unknown": 1})
    monkeypatch.setattr(_experiments, "EXPERIMENTS", (_experiments.EXPERIMENTS[0], long))
    path = tmp_path / "record.jsonl"

    assert record(target, path) == 0

    refused, skipped = (line["answer"] for line in lines_of(path)[1:])
    assert refused["status"] == 400
    assert refused["body"]["message"] == "Incorrect basic constraints for CA certificate"
    assert skipped["status"] is None
    assert "unknown" in skipped["skipped"]


def test_undeletable_is_left(target: Emulator, some: Path) -> None:
    """Cleaning up goes on after a refusal."""
    from rolesanywhere_auth.cli._stage import Stage

    stage = Stage(
        target.control_plane(),
        role_arn="arn:aws:iam::111122223333:role/app",
        region="eu-west-1",
        now=lambda: datetime.now(timezone.utc),
    )
    for name in ("own", "disabled"):
        stage.arn("anchor", name)
    last = target.control_plane().list_trust_anchors()["trustAnchors"][-1]
    target.control_plane().delete_trust_anchor(trustAnchorId=last["trustAnchorId"])

    stage.close()

    assert target.control_plane().list_trust_anchors()["trustAnchors"] == []


def test_throttling_ends_with_the_first_other_answer(
    target: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repeated sign-ins end at the answer that differs; that one is recorded, text or JSON."""
    target.clear()
    target.inject("pass", "pass", (429, {"x-amzn-ErrorType": "Slow:http://x/"}, b"slow down"))
    path = tmp_path / "record.jsonl"

    assert record(target, path, "--experiment", "throttling") == 0

    assert lines_of(path)[1]["answer"] == {
        "status": 429,
        "headers": {"x-amzn-errortype": "Slow:http://x/"},
        "body": "slow down",
    }
    assert len(target.events) == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--role-arn", "app"], "not six parts"),
        (["--role-arn", ROLE, "--experiment", "x"], "no experiment x"),
        (
            ["--role-arn", ROLE, "--endpoint", "http://127.0.0.1:1",
             "--experiment", "sound"],
            "Could not connect",
        ),
    ],
)  # fmt: skip
def test_record_that_cannot_be_made(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1, one line; nothing was sent to AWS."""
    given = ["emulator", "record", "--region", "eu-west-1", "--pause", "0", *arguments]

    assert cli.main(given) == 1
    assert text in capsys.readouterr().err


def test_aws_is_asked_with_the_credentials_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --endpoint it is the Region's; nothing invented is sent there."""
    from rolesanywhere_auth.cli import emulator_record

    client = emulator_record._client("https://rolesanywhere.eu-west-1.amazonaws.com", "eu-west-1")
    assert client.meta.endpoint_url == "https://rolesanywhere.eu-west-1.amazonaws.com"
    assert client._request_signer._credentials is None

    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    arguments = ["--region", "eu-west-1", "--pause", "0", "--role-arn", ROLE]
    assert cli.main(["emulator", "record", *arguments, "--experiment", "sound"]) == 1
    assert "credentials" in capsys.readouterr().err


def test_experiments_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """--list names each experiment and its question, and needs no other flag."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["emulator", "record", "--list"])

    out = capsys.readouterr().out
    assert caught.value.code == 0
    assert len(out.splitlines()) == len(_experiments.EXPERIMENTS)
    assert "order of checks" in out
    names = [experiment.name for experiment in _experiments.EXPERIMENTS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": "other", "version": 1}',
        '{"format": "rolesanywhere-answers", "version": 2}',
        '{"format": "rolesanywhere-answers", "version": 1, "region": "r"}\n{"experiment": "sound"}',
    ],
)
def test_what_is_no_record_is_refused(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the file."""
    path = tmp_path / "record.jsonl"
    path.write_text(text)

    assert cli.main(["emulator", "replay", str(path)]) == 1
    assert "record.jsonl is no record of answers" in capsys.readouterr().err


def test_empty_record_differs_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A head alone is a record; nothing is asked."""
    path = tmp_path / "record.jsonl"
    path.write_text('{"format": "rolesanywhere-answers", "version": 1, "region": "eu-west-1"}\n')

    assert cli.main(["emulator", "replay", str(path)]) == 0
    assert capsys.readouterr().out == "0 of 0 answers differ\n"


def test_redaction() -> None:
    """Secrets go by their name, times and identifiers by their form, the rest as it is known."""
    value = {
        "message": "role arn:x at 2026-05-04T12:00:00.5Z, 20260504T120000Z, AROAABCDEFGHIJKLM:a",
        "list": [{"sessionToken": "t", "expiration": "2026-05-04T13:00:10Z"}, 1, None],
        "expiration": 5,
        "id": "12345678-1234-1234-1234-123456789abc",
    }

    assert _answers.redacted(value, {"arn:x": "{role}"}, now=NOW) == {
        "message": "role {role} at {time}, {time}, {role-id}:a",
        "list": [{"sessionToken": "***", "expiration": "{now + 60 minutes}"}, 1, None],
        "expiration": 5,
        "id": "{uuid}",
    }


def test_differences() -> None:
    """Case of ``message`` and URLs behind an error's name do not count; all else does."""
    recorded = {
        "status": 403,
        "headers": {"x-amzn-errortype": "AccessDeniedException:http://x/"},
        "body": {"Message": "no", "empty": {}},
    }
    here = {
        "status": 403,
        "headers": {"x-amzn-errortype": "AccessDeniedException"},
        "body": {"message": "no", "tags": ["a"]},
    }

    assert _answers.differences(recorded, here) == ['body.tags[0]: recorded nothing, here "a"']
    assert _answers.differences({"status": 1, "body": "x"}, {"status": 1, "body": "y"}) == [
        'body: recorded "x", here "y"'
    ]

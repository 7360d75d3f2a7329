from __future__ import annotations

import time
from typing import Any

import botocore.session
import pytest
import servers
from bench import Bench, examined

from rolesanywhere_auth import diagnose
from rolesanywhere_auth.diagnosis import Check
from rolesanywhere_auth.diagnosis.case import Case, Finding, Step, passed
from rolesanywhere_auth.diagnosis.leaf import RULES, TIMES
from rolesanywhere_auth.diagnosis.material import MATERIAL
from rolesanywhere_auth.diagnosis.network import STEPS
from rolesanywhere_auth.diagnosis.signing_in import SIGN_IN, TAGS, _sts_endpoint
from rolesanywhere_auth.testing.service.wire import Refusal


def signed_in(bench: Bench, **changes: Any) -> Check:
    """The check of the sign-in."""
    return diagnose(bench.config(**changes))["sign-in"]


def test_good_set_up_is_well(bench: Bench) -> None:
    """Nothing fails, nothing is warned of, and one session is made."""
    found = diagnose(bench.config())

    assert found.ok
    assert not found.warnings
    assert len(bench.emulator.sessions) == 1
    assert found["session"].facts["lifetime_seconds"] in range(3540, 3601)
    assert found["session"].evidence.startswith(bench.emulator.sessions[0].assumed_role_arn)
    assert found["session-tags"].evidence.endswith("x509Subject/CN=app")


@pytest.mark.parametrize(
    ("seconds", "earliest", "latest", "waits"),
    [(3600, 2700, 3300, 3540), (900, 600, 750, 840), (43200, 39600, 42000, 43140)],
)
def test_renewal_plan_is_the_documented_one(
    bench: Bench, seconds: int, earliest: int, latest: int, waits: int
) -> None:
    """The moments are those of docs/how-it-works.md, for sessions of 15 minutes to 12 hours."""
    from datetime import datetime

    setup = bench.set_up(session_duration=seconds)

    facts = diagnose(bench.config(setup, session_duration=seconds))["renewal"].facts
    expires = bench.emulator.sessions[0].expiration.timestamp()
    moments = [
        datetime.fromisoformat(str(facts[name]).replace("Z", "+00:00")).timestamp()
        for name in ("earliest", "latest", "calls_wait")
    ]

    shown = [round(moment - (expires - seconds)) for moment in moments]
    assert [abs(a - b) <= 1 for a, b in zip(shown, (earliest, latest, waits), strict=True)] == [
        True
    ] * 3


def test_wrong_clock_is_corrected_for_all_that_follows(bench: Bench) -> None:
    """A certificate that is valid by the service's clock is valid, whatever time it is here."""
    found = diagnose(bench.config(), now=lambda: time.time() + 3 * 365 * 86400)

    assert found.first_failure is not None
    assert found.first_failure.name == "clock"
    assert "seconds ahead of the service's" in found.first_failure.evidence
    assert found["validity"].status == found["sign-in"].status == "pass"


def test_nonsense_instead_of_credentials(bench: Bench) -> None:
    """An answer that is no JSON is told as the library tells it."""
    bench.emulator.faults.bad_json()

    found = signed_in(bench)

    assert found.status == "fail"
    assert "without complete credentials" in found.evidence


@pytest.mark.parametrize(
    ("status", "text", "fix"),
    [
        (404, "No such thing", "aws rolesanywhere list-trust-anchors, list-profiles"),
        (403, "Something new", "see the text, and the service's health in this Region"),
        (403, "Untrusted certificate. Insufficient certificate", "digitalSignature"),
    ],
)
def test_refusals_with_and_without_known_causes(
    bench: Bench, status: int, text: str, fix: str
) -> None:
    """A text that is known comes with its causes, and another one with where to look."""
    bench.emulator.inject(Refusal(status, "SomeException", text))

    found = signed_in(bench)

    assert f"HTTP {status} SomeException" in found.evidence
    assert text in found.evidence
    assert fix in found.fix


def test_refusal_without_a_request_id(bench: Bench) -> None:
    """What something else answers has none."""
    with servers.listening(servers.answering("403 Forbidden", body=b"No.")) as port:
        found = signed_in(bench, endpoint_url=f"http://127.0.0.1:{port}")

    assert found.evidence == (
        "CreateSession was refused with HTTP 403 HTTP403: no message; the answer begins 'No.'"
    )


def test_sts_says_who_the_session_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials are shown to STS where that is known to be the same AWS."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", bench.emulator.aws_endpoint_url)

    found = diagnose(bench.config())

    arn = bench.emulator.sessions[0].assumed_role_arn
    assert found["caller-identity"].status == "pass"
    assert found["caller-identity"].evidence == f"STS says {arn}"


def test_sts_that_does_not_answer_is_a_warning(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs may not need STS."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{servers.closed_port()}")

    found = diagnose(bench.config())

    assert found.ok
    assert found["caller-identity"].status == "warn"
    assert "no answer from" in found["caller-identity"].evidence


def test_sts_that_refuses_is_a_warning(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be that of another partition."""
    with servers.listening(servers.answering("403 Forbidden", body=b"<Error/>")) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{port}")
        found = diagnose(bench.config())

    assert found["caller-identity"].status == "warn"
    assert "answered HTTP 403 to GetCallerIdentity" in found["caller-identity"].evidence


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("https://rolesanywhere.eu-west-1.amazonaws.com", "https://sts.eu-west-1.amazonaws.com"),
        (
            "https://vpce-1.rolesanywhere.eu-west-1.vpce.amazonaws.com",
            "https://sts.eu-west-1.amazonaws.com",
        ),
        ("http://127.0.0.1:1", None),
    ],
)
def test_emulated_credentials_are_never_shown_to_aws(
    bench: Bench, endpoint: str, expected: str | None
) -> None:
    """STS of AWS is asked only about credentials of AWS, in the Region itself."""
    case = Case(
        bench.config,
        origin="a test",
        make_session=botocore.session.Session,
        administrator=None,
        now=time.time,
        sleep=lambda _: None,
        jitter=lambda: 0.0,
        expiry_days=30,
    )
    case.config, case.endpoint = bench.config(), endpoint

    assert _sts_endpoint(case) == expected


def test_session_of_the_caller_stays_as_it_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STS is asked in the Region, and yet no setting of the session is changed for that."""
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "legacy")
    session = botocore.session.Session()
    endpoints: list[str] = []

    def endpoint(case: Case) -> Finding:
        case.endpoint = "https://rolesanywhere.eu-west-1.amazonaws.com"
        endpoints.append(str(_sts_endpoint(case)))
        return passed("seen")

    examined(bench.config(), [Step("endpoint", endpoint)], make_session=lambda: session)

    assert endpoints == ["https://sts.eu-west-1.amazonaws.com"]
    assert session.get_config_variable("sts_regional_endpoints") == "legacy"


@pytest.mark.parametrize("days", [float("inf"), 1e12, 0.0])
def test_any_number_of_days(bench: Bench, days: float) -> None:
    """A certificate that was issued for fewer days than one is to be warned of is no news."""
    assert diagnose(bench.config(), expiry_days=days)["validity"].status == "pass"


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("AWS_PROFILE", "nobody-has-it", "nobody-has-it"),
        ("AWS_ENDPOINT_URL_STS", "sts.example", "sts.example"),
        ("AWS_CONFIG_FILE", "[default]\nservices = gone", "gone"),
    ],
)
def test_settings_that_botocore_refuses(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, part: str
) -> None:
    """They are in the diagnosis, whichever check is the first to ask botocore."""
    config = bench.config()
    if variable == "AWS_CONFIG_FILE":
        value = bench.write("config", value)
    monkeypatch.setenv(variable, value)

    found = diagnose(config)

    assert any(each.status in {"fail", "warn"} and part in str(each) for each in found.checks)


def test_session_given_by_the_caller_counts(bench: Bench) -> None:
    """Its settings and event handlers are used: here one that answers for the service."""
    session = botocore.session.Session()
    seen: list[str] = []
    for name in ("Diagnosis", "CreateSession"):
        session.register(
            f"before-send.rolesanywhere.{name}", lambda request, **_: seen.append(request.method)
        )

    assert diagnose(bench.config(), session=session).ok
    assert seen == ["GET", "POST"]


def test_time_outs_are_not_waited_for_twice(bench: Bench) -> None:
    """Attempts and their pauses are those of the configuration; the pauses are the caller's."""
    bench.emulator.faults.refuse(status=503)
    pauses: list[float] = []

    found = examined(
        bench.config(max_attempts=3),
        MATERIAL,
        RULES,
        STEPS,
        TIMES,
        TAGS,
        SIGN_IN,
        sleep=pauses.append,
    )

    assert found["sign-in"].status == "fail"
    assert len(pauses) == 2

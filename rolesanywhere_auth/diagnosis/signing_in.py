# SPDX-License-Identifier: Apache-2.0
"""The sign-in, the session that comes of it, and when it will be renewed."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError

from rolesanywhere_auth import exchange, schedule, sts, transport
from rolesanywhere_auth._durations import session_seconds
from rolesanywhere_auth.config import without_login
from rolesanywhere_auth.diagnosis.case import (
    Case,
    Finding,
    Step,
    failure,
    not_needed,
    passed,
    told,
    warning,
)
from rolesanywhere_auth.diagnosis.report import Facts
from rolesanywhere_auth.diagnosis.trust import session_tags
from rolesanywhere_auth.diagnosis.wire import is_aws
from rolesanywhere_auth.errors import (
    AssumeRoleDeniedError,
    InvalidSignatureError,
    RolesAnywhereError,
    ServiceError,
    SignInError,
    TransportError,
    UntrustedCertificateError,
)
from rolesanywhere_auth.identity import Identity
from rolesanywhere_auth.refusals import one_line
from rolesanywhere_auth.signing import HTTPRequest

_STS_EVENT = "before-send.sts.GetCallerIdentity"
_ARN = re.compile(r"<Arn>([^<]+)</Arn>")
_GLOBAL_STS = "https://sts.amazonaws.com"
_TEXT_OF_CHAIN = "Untrusted signing certificate"


def look_at_tags(case: Case) -> Finding:
    """What of the certificate becomes session tags."""
    mappings = case.profile.get("attributeMappings")
    found = session_tags(case.leaf, mappings)
    how = "of a new profile" if mappings is None else "of this profile"
    shown = ", ".join(f"{name}={value}" for name, value in found.tags.items()) or "none"
    evidence = f"by the attribute mappings {how}: {shown}"
    facts: Facts = {"count": len(found.tags)}
    if found.dropped:
        return warning(
            f"{one_line(found.dropped)}. {evidence}",
            "have no condition of the trust policy ask for these, or use values of letters, "
            "digits, blanks and _.:/=+-@ only",
            facts,
        )
    return passed(evidence, facts)


# The sign-in


def look_at_sign_in(case: Case) -> Finding:
    """CreateSession, as the library calls it, without the host's cache."""
    config = case.config
    identity = Identity(case.leaf, case.intermediates, case.signer, case.place.source)
    request = exchange.build_request(
        config, endpoint=case.endpoint, user_agent=transport.USER_AGENT
    )
    conversation = exchange.create_session(
        config, request=request, identity=identity, clock=case.clock, random=case.jitter
    )
    line = transport.Transport(config, case.session, endpoint=case.endpoint)
    try:
        case.credentials = transport.run(conversation, send=line.send, sleep=case.sleep)
    except SignInError as error:
        return explained(error, case)
    finally:
        line.close()
    return passed(f"signed in to {config.role_arn} through {config.profile_arn}")


def explained(error: SignInError, case: Case) -> Finding:
    """A refusal, with those of its known causes that what was found before does not exclude."""
    if isinstance(error, TransportError):
        text, _, fix = str(error).rpartition(" (")
        return failure(text, fix.removesuffix(")"))
    if not isinstance(error, ServiceError):
        return told(error)
    request = f", request id {one_line(error.request_id)}" if error.request_id else ""
    evidence = (
        f"CreateSession was refused with HTTP {error.status} {error.code}{request}: "
        f"{one_line(error.service_message)}"
    )
    fix = "; or ".join(error.causes) or "see the text, and the service's health in this Region"
    if isinstance(error, InvalidSignatureError):
        fix = (
            "a test signature of the key did verify, so something changed the request on its way "
            "(a proxy that opens TLS), or its date was not accepted (see clock)"
        )
    elif isinstance(error, UntrustedCertificateError):
        return _untrusted(error, case, evidence=evidence, fix=fix)
    elif isinstance(error, AssumeRoleDeniedError) and case.role:
        fix = "see what role, duration and trust-policy say above"
    elif isinstance(error, AssumeRoleDeniedError):
        fix += ". With --as PROFILE, which may read the role, the doctor says which of these it is"
    elif not error.causes and error.status == 404:
        fix = (
            f"see whether {case.config.trust_anchor_arn} and {case.config.profile_arn} exist: "
            "aws rolesanywhere list-trust-anchors, list-profiles"
        )
    return failure(evidence, fix)


def _untrusted(error: ServiceError, case: Case, *, evidence: str, fix: str) -> Finding:
    if _TEXT_OF_CHAIN not in error.service_message or case.path:
        return failure(evidence, fix)
    top = (case.leaf, *case.intermediates)[-1]
    issuer, given = top.issuer_text, [*case.found, *case.extra]
    if any(each.subject == top.issuer and each.is_self_signed for each in given):
        evidence += (
            f". What was given is whole up to the root {issuer}: the trust anchor's CA is another"
        )
        fix = f"give the ARN of the trust anchor with {issuer}, or a certificate that its CA issued"
        return failure(evidence, fix)
    sent = (
        f"intermediates up to {top.subject_text}" if case.intermediates else "the certificate alone"
    )
    evidence += f". Sent was {sent}, issued by {issuer}; the trust anchor's CA is another than that"
    if case.namesake:
        evidence += f". The certificate of {issuer} that was given has another key"
    fix = (
        f"if {issuer} stands below the trust anchor's CA, its certificate is missing: give it as "
        "certificate_chain (--intermediates); if not, the ARN is another trust anchor's"
    )
    return failure(evidence, fix)


# The session


def look_at_session(case: Case) -> Finding:
    """Who the session is, and how long it lives."""
    found, asked = case.credentials, session_seconds(case.config.session_duration)
    lifetime = round((found.expiration - case.clock.utcnow()).total_seconds())
    facts: Facts = {
        "expires_at": _text(found.expiration),
        "lifetime_seconds": lifetime,
        "packed_policy_size_percent": found.packed_policy_size,
    }
    evidence = (
        f"{found.assumed_role_arn or found.role_arn}, source identity "
        f"{found.source_identity or 'unknown'}, until {_text(found.expiration)}"
    )
    if lifetime < asked - 60:
        return warning(
            f"{evidence}: {lifetime} seconds instead of {asked}",
            "the profile's duration is shorter: raise it (aws rolesanywhere update-profile "
            "--duration-seconds), or ask for less",
            facts,
        )
    return passed(evidence, facts)


def look_at_caller(case: Case) -> Finding:
    """Whether STS takes the credentials, and who it says they are."""
    try:
        endpoint = _sts_endpoint(case)
    except (BotoCoreError, ValueError) as error:
        return warning(
            f"botocore finds no endpoint of STS: {one_line(without_login(str(error)))}",
            "see AWS_ENDPOINT_URL_STS, AWS_ENDPOINT_URL and the AWS config file",
        )
    if endpoint is None:
        return not_needed(
            "the endpoint is not AWS's, and no endpoint of STS is set: AWS_ENDPOINT_URL_STS"
        )
    keys = case.credentials
    request = sts.sign(
        HTTPRequest(
            "POST",
            f"{endpoint.rstrip('/')}/",
            {
                "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
                "User-Agent": transport.USER_AGENT,
            },
            b"Action=GetCallerIdentity&Version=2011-06-15",
        ),
        keys=ReadOnlyCredentials(keys.access_key, keys.secret_key, keys.token),
        region=str(case.config.region),
        when=case.clock.utcnow(),
    )
    line = transport.Transport(case.config, case.session, endpoint=endpoint, event=_STS_EVENT)
    try:
        answer = line.send(request)
    except RolesAnywhereError as error:
        return warning(one_line(str(error)), "let this machine reach STS, if its programs need it")
    finally:
        line.close()
    arn = _ARN.search(answer.body.decode("utf-8", "replace"))
    if answer.status != 200 or arn is None:
        return warning(
            f"STS at {endpoint} answered HTTP {answer.status} to GetCallerIdentity",
            "see whether that endpoint is of the account's Region and partition",
        )
    return passed(f"STS says {one_line(arn[1])}")


def _sts_endpoint(case: Case) -> str | None:
    """By botocore's rules; None where credentials of this endpoint are of no use at AWS."""
    from botocore import UNSIGNED
    from botocore.config import Config

    region = str(case.config.region)
    client = case.session.create_client(
        "sts", region_name=region, config=Config(signature_version=UNSIGNED)
    )
    found = str(client.meta.endpoint_url)
    if found == _GLOBAL_STS:  # sts_regional_endpoints=legacy; the session is not ours to set
        found = f"https://sts.{region}.amazonaws.com"
    if is_aws(found) and not is_aws(case.endpoint):
        return None
    return found


def look_at_renewal(case: Case) -> Finding:
    """When a process that keeps these credentials renews them, and for how long it can."""
    expires = case.credentials.expiration.timestamp()
    # to the minute: the answer took a moment, and the service cuts fractions of a second
    issued = expires - round((expires - case.clock.utcnow().timestamp()) / 60) * 60
    earliest, latest = (
        schedule.renewal_start(issued=issued, expires=expires, spread=spread)
        for spread in (0.0, 1.0)
    )
    waits = expires - schedule.mandatory_window(expires - issued)
    facts: Facts = {
        "earliest": _moment(earliest),
        "latest": _moment(latest),
        "calls_wait": _moment(waits),
    }
    end = case.leaf.not_valid_after
    evidence = (
        f"in the background between {_moment(earliest)} and {_moment(latest)}; calls wait for it "
        f"from {_moment(waits)}"
    )
    if end.timestamp() < latest:
        return warning(
            f"{evidence}: by then the certificate may have ended, at {_text(end)}",
            "have the certificate renewed before",
            facts,
        )
    return passed(evidence, facts)


def _moment(seconds: float) -> str:
    return _text(datetime.fromtimestamp(seconds, timezone.utc))


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


TAGS = (Step("session-tags", look_at_tags, ("certificate",)),)
_SIGNS_IN = (
    "test-signature",
    "x509-version",
    "end-entity",
    "key-usage",
    "signature-hash",
    "subject",
    "chain",
    "service",
    "validity",
)
SIGN_IN = (
    Step("sign-in", look_at_sign_in, _SIGNS_IN),
    Step("session", look_at_session, ("sign-in",)),
    Step("caller-identity", look_at_caller, ("sign-in",)),
    Step("renewal", look_at_renewal, ("sign-in",)),
)

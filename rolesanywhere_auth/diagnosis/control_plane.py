# SPDX-License-Identifier: Apache-2.0
"""What an administrator's credentials show: anchor, profile, role, trust policy, CRLs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from rolesanywhere_auth._durations import session_seconds, timeout_seconds
from rolesanywhere_auth._x509 import read_bundle, read_crl
from rolesanywhere_auth.arns import PROFILE, ROLE, TRUST_ANCHOR, parse_arn
from rolesanywhere_auth.diagnosis import trust
from rolesanywhere_auth.diagnosis.case import (
    Case,
    Finding,
    Step,
    failure,
    not_needed,
    passed,
    warning,
)
from rolesanywhere_auth.diagnosis.report import Facts
from rolesanywhere_auth.diagnosis.wire import is_aws
from rolesanywhere_auth.provisioning.admin import BAD_CREDENTIALS

if TYPE_CHECKING:
    from cryptography import x509

_T = TypeVar("_T")
_MISSING = frozenset({"ResourceNotFoundException", "NoSuchEntity"})
_ENABLE = "enable it: aws rolesanywhere {} --{} {}"


class _Unreadable(Exception):
    """The control plane did not tell."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.evidence)
        self.finding = finding


def _call(case: Case, service: str, operation: str, **members: Any) -> dict[str, Any]:
    """One call by the administrator.

    Raises:
        _Unreadable: With what to say instead: it is not there, or may not be read.
    """
    call = getattr(case.clients[service], operation)
    named = ", ".join(str(value) for value in members.values())
    found: dict[str, Any] = _answer(
        f"{service}:{_title(operation)}", lambda: call(**members), named
    )
    return found


def _title(operation: str) -> str:
    return "".join(part.title() for part in operation.split("_"))


def _answer(action: str, ask: Callable[[], Any], named: str) -> Any:
    try:
        return ask()
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code"))
        fix = f"allow the administrator {action}"
        if code in BAD_CREDENTIALS:
            fix = "the administrator's credentials are expired or wrong: log in with the profile"
        finding = warning(f"{action} was refused: {code}", fix, blocks=True)
        if code in _MISSING:
            finding = failure(f"{action}: {named} does not exist ({code})", "correct the ARN")
        raise _Unreadable(finding) from error
    except BotoCoreError as error:
        finding = warning(f"{action} had no answer: {error}", "see its endpoint", blocks=True)
        raise _Unreadable(finding) from error


def _step(name: str, look: Any, *needs: str) -> Step:
    def safely(case: Case) -> Finding:
        try:
            finding: Finding = look(case)
        except _Unreadable as unreadable:
            return unreadable.finding
        return finding

    return Step(name, safely, needs)


def look_at_administrator(case: Case) -> Finding:
    """Whether there are credentials to ask with."""
    assert case.administrator is not None
    config = case.config
    try:
        session = case.administrator()
        settings = Config(
            proxies=dict(config.proxies) if config.proxies is not None else None,
            connect_timeout=timeout_seconds("connect_timeout", config.connect_timeout),
            read_timeout=timeout_seconds("read_timeout", config.read_timeout),
            retries={"mode": "standard", "total_max_attempts": 2},
        )
        if session.get_credentials() is None:
            return failure(
                "the administrator's profile has no credentials",
                "log in with it, or give another: aws sts get-caller-identity --profile PROFILE",
            )
        region, client = str(config.region), _maker(session)
        case.clients = {
            "rolesanywhere": client(
                "rolesanywhere",
                region_name=region,
                endpoint_url=config.endpoint_url,
                verify=config.verify,
                config=settings,
            ),
            "iam": client("iam", region_name=region, config=settings),
        }
    except BotoCoreError as error:
        return failure(
            f"the administrator's profile cannot be used: {error}", "correct it, or give another"
        )
    return passed(f"asked as the profile {session.profile_name}")


def _maker(session: Any) -> Any:
    """Its types are overloads by hundreds, which know no path as ``verify``."""
    return session.client


# Trust anchor, chain, CRLs


def look_at_anchor(case: Case) -> Finding:
    """Whether it is there and enabled."""
    arn = case.config.trust_anchor_arn
    found = _call(case, "rolesanywhere", "get_trust_anchor", trustAnchorId=_id(arn, TRUST_ANCHOR))
    anchor = found["trustAnchor"]
    source = anchor.get("source", {})
    data = source.get("sourceData", {}).get("x509CertificateData")
    if data:
        case.anchors = _read("the trust anchor's CA", read_bundle, data.encode())
    name = f"the trust anchor {anchor.get('name')}"
    if not anchor.get("enabled"):
        identifier = anchor.get("trustAnchorId")
        fix = _ENABLE.format("enable-trust-anchor", "trust-anchor-id", identifier)
        return failure(f"{name} is disabled", fix, blocks=False)
    held = " and ".join(each.subject.rfc4514_string() for each in case.anchors)
    return passed(f"{name} is enabled and holds {held or source.get('sourceType')}")


def look_at_path(case: Case) -> Finding:
    """Whether the certificate and what is sent with it lead to the trust anchor's CA."""
    if not case.anchors:
        return not_needed("the trust anchor's CA is kept by AWS Private CA")
    try:
        case.path = trust.path_to(
            case.leaf,
            intermediates=case.intermediates,
            anchors=case.anchors,
            at=case.clock.utcnow(),
        )
    except trust.NoPathError as error:
        top = (case.leaf, *case.intermediates)[-1]
        held = " and ".join(each.subject.rfc4514_string() for each in case.anchors)
        evidence = f"no path to the trust anchor, which holds {held}: {error}"
        if top.issuer in [each.subject.public_bytes() for each in case.anchors]:
            return failure(
                evidence,
                "have the certificate that this names issued again; or the trust anchor's CA is "
                "another of the same name, or was renewed with another key",
            )
        return failure(
            evidence,
            f"if {top.issuer_text} stands below {held}, give its certificate as certificate_chain "
            "(--intermediates); if not, this is another CA's trust anchor",
        )
    return passed(" < ".join(each.subject.rfc4514_string() for each in case.path))


def look_at_revocation(case: Case) -> Finding:
    """Whether a CRL of the trust anchor lists the certificate, and whether the CRLs are fresh."""
    if not case.path:
        return not_needed("the path to the trust anchor's CA is not known")
    now = case.clock.utcnow()
    lists = list(_crls(case))
    disabled = stale = 0
    for crl, parsed in lists:
        revoked = trust.revoked_by(parsed, case.path, anchors=case.anchors, at=now)
        if revoked is not None and crl.get("enabled"):
            return failure(
                f"revoked by the enabled CRL {crl.get('name')}: {revoked}",
                "have a new certificate issued, with a new key if this one may be known",
                blocks=False,
            )
        disabled += revoked is not None
        next_update = parsed.next_update_utc
        stale += bool(crl.get("enabled")) and next_update is not None and next_update < now
    evidence = f"CRLs of the trust anchor: {len(lists)}"
    if disabled:
        return warning(
            f"{evidence}; one that is disabled revokes this certificate",
            "enable it (aws rolesanywhere enable-crl), or delete it",
        )
    if stale:
        return warning(
            f"{evidence}; {stale} of them past the time of its next update: what was revoked since "
            "is let in",
            "import the CA's present list: aws rolesanywhere update-crl",
        )
    return passed(f"{evidence}; none lists this certificate")


def _crls(case: Case) -> Iterator[tuple[Mapping[str, Any], x509.CertificateRevocationList]]:
    pages = case.clients["rolesanywhere"].get_paginator("list_crls").paginate()
    found: list[Mapping[str, Any]] = _answer(
        "rolesanywhere:ListCrls", lambda: [crl for page in pages for crl in page["crls"]], ""
    )
    for crl in found:
        if crl.get("trustAnchorArn") == case.config.trust_anchor_arn:
            name = f"the CRL {crl.get('name')}"
            yield crl, _read(name, read_crl, bytes(crl["crlData"]))


def _read(name: str, read: Callable[[bytes], _T], data: bytes) -> _T:
    """What the service holds; it may take what `cryptography` does not."""
    try:
        return read(data)
    except ValueError as error:
        evidence = f"{name} is malformed, and is not judged here: {error}"
        fix = "see it with openssl; let its CA write it again by RFC 5280"
        raise _Unreadable(warning(evidence, fix, blocks=True)) from error


# Profile and role


def look_at_profile(case: Case) -> Finding:
    """Whether it is there and enabled."""
    arn = case.config.profile_arn
    found = _call(case, "rolesanywhere", "get_profile", profileId=_id(arn, PROFILE))
    profile = case.profile = found["profile"]
    name = f"the profile {profile.get('name')}"
    if not profile.get("enabled"):
        fix = _ENABLE.format("enable-profile", "profile-id", profile.get("profileId"))
        return failure(f"{name} is disabled", fix, blocks=False)
    return passed(f"{name} is enabled")


def look_at_role_in_profile(case: Case) -> Finding:
    """Whether the profile lists the role."""
    arns = case.profile.get("roleArns", [])
    if case.config.role_arn not in arns:
        return failure(
            f"the profile does not list {case.config.role_arn}; it lists {', '.join(arns)}",
            "add it (aws rolesanywhere update-profile --role-arns), or take one that is listed",
            blocks=False,
        )
    return passed(f"the profile lists {case.config.role_arn}")


def look_at_session_name(case: Case) -> Finding:
    """Whether the profile accepts the name that is asked for."""
    name = case.config.role_session_name
    if name is None:
        return not_needed("no role_session_name is asked for")
    if not case.profile.get("acceptRoleSessionName"):
        return failure(
            f"role_session_name={name} is asked for, which the profile does not accept",
            "aws rolesanywhere update-profile --accept-role-session-name, or leave it out",
            blocks=False,
        )
    return passed(f"the profile accepts the name {name}")


def look_at_role(case: Case) -> Finding:
    """Whether it is there."""
    arn = case.config.role_arn
    name = parse_arn(arn, kind=ROLE).resource.rpartition("/")[2]
    if is_aws(case.clients["iam"].meta.endpoint_url) and not is_aws(case.endpoint):
        return warning(
            "the endpoint is not AWS's, and no endpoint of IAM is set: what AWS says of a role of "
            "this name would be about another",
            "set AWS_ENDPOINT_URL_IAM, or endpoint_url in the administrator's profile",
            blocks=True,
        )
    role = _call(case, "iam", "get_role", RoleName=name)["Role"]
    if role["Arn"] != arn:
        return failure(f"the ARN of the role {name} is {role['Arn']}, not {arn}", "correct it")
    case.role = role
    return passed(f"{arn} exists")


def look_at_duration(case: Case) -> Finding:
    """Whether the role allows sessions as long as the service will ask for."""
    asked = session_seconds(case.config.session_duration)
    duration = min(asked, int(case.profile.get("durationSeconds", asked)))
    most = int(case.role.get("MaxSessionDuration", 3600))
    facts: Facts = {"asked_seconds": asked, "session_seconds": duration, "role_seconds": most}
    if duration > most:
        return failure(
            f"sessions would live {duration} seconds; the role allows {most} (MaxSessionDuration)",
            "lower session_duration, or raise the role's: aws iam update-role "
            "--max-session-duration",
            facts,
            blocks=False,
        )
    return passed(f"{duration} seconds; the role allows {most}", facts)


def look_at_trust_policy(case: Case) -> Finding:
    """Whether the role lets the service do all three actions for this certificate."""
    config = case.config
    tags = trust.session_tags(case.leaf, case.profile.get("attributeMappings"))
    grant = trust.expected_grant(
        case.leaf,
        role_arn=config.role_arn,
        region=str(config.region),
        role_session_name=config.role_session_name,
        duration=session_seconds(config.session_duration),
        tags=tags.tags,
        at=case.clock.utcnow(),
    )
    found = trust.objections(
        case.role["AssumeRolePolicyDocument"], grant, trust_anchor_arn=config.trust_anchor_arn
    )
    if isinstance(found, trust.Unjudged):
        return warning(
            f"the trust policy of {config.role_arn} cannot be judged here: {found.why}",
            "see what the sign-in says",
        )
    if found:
        return failure(
            f"the trust policy of {config.role_arn} refuses: {'. And '.join(found)}",
            "change the trust policy (aws iam update-assume-role-policy), or the certificate: its "
            f"session has the tags {', '.join(f'{k}={v}' for k, v in tags.tags.items())}",
            blocks=False,
        )
    return passed(f"allows {', '.join(trust.ACTIONS)}")


def _id(arn: str, kind: str) -> str:
    resource = parse_arn(arn, kind=kind).resource
    return arn if resource.startswith("alias/") else resource.rpartition("/")[2]


STEPS = (
    _step("administrator", look_at_administrator, "configuration", "arns", "service"),
    _step("trust-anchor", look_at_anchor, "administrator"),
    _step("trust-path", look_at_path, "trust-anchor", "chain"),
    _step("revocation", look_at_revocation, "trust-path"),
    _step("profile", look_at_profile, "administrator"),
    _step("role-in-profile", look_at_role_in_profile, "profile"),
    _step("session-name", look_at_session_name, "profile"),
    _step("role", look_at_role, "administrator"),
    _step("duration", look_at_duration, "profile", "role"),
    _step("trust-policy", look_at_trust_policy, "profile", "role", "certificate"),
)

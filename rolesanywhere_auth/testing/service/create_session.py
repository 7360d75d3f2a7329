"""CreateSession: the checks, in the order that they are made.

AWS does not document the order. This one follows what users saw: the signature
before everything about trust, the chain and the CRL before the role, the role's
trust policy last. `CreateSession._decide` is the order; each check is one function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth.testing.service import (
    attributes,
    policy,
    revocation,
    subjects,
    texts,
    trust,
    validation,
)
from rolesanywhere_auth.testing.service.audit import Event
from rolesanywhere_auth.testing.service.directory import Directory, Grant, Role, SessionKeys
from rolesanywhere_auth.testing.service.parameters import (
    ROLE_SESSION_NAME_RULES,
    Parameters,
    read_parameters,
)
from rolesanywhere_auth.testing.service.signature import VerifiedSignature, verify_signature
from rolesanywhere_auth.testing.service.state import (
    CRL,
    IssuedSession,
    Profile,
    Shelf,
    State,
    TrustAnchor,
    partition_of,
)
from rolesanywhere_auth.testing.service.wire import Refusal, Request, Response

if TYPE_CHECKING:
    from cryptography import x509

# The role must let the service do all three, each judged on its own (UG/trust-model).
_ACTIONS = ("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity")
_POLICY_LIMIT = 2048


@dataclass
class _Attempt:
    """What is known of one call so far: it fills the audit event and the subject."""

    request_id: str
    now: datetime
    parameters: Parameters | None = None
    signature: VerifiedSignature | None = None
    shelf: Shelf | None = None
    authenticated: bool = False
    session_name: str | None = None
    duration_seconds: int | None = None


class CreateSession:
    """The data plane.

    Args:
        state: where trust anchors, profiles, CRLs and subjects are kept.
        directory: who knows the roles and mints the keys.
        events: the audit trail, which each call lengthens by one.
        new_id: makes the UUID of a new subject.
        max_skew: how far ``X-Amz-Date`` may be from the emulator's clock.
        strict: refuse what AWS tolerates and only records (unsigned headers, a
            declared algorithm that is not the key's, an empty body).
    """

    def __init__(
        self,
        state: State,
        *,
        directory: Directory,
        events: list[Event],
        new_id: Callable[[], str],
        max_skew: timedelta,
        strict: bool,
    ) -> None:
        self._state = state
        self._directory = directory
        self._events = events
        self._new_id = new_id
        self._max_skew = max_skew
        self._strict = strict

    def handle(self, request: Request, *, now: datetime, request_id: str) -> Response:
        """Vend a session, or refuse; the subject and the audit event are written either way.

        Raises:
            Refusal: the first check that failed.
        """
        attempt = _Attempt(request_id, now)
        try:
            grant = self._decide(request, attempt)
            keys = self._directory.mint(grant)
        except Refusal as refusal:
            self._record_subject(attempt, failed=True)
            self._events.append(_event(attempt, refusal))
            raise
        subject_arn = self._record_subject(attempt, failed=False)
        self._events.append(_event(attempt, None))
        session = _issued(grant, keys)
        self._state.sessions.append(session)
        return Response(201, _body(grant, keys, session.assumed_role_arn, subject_arn))

    def _decide(self, request: Request, attempt: _Attempt) -> Grant:
        now = attempt.now
        parameters = attempt.parameters = read_parameters(request)
        signature = attempt.signature = verify_signature(
            request, now=now, max_skew=self._max_skew, strict=self._strict
        )
        leaf = signature.certificate
        anchor = self._trust_anchor(parameters, attempt)
        profile = self._profile(parameters)
        check_places(parameters, signature.region)
        check_enabled(anchor, profile)
        path = trust.find_path(leaf, signature.intermediates, anchor.certificates, at=now)
        trust.check_leaf(leaf, at=now)
        revocation.check_revocation(path, self._crls(anchor), at=now, anchors=anchor.certificates)
        attempt.authenticated = True
        check_role_listed(parameters, profile)
        name = attempt.session_name = choose_session_name(parameters, profile, leaf)
        duration = attempt.duration_seconds = choose_duration(parameters, profile)
        role = self._role(parameters)
        check_role_duration(role, duration)
        tags = attributes.session_tags(leaf, profile.attribute_mappings)
        attributes.check_count(tags, role_arn=role.arn)
        grant = Grant(
            role_arn=role.arn,
            session_name=name,
            region=signature.region,
            duration_seconds=duration,
            expiration=now + timedelta(seconds=duration),
            source_identity=attributes.source_identity(leaf),
            tags=tags.tags,
            session_policy=profile.session_policy,
            managed_policy_arns=profile.managed_policy_arns,
        )
        check_trust_policy(role, grant, anchor, dropped=tags.dropped)
        return grant

    def _trust_anchor(self, parameters: Parameters, attempt: _Attempt) -> TrustAnchor:
        arn = parameters.trust_anchor_arn
        shelf = self._shelf(arn)
        try:
            anchor = shelf.find(TrustAnchor, arn)
        except Refusal:
            raise texts.TRUST_ANCHOR_NOT_FOUND.refusal({"arn": arn}) from None
        attempt.shelf = shelf
        return anchor

    def _profile(self, parameters: Parameters) -> Profile:
        arn = parameters.profile_arn
        try:
            return self._shelf(arn).find(Profile, arn)
        except Refusal:
            raise texts.PROFILE_NOT_FOUND.refusal({"arn": arn}) from None

    def _shelf(self, arn: str) -> Shelf:
        _, _, _, region, account_id, _ = arn.split(":", 5)
        return self._state.shelf(account_id, region)

    def _crls(self, anchor: TrustAnchor) -> list[x509.CertificateRevocationList]:
        arn = anchor.trust_anchor_arn
        crls = self._shelf(arn).all(CRL)
        return [crl.parsed for crl in crls if crl.enabled and crl.trust_anchor_arn == arn]

    def _role(self, parameters: Parameters) -> Role:
        try:
            return self._directory.role(parameters.role_arn)
        except KeyError:
            # STS does not say whether a role exists.
            raise texts.UNABLE_TO_ASSUME.refusal({"arn": parameters.role_arn}) from None

    def _record_subject(self, attempt: _Attempt, *, failed: bool) -> str:
        if not attempt.authenticated:
            return ""
        assert attempt.shelf is not None
        assert attempt.signature is not None
        assert attempt.parameters is not None
        return subjects.record(
            attempt.shelf,
            attempt.signature.certificate,
            now=attempt.now,
            failed=failed,
            new_id=self._new_id,
            instance_properties=attempt.parameters.instance_properties,
        ).subject_arn


def check_places(parameters: Parameters, scope_region: str) -> None:
    """Trust anchor, profile and role in one account; anchor, profile and signature in one Region.

    Raises:
        Refusal: ``ValidationException``.
    """
    anchor = parameters.trust_anchor_arn
    region, account_id = anchor.split(":")[3:5]
    for what, arn in (("profile", parameters.profile_arn), ("role", parameters.role_arn)):
        if arn.split(":")[4] != account_id:
            raise texts.ACCOUNTS_DIFFER.refusal({"what": what, "arn": arn, "anchor": anchor})
    profile_region = parameters.profile_arn.split(":")[3]
    for what, other in (("profile", profile_region), ("credential scope", scope_region)):
        if other != region:
            raise texts.REGIONS_DIFFER.refusal({"what": what, "region": other, "anchor": anchor})


def check_enabled(anchor: TrustAnchor, profile: Profile) -> None:
    """Both must be enabled.

    Raises:
        Refusal: ``AccessDeniedException``.
    """
    if not anchor.enabled:
        raise texts.TRUST_ANCHOR_DISABLED.refusal()
    if not profile.enabled:
        raise texts.PROFILE_DISABLED.refusal()


def check_role_listed(parameters: Parameters, profile: Profile) -> None:
    """The role must be one of the profile's.

    Raises:
        Refusal: ``AccessDeniedException``.
    """
    if parameters.role_arn not in profile.role_arns:
        raise texts.ROLE_NOT_IN_PROFILE.refusal()


def choose_session_name(parameters: Parameters, profile: Profile, leaf: x509.Certificate) -> str:
    """The name that the caller gave, or the leaf's serial number in hexadecimal.

    Raises:
        Refusal: ``AccessDeniedException`` when the profile does not accept a name,
            ``ValidationException`` for one that STS would refuse.
    """
    name = parameters.role_session_name
    if name is None:
        return attributes.session_name(leaf)
    if not profile.accept_role_session_name:
        raise texts.SESSION_NAME_REFUSED.refusal()
    failures = list(validation.string_failures(ROLE_SESSION_NAME_RULES, name, "roleSessionName"))
    if failures:
        raise validation.refusal(failures)
    return name


def choose_duration(parameters: Parameters, profile: Profile) -> int:
    """Seconds: the request's or the profile's, whichever is less.

    Source: UG/authentication-create-session.
    """
    asked = parameters.duration_seconds
    return profile.duration_seconds if asked is None else min(asked, profile.duration_seconds)


def check_role_duration(role: Role, duration: int) -> None:
    """A session longer than the role allows is refused, not cut.

    Raises:
        Refusal: ``AccessDeniedException``.
    """
    if duration > role.max_session_duration:
        raise texts.DURATION_TOO_LONG.refusal({"arn": role.arn})


def check_trust_policy(
    role: Role,
    grant: Grant,
    anchor: TrustAnchor,
    *,
    dropped: Mapping[str, Iterable[str]],
) -> None:
    """The role must trust the service with each of the three actions.

    Raises:
        Refusal: ``AccessDeniedException``, with the certificate's values that could not
            become tags when there are any.
    """
    for action in _ACTIONS:
        context = trust_context(grant, anchor, action=action)
        try:
            decision = policy.allows(role.trust_policy, action=action, context=context)
        except policy.PolicyError as error:
            text = f"This emulator cannot judge the trust policy of {role.arn}: {error}"
            raise Refusal(501, "NotImplementedException", text) from error
        if not decision.allowed:
            refusal = texts.UNABLE_TO_ASSUME.refusal({"arn": role.arn})
            sentence = attributes.dropped_text(dropped)
            raise Refusal(
                refusal.status, refusal.code, ". ".join(filter(None, (refusal.message, sentence)))
            )


def trust_context(grant: Grant, anchor: TrustAnchor, *, action: str) -> dict[str, Any]:
    """The condition keys of a trust policy.

    ``aws:SourceArn``, ``aws:SourceAccount``, ``sts:SourceIdentity`` and
    ``aws:PrincipalTag/x509…`` stand in UG/trust-model. ``aws:RequestTag/…`` and
    ``aws:TagKeys`` are STS's rule for every call that passes session tags;
    nobody wrote whether Roles Anywhere sets them too.
    """
    context: dict[str, Any] = {
        "aws:SourceArn": anchor.trust_anchor_arn,
        "aws:SourceAccount": anchor.trust_anchor_arn.split(":")[4],
        "aws:TagKeys": list(grant.tags),
    }
    for key, value in grant.tags.items():
        context[f"aws:PrincipalTag/{key}"] = value
        context[f"aws:RequestTag/{key}"] = value
    if action == "sts:AssumeRole":
        context["sts:RoleSessionName"] = grant.session_name
    if action != "sts:TagSession":
        context["sts:SourceIdentity"] = grant.source_identity
    return context


def _issued(grant: Grant, keys: SessionKeys) -> IssuedSession:
    account_id = grant.role_arn.split(":")[4]
    role_name = grant.role_arn.rpartition("/")[2]
    prefix = f"arn:{partition_of(grant.region)}:sts::{account_id}:assumed-role"
    return IssuedSession(
        access_key_id=keys.access_key_id,
        assumed_role_arn=f"{prefix}/{role_name}/{grant.session_name}",
        role_arn=grant.role_arn,
        source_identity=grant.source_identity,
        tags=dict(grant.tags),
        expiration=grant.expiration,
    )


def _body(grant: Grant, keys: SessionKeys, arn: str, subject_arn: str) -> dict[str, Any]:
    return {
        "credentialSet": [
            {
                "assumedRoleUser": {"arn": arn, "assumedRoleId": keys.assumed_role_id},
                "credentials": {
                    "accessKeyId": keys.access_key_id,
                    "expiration": grant.expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "secretAccessKey": keys.secret_access_key,
                    "sessionToken": keys.session_token,
                },
                "packedPolicySize": _packed_size(grant),
                "roleArn": grant.role_arn,
                "sourceIdentity": grant.source_identity,
            }
        ],
        "subjectArn": subject_arn,
    }


def _packed_size(grant: Grant) -> int:
    # A percentage. AWS does not say how it packs; this counts plain characters, up to 100.
    tags = sum(len(key) + len(value) for key, value in grant.tags.items())
    arns = sum(len(arn) for arn in grant.managed_policy_arns)
    used = tags + arns + len(grant.session_policy or "")
    return min(100, math.ceil(100 * used / _POLICY_LIMIT))


def _event(attempt: _Attempt, refusal: Refusal | None) -> Event:
    parameters, signature = attempt.parameters, attempt.signature
    extra: dict[str, Any] = {}
    if refusal is None and signature is not None:
        extra = {
            "missingSignedHeaders": list(signature.missing_signed_headers),
            "postEmptyBody": signature.post_empty_body,
            "algorithmMismatch": signature.algorithm_mismatch,
        }
    return Event(
        event_time=attempt.now,
        outcome="failure" if refusal else "success",
        request_id=attempt.request_id,
        error_code=refusal.code if refusal else None,
        error_message=refusal.message if refusal else None,
        serial_number=str(signature.serial_number) if signature else None,
        trust_anchor_arn=parameters.trust_anchor_arn if parameters else None,
        profile_arn=parameters.profile_arn if parameters else None,
        role_arn=parameters.role_arn if parameters else None,
        role_session_name=attempt.session_name,
        duration_seconds=attempt.duration_seconds,
        additional_event_data=extra,
    )

# SPDX-License-Identifier: Apache-2.0
"""CreateSession: the checks, in the order that they are made.

AWS does not document the order. This one follows what users saw: the signature
before everything about trust, the chain and the CRL before the role, the role's
trust policy last. `CreateSession._decide` is the order; each check is one function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth.testing.service import (
    attributes,
    revocation,
    subjects,
    texts,
    trust,
    validation,
)
from rolesanywhere_auth.testing.service.audit import Attempt, Trail
from rolesanywhere_auth.testing.service.directory import Directory, Grant, Role, SessionKeys
from rolesanywhere_auth.testing.service.faults import Conditions
from rolesanywhere_auth.testing.service.parameters import (
    ROLE_SESSION_NAME_RULES,
    Parameters,
    read_parameters,
)
from rolesanywhere_auth.testing.service.role_policies import (
    check_session_policies,
    check_trust_policy,
    packed_size,
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
from rolesanywhere_auth.testing.service.wire import Reason, Refusal, Request, Response

if TYPE_CHECKING:
    from cryptography import x509


class CreateSession:
    """The data plane.

    Args:
        state: where trust anchors, profiles, CRLs and subjects are kept.
        directory: who knows the roles and mints the keys.
        trail: the audit trail, which each call lengthens by one.
        new_id: makes the UUID of a new subject.
        max_skew: how far ``X-Amz-Date`` may be from the emulator's clock.
        strict: refuse what AWS tolerates and only records (unsigned headers, a
            declared algorithm that is not the key's, an empty body).
        admit: refuses a call above the quota.
    """

    def __init__(
        self,
        state: State,
        *,
        directory: Directory,
        trail: Trail,
        new_id: Callable[[], str],
        max_skew: timedelta,
        strict: bool,
        admit: Callable[[Request], None],
    ) -> None:
        self._state = state
        self._directory = directory
        self._trail = trail
        self._new_id = new_id
        self._max_skew = max_skew
        self._strict = strict
        self._admit = admit

    def handle(
        self, request: Request, *, now: datetime, request_id: str, conditions: Conditions
    ) -> Response:
        """Vend a session, or refuse; the subject and the audit event are written either way.

        Raises:
            Refusal: the first check that failed.
        """
        attempt = Attempt(request, request_id, now, conditions)
        try:
            grant = self._decide(request, attempt)
            validity = conditions.validity(grant.duration_seconds)
            grant = replace(grant, expiration=now + validity)
            keys = self._directory.mint(grant)
        except Refusal as refusal:
            self._record_subject(attempt, failed=True)
            self._trail.sign_in(attempt, refusal=refusal)
            raise
        subject_arn = self._record_subject(attempt, failed=False)
        session = _issued(grant, keys)
        self._state.sessions.append(session)
        answer = Response(201, _body(grant, keys, session.assumed_role_arn, subject_arn))
        self._trail.sign_in(attempt, answer=answer)
        return answer

    def _decide(self, request: Request, attempt: Attempt) -> Grant:
        now, checks = attempt.now, attempt.checks
        checks.begin("quota")
        self._admit(request)
        checks.begin("parameters")
        parameters = attempt.parameters = read_parameters(request)
        checks.begin("signature")
        signature = attempt.signature = verify_signature(
            request, now=now, max_skew=self._max_skew, strict=self._strict
        )
        leaf = signature.certificate
        checks.note(f"{signature.algorithm} over {';'.join(signature.signed_headers)}")
        checks.begin("trust anchor and profile exist")
        anchor = attempt.anchor = self._trust_anchor(parameters, attempt)
        profile = self._profile(parameters)
        checks.begin("one account, one Region")
        check_places(parameters, signature.region)
        checks.begin("enabled")
        check_enabled(anchor, profile)
        checks.begin("path to the trust anchor")
        path = trust.find_path(leaf, signature.intermediates, anchor.certificates, at=now)
        attempt.path = path
        checks.note(" < ".join(attributes.subject_text(certificate) for certificate in path))
        checks.begin("leaf")
        trust.check_leaf(leaf, at=now)
        checks.note(f"valid until {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}")
        checks.begin("revocation")
        crls = self._crls(anchor)
        revocation.check_revocation(path, crls, at=now, anchors=anchor.certificates)
        checks.note(f"enabled CRLs: {len(crls)}")
        attempt.authenticated = True
        return self._authorize(attempt, parameters, anchor, profile, signature)

    def _authorize(
        self,
        attempt: Attempt,
        parameters: Parameters,
        anchor: TrustAnchor,
        profile: Profile,
        signature: VerifiedSignature,
    ) -> Grant:
        now, checks, leaf = attempt.now, attempt.checks, signature.certificate
        checks.begin("role in the profile")
        check_role_listed(parameters, profile)
        checks.begin("session name")
        name = attempt.session_name = choose_session_name(parameters, profile, leaf)
        checks.note(name)
        checks.begin("role exists")
        duration = attempt.duration_seconds = choose_duration(parameters, profile)
        role = self._role(parameters)
        checks.begin("duration")
        check_role_duration(role, duration)
        checks.note(f"{duration} seconds")
        checks.begin("trust policy")
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
        checks.begin("session policies")
        check_session_policies(grant)
        checks.begin("keys")
        return grant

    def _trust_anchor(self, parameters: Parameters, attempt: Attempt) -> TrustAnchor:
        arn = parameters.trust_anchor_arn
        shelf = self._shelf(arn)
        try:
            anchor = shelf.find(TrustAnchor, arn)
        except Refusal:
            raise texts.TRUST_ANCHOR_NOT_FOUND.refusal({"arn": arn}) from None
        attempt.shelf = shelf
        if attempt.conditions.disables(anchor.trust_anchor_arn):
            return replace(anchor, enabled=False)
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
            reason = Reason("there is no such role")
            raise texts.UNABLE_TO_ASSUME.refusal({"arn": parameters.role_arn}) from reason

    def _record_subject(self, attempt: Attempt, *, failed: bool) -> str:
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
                "packedPolicySize": packed_size(grant),
                "roleArn": grant.role_arn,
                "sourceIdentity": grant.source_identity,
            }
        ],
        "subjectArn": subject_arn,
    }

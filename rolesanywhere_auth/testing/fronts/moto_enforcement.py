# SPDX-License-Identifier: Apache-2.0
"""What a session may do under moto's IAM enforcement, judged by our own evaluator.

moto's checks look at actions and resources of the role's policies, and at nothing
else: no condition that it does not know, no session tags, no session policy. So
for sessions that the emulator gave, and for these alone, `Enforcement` decides
before moto does: by the role's policies, its permissions boundary and the
profile's session policies, all of which must allow a request, with the condition
keys that AWS would have for the session. Signatures, the trust policies of roles
that such a session assumes, and bucket policies stay moto's business.

There is no way into moto for this but one method, `check_action_permitted` of
``moto.iam.access_control.IAMRequestBase``, which has been the same since 5.0.28.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit
from xml.sax.saxutils import escape

from moto.iam.access_control import IAMRequestBase
from moto.iam.models import iam_backends
from werkzeug.exceptions import HTTPException

from rolesanywhere_auth.testing.fronts.moto_sessions import Vended, find_vended
from rolesanywhere_auth.testing.service.directory import Grant
from rolesanywhere_auth.testing.service.policy import Layer, PolicyError, permits

_LOGGER = logging.getLogger(__name__)
_STATEMENT = {"Effect": "Allow", "Action": "*", "Resource": "*"}
_EVERYTHING = json.dumps({"Version": "2012-10-17", "Statement": [_STATEMENT]})
# The guide: allowed "even if there is an explicit deny".
_ALWAYS_ALLOWED = "sts:GetCallerIdentity"
_S3_QUERY = {
    "prefix": "s3:prefix",
    "delimiter": "s3:delimiter",
    "max-keys": "s3:max-keys",
    "versionId": "s3:VersionId",
}
_S3_HEADERS = (
    "x-amz-acl",
    "x-amz-copy-source",
    "x-amz-metadata-directive",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
)

Context = dict[str, "str | list[str]"]


class Enforcement:
    """Our judgement in moto; ends with `remove`. The last one made must be removed first."""

    def __init__(self) -> None:
        self._before: Any = IAMRequestBase.check_action_permitted
        IAMRequestBase.check_action_permitted = _judging(self._before)  # type: ignore[method-assign]

    def remove(self) -> None:
        """Give moto its method back."""
        IAMRequestBase.check_action_permitted = self._before  # type: ignore[method-assign]


class CannotJudgeError(HTTPException):
    """A policy that the evaluator does not understand: 501, and why."""

    code = 501

    def __init__(self, text: str, *, service: str, headers: Mapping[str, str]) -> None:
        super().__init__(_error_body(text, service=service, headers=headers))

    def get_body(self, environ: object = None, scope: object = None) -> str:
        """The body as the service's clients read it, instead of werkzeug's page."""
        del environ, scope
        return str(self.description)


def session_context(vended: Vended, *, now: datetime, region: str) -> Context:
    """The condition keys that a session has in every request.

    Source: IAM User Guide, "AWS global condition context keys"
    (reference_policies_condition-keys). Ours: the transport counts as secure, and
    the caller's address is that of loopback, since the emulator stands in for AWS.
    """
    grant = vended.grant
    issued = grant.expiration - timedelta(seconds=grant.duration_seconds)
    context: Context = {
        "aws:PrincipalArn": grant.role_arn,
        "aws:PrincipalAccount": grant.role_arn.split(":")[4],
        "aws:PrincipalType": "AssumedRole",
        "aws:PrincipalIsAWSService": "false",
        "aws:ViaAWSService": "false",
        "aws:MultiFactorAuthPresent": "false",
        "aws:userid": vended.user_id,
        "aws:SourceIdentity": grant.source_identity,
        "aws:TokenIssueTime": _time(issued),
        "aws:CurrentTime": _time(now),
        "aws:EpochTime": str(int(now.timestamp())),
        "aws:RequestedRegion": region,
        "aws:SecureTransport": "true",
        "aws:SourceIp": "127.0.0.1",
    }
    return context | {f"aws:PrincipalTag/{key}": value for key, value in grant.tags.items()}


def request_context(service: str, path: str, headers: Mapping[str, str]) -> Context:
    """The condition keys that come from the request: those of S3 that moto shows, and two more."""
    found = {name.lower(): str(value) for name, value in headers.items()}
    context: Context = {}
    for header, key in (("user-agent", "aws:UserAgent"), ("referer", "aws:Referer")):
        if header in found:
            context[key] = found[header]
    if service == "s3":
        query = parse_qs(urlsplit(path).query, keep_blank_values=True)
        context |= {key: query[name][0] for name, key in _S3_QUERY.items() if name in query}
        context |= {f"s3:{name}": found[name] for name in _S3_HEADERS if name in found}
        tags = dict(parse_qsl(found.get("x-amz-tagging", ""), keep_blank_values=True))
        context |= {f"s3:RequestObjectTag/{key}": value for key, value in tags.items()}
        context["s3:RequestObjectTagKeys"] = list(tags)
    return context


def _judging(before: Callable[[Any, str], None]) -> Any:
    @functools.wraps(before)
    def check_action_permitted(self: Any, resource: str) -> None:
        key = self._access_key
        found = find_vended(key.account_id, key.partition, key.create_credentials().access_key)
        if found is not None and self._action != _ALWAYS_ALLOWED:
            _check(self, resource, *found)
            # What is left to moto, such as the trust policy of a role to assume, must not
            # fail for the conditions that it does not understand.
            key.collect_policies = lambda: [_EVERYTHING]
        before(self, resource)

    return check_action_permitted


def _check(request: Any, resource: str, vended: Vended, now: datetime) -> None:
    service = request._service
    context = session_context(vended, now=now, region=request._region)
    context |= request_context(service, request._path, request._headers)
    if service == "sts":
        context["sts:SourceIdentity"] = vended.grant.source_identity
    try:
        layers = _layers(request._access_key, vended.grant)
        decision = permits(layers, action=request._action, resource=resource, context=context)
    except PolicyError as error:
        text = f"This emulator cannot judge {request._action} of {vended.grant.role_arn}: {error}"
        raise CannotJudgeError(text, service=service, headers=request._headers) from error
    _LOGGER.info("%s on %s: %s", request._action, resource, decision.reason)
    if not decision.allowed:
        request._raise_access_denied()


def _layers(key: Any, grant: Grant) -> list[Layer]:
    """The kinds of policies that must all allow a request.

    The inline and the managed session policies are one kind: what one of them
    allows, the session policies allow (API reference of STS, AssumeRole).
    """
    iam = iam_backends[key.account_id][key.partition]
    role = {role.arn: role for role in iam.get_roles()}.get(grant.role_arn)
    if role is None:
        return [Layer("a role that is gone", ())]
    layers = [Layer("the role's policies", tuple(map(_document, key.collect_policies())))]
    if boundary := role.permissions_boundary:
        # An ARN in moto 5.0, later what IAM's API answers.
        arn = boundary if isinstance(boundary, str) else boundary["PermissionsBoundaryArn"]
        layers.append(Layer("the role's permissions boundary", (_managed(iam, arn),)))
    session = [grant.session_policy] if grant.session_policy else []
    session += [_managed(iam, arn) for arn in grant.managed_policy_arns]
    if session:
        layers.append(Layer("the profile's session policies", tuple(session)))
    return layers


def _document(policy: Any) -> str:
    """An inline policy is its text; a managed one has versions."""
    if isinstance(policy, str):
        return policy
    return next(str(version.document) for version in policy.versions if version.is_default)


def _managed(iam: Any, arn: str) -> str:
    if arn not in iam.managed_policies:
        raise PolicyError(
            f"moto's IAM has no managed policy {arn}; make it with create_policy(), or, for AWS's "
            "own, set MOTO_IAM_LOAD_MANAGED_POLICIES=true before the emulator starts"
        )
    return _document(iam.managed_policies[arn])


def _time(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _error_body(text: str, *, service: str, headers: Mapping[str, str]) -> str:
    code = "NotImplemented"
    if "X-Amz-Target" in headers:
        return json.dumps({"__type": code, "message": text})
    error = f"<Error><Code>{code}</Code><Message>{escape(text)}</Message></Error>"
    return error if service == "s3" else f"<ErrorResponse>{error}</ErrorResponse>"

# SPDX-License-Identifier: Apache-2.0
"""What moto's IAM and Private CA say to the control plane.

While moto enforces IAM, a control-plane call needs a good signature and leave for its
action: the service authorization reference says which, and that CreateProfile,
UpdateProfile and EnableProfile need ``iam:PassRole`` for each role of the profile, and
a create with tags ``rolesanywhere:TagResource``. Otherwise every call is taken, as
everywhere in moto.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from botocore.auth import SigV4Auth
from botocore.credentials import Credentials
from moto import settings
from moto.acmpca.models import acmpca_backends
from moto.core.responses import BaseResponse
from moto.iam.access_control import CreateAccessKeyFailure, IAMRequestBase, create_access_key
from werkzeug.datastructures import Headers

from rolesanywhere_auth.testing.service.callers import Caller
from rolesanywhere_auth.testing.service.state import partition_of
from rolesanywhere_auth.testing.service.wire import Refusal, Request, access_denied, invalid

_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d+/([a-z0-9-]+)/rolesanywhere/")
_CA_ARN = re.compile(r"arn:aws(?:-[^:]+)?:acm-pca:([a-z0-9-]+):(\d{12}):certificate-authority/.+")


def identify(request: Request, account_id: str) -> Caller | None:
    """Who signed *request*, by moto's IAM and STS; None for nobody that they know.

    Raises:
        Refusal: moto enforces IAM, and the request is not signed, by nobody known, or
            wrongly (codes and texts are those of AWS's front for all JSON services).
    """
    if request.method == "POST" and request.path == "/sessions":
        return None
    enforcing = BaseResponse.request_count >= settings.INITIAL_NO_AUTH_ACTION_COUNT
    found = _CREDENTIAL.match(request.header("Authorization") or "")
    if found is None:
        if enforcing:
            raise Refusal(
                403, "MissingAuthenticationTokenException", "Missing Authentication Token"
            )
        return None
    if enforcing:
        return _checked(request, account_id)
    headers = _headers(request)
    try:
        return Caller(create_access_key(account_id, partition_of(found[2]), found[1], headers).arn)
    except CreateAccessKeyFailure:
        return None


def _checked(request: Request, account_id: str) -> Caller:
    def check(action: str, resource: str) -> None:
        # Anew each time: moto means such an object for one action.
        _Signed(request, account_id).check(action, resource)

    signed = _Signed(request, account_id)
    signed.check_signature()
    return Caller(signed.arn, check)


def _headers(request: Request) -> Any:
    # moto asks for names as AWS spells them and wants any spelling to do.
    return Headers(list(request.headers))


class _Signed(IAMRequestBase):
    """moto's judgement of one request, with refusals of this service."""

    def __init__(self, request: Request, account_id: str) -> None:
        super().__init__(
            account_id=account_id,
            method=request.method,
            path=request.path + (f"?{request.query}" if request.query else ""),
            data={},
            body=request.body,
            headers=_headers(request),
            action="",
        )
        self._resource = "*"

    @property
    def arn(self) -> str:
        """The user or the assumed role."""
        return str(self._access_key.arn)

    def check(self, action: str, resource: str) -> None:
        """Refuse an *action* on a *resource* that the caller's policies do not allow."""
        self._action, self._resource = action, resource
        self.check_action_permitted(resource)

    def _create_auth(self, credentials: Credentials) -> SigV4Auth:
        return SigV4Auth(credentials, self._service, self._region)

    def _raise_access_denied(self) -> NoReturn:
        # As UG/security_iam_troubleshoot has it; what follows "on resource" is IAM's habit.
        raise access_denied(
            f"User: {self.arn} is not authorized to perform: {self._action} "
            f"on resource: {self._resource}"
        )

    def _raise_signature_does_not_match(self) -> NoReturn:
        text = (
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method. Consult the service "
            "documentation for details."
        )
        raise Refusal(403, "InvalidSignatureException", text)

    def _raise_invalid_access_key(self, _reason: str) -> NoReturn:
        text = "The security token included in the request is invalid."
        raise Refusal(403, "UnrecognizedClientException", text)


def ca_certificate(arn: str) -> str:
    """The certificate of the CA with this ARN in moto's AWS Private CA, in PEM.

    Raises:
        Refusal: ``ValidationException`` (texts ours): no such CA, or none with a certificate.
    """
    found = _CA_ARN.fullmatch(arn)
    if found is None:
        raise invalid(f"acmPcaArn must be the ARN of a private CA, not '{arn}'.")
    region, account_id = found.groups()
    authority = acmpca_backends[account_id][region].certificate_authorities.get(arn)
    if authority is None:
        raise invalid(f"There is no private CA {arn}.")
    if authority.status != "ACTIVE":
        raise invalid(
            f"The private CA {arn} is {authority.status} and not ACTIVE: give it a certificate "
            "by ImportCertificateAuthorityCertificate."
        )
    return str(authority.certificate_bytes.decode())

# SPDX-License-Identifier: Apache-2.0
"""Every exception this library raises.

::

    RolesAnywhereError                    never raised itself
    ├── ConfigurationError                a setting cannot work; nothing was sent
    │   ├── ARNError                      does not parse, or does not fit the others
    │   ├── EndpointError                 no FIPS endpoint there, a malformed URL
    │   └── MissingExtraError             an optional library is not installed
    ├── IdentityError                     certificate or key of no use; nothing was sent
    │   ├── CertificateError
    │   │   ├── CertificateLoadError      no such file, or no certificate in it
    │   │   ├── CertificateExpiredError
    │   │   ├── CertificateNotYetValidError
    │   │   └── CertificateRequirementError   the service would refuse it: CA:TRUE, SHA-1 …
    │   ├── PrivateKeyError
    │   │   ├── PrivateKeyLoadError       no such file, or no private key in it
    │   │   ├── PassphraseError           missing or wrong
    │   │   ├── UnsupportedKeyError       Ed25519, secp256k1 …
    │   │   └── SigningError              the key store refused to sign
    │   └── KeyMismatchError              the key belongs to none of the certificates
    ├── SignInError                       CreateSession did not give credentials
    │   ├── TransportError                no answer; retryable unless TLS distrusts
    │   ├── SignInTimeoutError            it takes longer than a call may wait; retryable
    │   ├── InvalidResponseError          no usable credentials in the answer; retryable
    │   └── ServiceError                  the service's own refusal
    │       ├── AccessDeniedError
    │       │   ├── InvalidSignatureError
    │       │   ├── UntrustedCertificateError
    │       │   ├── CertificateRevokedError
    │       │   ├── ResourceDisabledError
    │       │   ├── RoleNotInProfileError
    │       │   ├── RoleSessionNameNotAllowedError
    │       │   └── AssumeRoleDeniedError
    │       ├── ResourceNotFoundError
    │       ├── InvalidRequestError
    │       ├── ThrottlingError           retryable
    │       └── ServiceUnavailableError   retryable
    └── ProvisioningError                 a set-up, teardown or revocation did not succeed
        ├── MissingPermissionError        the administrator may not do that
        └── ResourceConflictError         something that is there stands in the way

All are botocore's ``CredentialRetrievalError``; a `ConfigurationError` and an
`IdentityError` are a ``ValueError`` too.

Every error says by ``retryable`` whether the same call may succeed when it is
simply made again. No message ever holds a key, a passphrase or a token.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import CredentialRetrievalError


def _rebuild(cls: type[RolesAnywhereError], state: dict[str, Any]) -> RolesAnywhereError:
    error = cls.__new__(cls)
    Exception.__init__(error, state["message"])
    error.__dict__.update(state)
    return error


class RolesAnywhereError(CredentialRetrievalError):
    """Base of every error of this library; never raised itself.

    It derives from botocore's ``CredentialRetrievalError``, so that code which
    already handles ``BotoCoreError`` around an AWS call handles this too.
    """

    retryable: bool = False
    """Whether the same call may succeed when it is made again, unchanged."""

    def __init__(self, message: str) -> None:
        Exception.__init__(self, message)  # botocore's own takes format keywords
        self.message = message
        # as botocore's own formats them; the stubs know ``provider`` alone
        self.kwargs = {"provider": "rolesanywhere", "error_msg": message}  # type: ignore[typeddict-unknown-key]

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.__dict__.copy())


class ConfigurationError(RolesAnywhereError, ValueError):
    """A setting cannot work. Raised before any request."""


class ARNError(ConfigurationError):
    """An ARN does not parse, is of the wrong kind, or does not fit the others."""

    def __init__(self, message: str, *, arn: str | None = None) -> None:
        super().__init__(message)
        self.arn = arn


class EndpointError(ConfigurationError):
    """There is no such endpoint: FIPS where none exists, or a malformed URL."""


class MissingExtraError(ConfigurationError):
    """A library that this way of working needs is not installed."""

    def __init__(self, message: str, *, extra: str) -> None:
        super().__init__(message)
        self.extra = extra


class IdentityError(RolesAnywhereError, ValueError):
    """The certificate or its private key cannot be used. Raised before any request."""

    def __init__(self, message: str, *, source: str | None = None) -> None:
        super().__init__(message)
        self.source = source
        """A path, or a phrase such as ``"bytes given as certificate"``."""


class CertificateError(IdentityError):
    """Base of what can be wrong with a certificate."""


class CertificateLoadError(CertificateError):
    """The file is not there, cannot be read, or holds no certificate."""


class CertificateExpiredError(CertificateError):
    """The leaf's ``notAfter`` has passed."""


class CertificateNotYetValidError(CertificateError):
    """The leaf's ``notBefore`` has not come yet."""


class CertificateRequirementError(CertificateError):
    """The service refuses such a certificate.

    Rules: "Signature verification" in the trust model page of the AWS IAM Roles
    Anywhere user guide.
    """


class PrivateKeyError(IdentityError):
    """Base of what can be wrong with a private key."""


class PrivateKeyLoadError(PrivateKeyError):
    """The file is not there, cannot be read, or holds no private key."""


class PassphraseError(PrivateKeyError):
    """A passphrase is missing, or wrong."""


class UnsupportedKeyError(PrivateKeyError):
    """The service has no signing algorithm for such a key."""


class SigningError(PrivateKeyError):
    """The key was found but refused to sign."""


class KeyMismatchError(IdentityError):
    """The private key belongs to none of the certificates given."""


class SignInError(RolesAnywhereError):
    """Base: CreateSession did not give credentials."""


class TransportError(SignInError):
    """No answer came: name resolution, connection, TLS, proxy or time-out."""

    retryable = True

    def __init__(self, message: str, *, endpoint: str, retryable: bool = True) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.retryable = retryable


class SignInTimeoutError(SignInError):
    """A caller waited as long as it may for a sign-in that is still under way."""

    retryable = True


class InvalidResponseError(SignInError):
    """The answer holds no usable credentials: missing, empty, or expired already."""

    retryable = True


class ServiceError(SignInError):
    """The service refused. The text is its own; ``causes`` are what is known to lead to it."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        service_message: str,
        request_id: str | None = None,
        causes: tuple[str, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.service_message = service_message
        self.request_id = request_id
        self.causes = causes
        self.retry_after = retry_after
        """Seconds the service asks to wait before the next attempt, where it said so."""


class AccessDeniedError(ServiceError):
    """HTTP 403: the service knows the request and refuses it."""


class InvalidSignatureError(AccessDeniedError):
    """``Invalid signature``."""


class UntrustedCertificateError(AccessDeniedError):
    """``Untrusted signing certificate`` and ``Untrusted certificate. …``."""


class CertificateRevokedError(AccessDeniedError):
    """``Certificate revoked``."""


class ResourceDisabledError(AccessDeniedError):
    """The trust anchor or the profile is disabled."""


class RoleNotInProfileError(AccessDeniedError):
    """``Requested Role isn't one of those listed in the Profile``."""


class RoleSessionNameNotAllowedError(AccessDeniedError):
    """``Not authorized to set roleSessionName``."""


class AssumeRoleDeniedError(AccessDeniedError):
    """``Unable to assume role for …``: the role's trust policy or its limits."""


class ResourceNotFoundError(ServiceError):
    """HTTP 404: no such trust anchor or profile."""


class InvalidRequestError(ServiceError):
    """HTTP 400: a parameter breaks a constraint."""


class ThrottlingError(ServiceError):
    """HTTP 429, or a throttling code: more calls than the quota allows."""

    retryable = True


class ServiceUnavailableError(ServiceError):
    """HTTP 5xx, 408, or a redirect: the service failed, or was not reached, for the moment."""

    retryable = True


class ProvisioningError(RolesAnywhereError):
    """Setting up, tearing down or revoking at AWS did not succeed.

    Every step can be made again: the same call or command goes on where this one ended.
    """

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        """AWS's own, where AWS refused."""


class MissingPermissionError(ProvisioningError):
    """The administrator's credentials lack a permission."""

    def __init__(self, message: str, *, code: str, action: str, resource: str | None) -> None:
        super().__init__(message, code=code)
        self.action = action
        """Such as ``rolesanywhere:CreateTrustAnchor``."""
        self.resource = resource
        """Where AWS names it."""


class ResourceConflictError(ProvisioningError):
    """What is there already cannot be used, and is not ours to change."""

    def __init__(self, message: str, *, arns: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.arns = arns

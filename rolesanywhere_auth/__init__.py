# SPDX-License-Identifier: Apache-2.0
"""AWS credentials from an X.509 certificate, by IAM Roles Anywhere, for botocore and boto3.

Names resolve on first use: importing the package loads neither botocore nor
cryptography.
"""

from __future__ import annotations

from rolesanywhere_auth._version import __version__

TYPE_CHECKING = False  # typing's own would cost an import
if TYPE_CHECKING:
    from typing import Any

    from rolesanywhere_auth.chain import join_chain
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.credentials import RolesAnywhereCredentials, create_session
    from rolesanywhere_auth.diagnosis import Check, Diagnosis, diagnose
    from rolesanywhere_auth.errors import (
        AccessDeniedError,
        ARNError,
        AssumeRoleDeniedError,
        CertificateError,
        CertificateExpiredError,
        CertificateLoadError,
        CertificateNotYetValidError,
        CertificateRequirementError,
        CertificateRevokedError,
        ConfigurationError,
        EndpointError,
        IdentityError,
        InvalidRequestError,
        InvalidResponseError,
        InvalidSignatureError,
        KeyMismatchError,
        MissingExtraError,
        MissingPermissionError,
        PassphraseError,
        PrivateKeyError,
        PrivateKeyLoadError,
        ProvisioningError,
        ResourceConflictError,
        ResourceDisabledError,
        ResourceNotFoundError,
        RoleNotInProfileError,
        RolesAnywhereError,
        RoleSessionNameNotAllowedError,
        ServiceError,
        ServiceUnavailableError,
        SignInError,
        SigningError,
        SignInTimeoutError,
        ThrottlingError,
        TransportError,
        UnsupportedKeyError,
        UntrustedCertificateError,
    )
    from rolesanywhere_auth.events import Health, RenewalEvent, RenewalHook
    from rolesanywhere_auth.exchange import SessionCredentials
    from rolesanywhere_auth.identity import Identity
    from rolesanywhere_auth.keys import Signer
    from rolesanywhere_auth.provider import RolesAnywhereProvider
    from rolesanywhere_auth.roles import assume_role
    from rolesanywhere_auth.secrets import SecretReference
    from rolesanywhere_auth.session import boto3_session, botocore_session

_ROOMS = {
    "Check": "diagnosis",
    "Diagnosis": "diagnosis",
    "diagnose": "diagnosis",
    "Health": "events",
    "RenewalEvent": "events",
    "RenewalHook": "events",
    "Identity": "identity",
    "RolesAnywhereConfig": "config",
    "RolesAnywhereCredentials": "credentials",
    "RolesAnywhereProvider": "provider",
    "SecretReference": "secrets",
    "SessionCredentials": "exchange",
    "Signer": "keys",
    "assume_role": "roles",
    "boto3_session": "session",
    "botocore_session": "session",
    "create_session": "credentials",
    "join_chain": "chain",
}

__all__ = [
    "ARNError",
    "AccessDeniedError",
    "AssumeRoleDeniedError",
    "CertificateError",
    "CertificateExpiredError",
    "CertificateLoadError",
    "CertificateNotYetValidError",
    "CertificateRequirementError",
    "CertificateRevokedError",
    "Check",
    "ConfigurationError",
    "Diagnosis",
    "EndpointError",
    "Health",
    "Identity",
    "IdentityError",
    "InvalidRequestError",
    "InvalidResponseError",
    "InvalidSignatureError",
    "KeyMismatchError",
    "MissingExtraError",
    "MissingPermissionError",
    "PassphraseError",
    "PrivateKeyError",
    "PrivateKeyLoadError",
    "ProvisioningError",
    "RenewalEvent",
    "RenewalHook",
    "ResourceConflictError",
    "ResourceDisabledError",
    "ResourceNotFoundError",
    "RoleNotInProfileError",
    "RoleSessionNameNotAllowedError",
    "RolesAnywhereConfig",
    "RolesAnywhereCredentials",
    "RolesAnywhereError",
    "RolesAnywhereProvider",
    "SecretReference",
    "ServiceError",
    "ServiceUnavailableError",
    "SessionCredentials",
    "SignInError",
    "SignInTimeoutError",
    "Signer",
    "SigningError",
    "ThrottlingError",
    "TransportError",
    "UnsupportedKeyError",
    "UntrustedCertificateError",
    "__version__",
    "assume_role",
    "boto3_session",
    "botocore_session",
    "create_session",
    "diagnose",
    "join_chain",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOMS.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

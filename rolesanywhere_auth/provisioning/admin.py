# SPDX-License-Identifier: Apache-2.0
"""`Admin`: the AWS calls of an administrator, with refusals that say what to do."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from rolesanywhere_auth.errors import (
    ConfigurationError,
    MissingPermissionError,
    ProvisioningError,
    RolesAnywhereError,
)

if TYPE_CHECKING:
    from boto3 import Session

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_ABSENT = frozenset({"NoSuchEntity", "ResourceNotFoundException"})
BAD_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
"""Codes of AWS for access keys that are expired or wrong, whatever they may do."""
# The habit of all AWS services: "User: ARN is not authorized to perform: ACTION on resource: ARN".
_ACTION = re.compile(r"to perform: ([a-z0-9-]+:\w+)")
_RESOURCE = re.compile(r"on resource: (\S+)")
_USER = re.compile(r"User: (\S+)")


class Admin:
    """Who sets up: boto3 clients with the credentials of an administrator.

    Args:
        rolesanywhere: A boto3 client for Roles Anywhere; its Region is where things are made.
        iam: A boto3 client for IAM.
        sts: A boto3 client for STS, which tells the account.
    """

    def __init__(self, *, rolesanywhere: Any, iam: Any, sts: Any) -> None:
        self._clients = {"rolesanywhere": rolesanywhere, "iam": iam, "sts": sts}

    @classmethod
    def from_profile(
        cls,
        profile: str | None = None,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        iam_endpoint_url: str | None = None,
        sts_endpoint_url: str | None = None,
    ) -> Admin:
        """With the credentials that botocore finds, as the AWS CLI would.

        Args:
            profile: A profile of the AWS config; by default that of the environment.
            region: Where trust anchor and profile are; by default ``AWS_REGION``, as in the AWS
                CLI, then what boto3 finds.
            endpoint_url: Of Roles Anywhere, instead of botocore's settings and rules.
            iam_endpoint_url: Of IAM, likewise.
            sts_endpoint_url: Of STS, likewise.

        Raises:
            ConfigurationError: There is no such profile, or no Region is known; or Roles Anywhere
                is on this machine, and IAM or STS would be AWS's without having been named.
        """
        import boto3

        try:
            region = region or os.environ.get("AWS_REGION")
            session = boto3.Session(profile_name=profile, region_name=region)
            clients = {
                name: _client(session, name, url)
                for name, url in (
                    ("rolesanywhere", endpoint_url),
                    ("iam", iam_endpoint_url),
                    ("sts", sts_endpoint_url),
                )
            }
        except (BotoCoreError, ValueError) as error:
            hint = " Give --region, or set AWS_REGION." if "region" in str(error) else ""
            raise ConfigurationError(f"no AWS client could be made: {error}{hint}") from error
        _check_whereabouts(clients, given={"iam": iam_endpoint_url, "sts": sts_endpoint_url})
        return cls(**clients)

    @property
    def region(self) -> str:
        """Where trust anchor, profile and CRLs are."""
        return str(self._clients["rolesanywhere"].meta.region_name)

    @cached_property
    def caller_arn(self) -> str:
        """Who makes the calls."""
        return str(self._identity["Arn"])

    @cached_property
    def account_id(self) -> str:
        """The account of the credentials."""
        return str(self._identity["Account"])

    @cached_property
    def _identity(self) -> dict[str, Any]:
        return self.call("sts", "get_caller_identity")

    def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """One call.

        Args:
            service: ``rolesanywhere``, ``iam`` or ``sts``.
            operation: As boto3 names it, such as ``create_role``.
            parameters: Of the operation.

        Raises:
            MissingPermissionError: These credentials may not do that.
            ProvisioningError: Any other refusal, or no answer.
        """
        with _translated(service, operation):
            answer: dict[str, Any] = getattr(self._clients[service], operation)(**parameters)
        return answer

    def find(self, service: str, operation: str, **parameters: Any) -> dict[str, Any] | None:
        """One call that reads; None if there is no such thing. Raises as `call` does."""
        try:
            return self.call(service, operation, **parameters)
        except ProvisioningError as error:
            if is_absent(error):
                return None
            raise

    def listed(self, service: str, operation: str, key: str, **parameters: Any) -> list[Any]:
        """All pages of a listing. Raises as `call` does."""
        with _translated(service, operation):
            pages = self._clients[service].get_paginator(operation).paginate(**parameters)
            return [item for page in pages for item in page[key]]


def is_absent(error: ProvisioningError) -> bool:
    """Whether AWS said that there is no such thing."""
    return error.code in _ABSENT


def _check_whereabouts(clients: dict[str, Any], *, given: dict[str, str | None]) -> None:
    """Keep a set-up for an emulator from making its role in the account of AWS."""
    places = {name: str(client.meta.endpoint_url) for name, client in clients.items()}
    if urlsplit(places["rolesanywhere"]).hostname not in _LOOPBACK:
        return
    for name, url in given.items():
        if url is None and urlsplit(places[name]).hostname not in _LOOPBACK:
            raise ConfigurationError(
                f"Roles Anywhere is at {places['rolesanywhere']}, on this machine, and "
                f"{name.upper()} would be {places[name]}: give {name}_endpoint_url, "
                f"--{name}-endpoint, or AWS_ENDPOINT_URL_{name.upper()}"
            )


def _client(session: Session, name: str, url: str | None) -> Any:
    from botocore.config import Config

    # The quota of most operations is one call a second (UG/quotas).
    config = Config(retries={"mode": "standard", "total_max_attempts": 8})
    if url and urlsplit(url).hostname in _LOOPBACK:
        config = config.merge(Config(proxies={}))
    return session.client(name, endpoint_url=url, config=config)  # type: ignore[call-overload]


@contextlib.contextmanager
def _translated(service: str, operation: str) -> Iterator[None]:
    name = "".join(part.capitalize() for part in operation.split("_"))
    try:
        yield
    except ClientError as error:
        raise _refusal(error, service, name) from error
    except RolesAnywhereError:  # the administrator signs in by this library
        raise
    except BotoCoreError as error:
        raise ProvisioningError(f"{service}:{name} was not answered: {error}") from error


def _refusal(error: ClientError, service: str, operation: str) -> ProvisioningError:
    said: Any = error.response.get("Error", {})
    code, text = str(said.get("Code")), str(said.get("Message"))
    if code in _DENIED:
        return _denied(code, text, service, operation)
    if code in BAD_CREDENTIALS:
        return ProvisioningError(
            f"{service}:{operation} was refused ({code}: {text}): the administrator's credentials "
            "are expired or wrong. Sign in again, or choose others with --as PROFILE.",
            code=code,
        )
    return ProvisioningError(f"{service}:{operation} was refused: {code}: {text}", code=code)


def _denied(code: str, text: str, service: str, operation: str) -> MissingPermissionError:
    found, on, who = _ACTION.search(text), _RESOURCE.search(text), _USER.search(text)
    action = found[1] if found else f"{service}:{operation}"
    resource = on[1].rstrip(".") if on else None
    fix = f"Allow {action} on {resource or 'it'} in a policy of {who[1] if who else 'the caller'}."
    if "explicit deny" in text:
        fix = "An explicit Deny stands in the way, which no Allow overrules."
    elif found is None:
        fix = f"If the reason is not what follows, {fix[0].lower()}{fix[1:]}"
    return MissingPermissionError(
        f"{service}:{operation} was refused; it takes the permission {action}. {fix} AWS says: "
        f"{text}",
        code=code,
        action=action,
        resource=resource,
    )

# SPDX-License-Identifier: Apache-2.0
"""boto3 clients for services on loopback, and what `Emulator` does with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class Clients:
    """Makes unmodified boto3 clients; boto3 is imported by the first."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._session: Any = None

    def make(self, service_name: str, endpoint_url: str, keys: tuple[str, str, str | None]) -> Any:
        """A client with these keys: access key ID, secret, token."""
        import boto3
        from botocore.config import Config

        if self._session is None:
            self._session = boto3.Session(region_name=self._region)
        key_id, secret, token = keys
        return self._session.client(
            service_name,
            region_name=self._region,
            endpoint_url=endpoint_url,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            aws_session_token=token,
            # A proxy of the environment could not reach loopback.
            config=Config(proxies={}),
        )


def check_role_duration(seconds: int) -> None:
    """IAM's bounds of MaxSessionDuration.

    Raises:
        ValueError: *seconds* is out of them.
    """
    if not 3600 <= seconds <= 43200:
        raise ValueError(f"max_session_duration must be 3600 to 43200 seconds, not {seconds}")


def create_role(
    iam: Any,
    name: str,
    *,
    trust_policy: Mapping[str, Any],
    policy: Mapping[str, Any] | None,
    max_session_duration: int,
) -> str:
    """A role with an inline policy by an IAM client; *name* may begin with a path."""
    path, _, role_name = name.rpartition("/")
    role = iam.create_role(
        RoleName=role_name,
        Path=f"/{path}/" if path else "/",
        AssumeRolePolicyDocument=json.dumps(trust_policy),
        MaxSessionDuration=max_session_duration,
    )["Role"]
    if policy is not None:
        document = json.dumps(policy)
        iam.put_role_policy(RoleName=role_name, PolicyName="emulator", PolicyDocument=document)
    arn: str = role["Arn"]
    return arn

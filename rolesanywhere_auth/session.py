# SPDX-License-Identifier: Apache-2.0
"""botocore and boto3 sessions that sign in by certificate."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

# botocore.session gets to it, and to urllib3, through ten modules, where CPython 3.11 is slower.
import botocore.compat  # noqa: F401
import botocore.session

from rolesanywhere_auth._service_models import read_models_quickly
from rolesanywhere_auth._version import __version__
from rolesanywhere_auth.endpoints import variable
from rolesanywhere_auth.provider import RolesAnywhereProvider

if TYPE_CHECKING:
    import boto3

    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.events import RenewalHook


def botocore_session(
    config: RolesAnywhereConfig,
    *,
    region_name: str | None = None,
    profile_name: str | None = None,
    on_event: RenewalHook | None = None,
    now: Callable[[], float] = time.time,
) -> botocore.session.Session:
    """A botocore session whose clients take their credentials from *config*.

    Credentials in the environment or the AWS config files are not looked at; all
    other settings are.

    Args:
        config: Who signs in, and for which role.
        region_name: Of the clients. By default what the environment or the profile
            says, else the Region of the trust anchor.
        profile_name: Whose settings to use; by default ``AWS_PROFILE``.
        on_event: Told of every sign-in; see `RenewalEvent`.
        now: Seconds since the epoch; a test gives its own clock to see a renewal.

    Raises:
        ConfigurationError: the profile does not exist, or the AWS config file cannot be read.
    """
    session = new_session(
        region_name=region_name, fallback=config.region, profile_name=profile_name
    )
    provider = RolesAnywhereProvider(config, session=session, on_event=on_event, now=now)
    session.register_component("credential_provider", provider)
    return session


def new_session(
    *, region_name: str | None, fallback: str | None, profile_name: str | None
) -> botocore.session.Session:
    """A botocore session that names this library to the services it calls.

    Args:
        region_name: Of the clients; by default what the environment or the profile says.
        fallback: Where they say nothing either.
        profile_name: Whose settings to use.
    """
    session = botocore.session.Session(profile=profile_name)
    name_library(session)
    read_models_quickly(session)
    if not variable(session, "region") or region_name:
        session.set_config_variable("region", region_name or fallback)
    return session


def name_library(session: botocore.session.Session) -> None:
    """Add this library to the user agent of the session's clients."""
    extra = f"rolesanywhere-auth/{__version__}"
    session.user_agent_extra = f"{session.user_agent_extra} {extra}".strip()


def boto3_session(
    config: RolesAnywhereConfig,
    *,
    region_name: str | None = None,
    profile_name: str | None = None,
    on_event: RenewalHook | None = None,
    now: Callable[[], float] = time.time,
) -> boto3.Session:
    """A boto3 session that signs in when first needed, and again before expiry.

    The arguments are those of `botocore_session()`.
    """
    import boto3

    return boto3.Session(
        botocore_session=botocore_session(
            config, region_name=region_name, profile_name=profile_name, on_event=on_event, now=now
        )
    )

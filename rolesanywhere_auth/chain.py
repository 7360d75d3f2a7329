# SPDX-License-Identifier: Apache-2.0
"""`join_chain()`: profiles with a block ``rolesanywhere =`` work in a botocore session.

Into the chain itself leads a public way. Into ``source_profile`` and ``credential_source`` of
other profiles none does: three private names of botocore's assume-role provider are used, which
``tests/test_upstream.py`` watches, and without which the rest goes on to work.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import botocore
import botocore.session
from botocore.credentials import CredentialProvider
from botocore.exceptions import BotoCoreError

from rolesanywhere_auth import profiles
from rolesanywhere_auth.credentials import METHOD, RolesAnywhereCredentials
from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.provider import RolesAnywhereProvider
from rolesanywhere_auth.session import name_library

if TYPE_CHECKING:
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.events import RenewalHook

_ASSUME_ROLE = "assume-role"
_PROCESS = "custom-process"


class ProfileProvider(CredentialProvider):
    """Credentials of a profile's block, or of the environment; none where these say nothing.

    Args:
        session: Whose files and settings count.
        profile_name: Of a ``source_profile``; by default the session's own, over which the
            environment goes unless it was chosen in code.
        on_event: Told of every sign-in.
        now: Seconds since the epoch.
    """

    METHOD = METHOD
    CANONICAL_NAME = RolesAnywhereProvider.CANONICAL_NAME

    def __init__(
        self,
        session: botocore.session.Session,
        *,
        profile_name: str | None = None,
        on_event: RenewalHook | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(session)
        self._profile_name = profile_name
        self._on_event = on_event
        self._now = now
        self._credentials: RolesAnywhereCredentials | None = None

    def load(self) -> RolesAnywhereCredentials | None:
        """The credentials, the same ones each time; None if nothing is configured.

        Raises:
            ConfigurationError: What is configured cannot work.
        """
        if self._credentials is None:
            config = self._config(profiles.find_profile(self.session, self._profile_name))
            if config is not None:
                self._credentials = RolesAnywhereCredentials(
                    config, session=self.session, on_event=self._on_event, now=self._now
                )
        return self._credentials

    def _config(self, profile: profiles.Profile) -> RolesAnywhereConfig | None:
        named = self._profile_name or self.session.instance_variables().get("profile")
        return profiles.combined(profile, environ={} if named else os.environ)


class HelperProvider(ProfileProvider):
    """Credentials of a profile's ``credential_process``, if that is ``aws_signing_helper``."""

    METHOD = f"{METHOD}-process"
    CANONICAL_NAME = None  # type: ignore[assignment] # as botocore's own have it

    def _config(self, profile: profiles.Profile) -> RolesAnywhereConfig | None:
        from rolesanywhere_auth._command_line import arguments_of, parse

        key = "credential_process"
        line = profile.values.get(key)
        if not isinstance(line, str) or arguments_of(line) is None:
            return None
        return parse(line, where=f"{profile.where(key)}: {key}")


class _Builder:
    """botocore's ``ProfileProviderBuilder``, with ours among those of a source profile."""

    def __init__(self, inner: Any, make: Callable[[str | None], list[ProfileProvider]]) -> None:
        self._inner = inner
        self._make = make

    def providers(self, *, profile_name: str, disable_env_vars: bool = False) -> list[Any]:
        """Those for the profile *profile_name*, in order."""
        own = self._inner.providers(profile_name=profile_name, disable_env_vars=disable_env_vars)
        first, *process = self._make(profile_name)
        methods = [each.METHOD for each in own]
        place = methods.index(_PROCESS) if _PROCESS in methods else len(own)
        return [first, *own[:place], *process, *own[place:]]


def join_chain(
    session: botocore.session.Session,
    *,
    credential_process: bool = False,
    on_event: RenewalHook | None = None,
    now: Callable[[], float] = time.time,
) -> botocore.session.Session:
    """Let *session* find credentials of IAM Roles Anywhere where it finds all others.

    A profile with a block ``rolesanywhere =``, or variables ``ROLESANYWHERE_…``, then give
    credentials; so they do as ``source_profile`` or, with the name ``CustomRolesAnywhere``, as
    ``credential_source`` of a profile with ``role_arn``. In the chain they come after access
    keys in the environment and after such a profile, and before all else.

    Args:
        session: Of botocore; choose its profile before. For boto3:
            ``boto3.Session(botocore_session=join_chain(botocore.session.Session()))``.
        credential_process: Also serve profiles whose ``credential_process`` is
            ``aws_signing_helper credential-process``, without running it.
        on_event: Told of every sign-in; see `RenewalEvent`.
        now: Seconds since the epoch.

    Returns:
        *session*.

    Raises:
        ConfigurationError: It is no botocore session, has its own credentials, or has joined
            already; or its profile needs what the installed botocore has closed.
    """

    def make(profile_name: str | None) -> list[ProfileProvider]:
        kinds = [ProfileProvider, HelperProvider][: 1 + credential_process]
        return [
            kind(session, profile_name=profile_name, on_event=on_event, now=now) for kind in kinds
        ]

    resolver = _resolver(session)
    first, *process = make(None)
    if not _open(resolver.get_provider(_ASSUME_ROLE), first, make):
        _check_not_needed(session)
    resolver.insert_after(_ASSUME_ROLE, first)
    for each in process:
        resolver.insert_before(_PROCESS, each)
    name_library(session)
    return session


def _resolver(session: botocore.session.Session) -> Any:
    if not isinstance(session, botocore.session.Session):
        raise ConfigurationError(
            f"join_chain() takes a botocore session, not {type(session).__name__}; for boto3: "
            "boto3.Session(botocore_session=join_chain(botocore.session.Session()))"
        )
    try:
        resolver = session.get_component("credential_provider")
    except BotoCoreError as error:
        raise ConfigurationError(f"the chain of the session cannot be made: {error}") from error
    if inspect.iscoroutinefunction(getattr(resolver, "load_credentials", None)):
        raise ConfigurationError(
            "the chain of an aiobotocore session takes no providers of botocore: use "
            "rolesanywhere_auth.aio.aiobotocore_session(RolesAnywhereConfig.from_profile(…))"
        )
    methods = [each.METHOD for each in getattr(resolver, "providers", ())]
    if METHOD in methods:
        raise ConfigurationError("the session's chain has the provider already: join it once")
    if not {_ASSUME_ROLE, _PROCESS} <= set(methods):
        raise ConfigurationError(
            "the session's credential provider is not botocore's own chain; register a "
            "RolesAnywhereProvider with it instead"
        )
    return resolver


def _open(
    assume_role: Any,
    provider: ProfileProvider,
    make: Callable[[str | None], list[ProfileProvider]],
) -> bool:
    """Let the assume-role provider know ours; False where botocore has no place for that."""
    builder = getattr(assume_role, "_profile_provider_builder", None)
    sources = getattr(getattr(assume_role, "_credential_sourcer", None), "_providers", None)
    if not callable(getattr(builder, "providers", None)) or not isinstance(sources, list):
        return False
    assume_role._profile_provider_builder = _Builder(builder, make)
    sources.append(provider)
    return True


def _check_not_needed(session: botocore.session.Session) -> None:
    """Go along the profiles that the session's own leads to.

    Raises:
        ConfigurationError: one needs the provider behind ``role_arn``.
    """
    name: str | None = session.get_config_variable("profile") or "default"
    known = session.full_config["profiles"]
    seen: set[str | None] = set()
    while name in known and name not in seen and "role_arn" in known[name]:
        seen.add(name)
        source = known[name].get("source_profile")
        ours = known[name].get("credential_source") == ProfileProvider.CANONICAL_NAME
        if ours or profiles.BLOCK in known.get(source, {}):
            raise ConfigurationError(
                f"profile {name} takes a role from IAM Roles Anywhere, which botocore "
                f"{botocore.__version__} has no place for any more: give the source profile "
                "`credential_process = rolesanywhere-auth credential-process …` instead of the "
                "block, or call assume_role() in code"
            )
        name = source

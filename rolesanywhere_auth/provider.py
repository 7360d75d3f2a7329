# SPDX-License-Identifier: Apache-2.0
"""`RolesAnywhereProvider`: the credentials as a botocore credential provider."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import botocore.session
from botocore.credentials import CredentialProvider

from rolesanywhere_auth.credentials import METHOD, RolesAnywhereCredentials

if TYPE_CHECKING:
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.events import RenewalHook


class RolesAnywhereProvider(CredentialProvider):
    """Gives one `RolesAnywhereCredentials`, the same one at each call.

    It can stand alone, as ``session.register_component("credential_provider", provider)``,
    which nothing in the environment overrides, or join botocore's chain by
    ``session.get_component("credential_provider").insert_before("assume-role", provider)``.
    For profiles and the environment there is `join_chain`.

    Args:
        config: Who signs in, and for which role.
        session: The botocore session whose settings count for signing in.
        on_event: Told of every sign-in; see `RenewalEvent`.
        now: Seconds since the epoch, as `time.time`.
    """

    METHOD = METHOD
    CANONICAL_NAME = "CustomRolesAnywhere"

    def __init__(
        self,
        config: RolesAnywhereConfig,
        *,
        session: botocore.session.Session | None = None,
        on_event: RenewalHook | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(session)
        self._credentials = RolesAnywhereCredentials(
            config, session=session, on_event=on_event, now=now
        )

    def load(self) -> RolesAnywhereCredentials:
        """The credentials; nothing is read or sent yet."""
        return self._credentials

    def load_credentials(self) -> RolesAnywhereCredentials:
        """The same, under the name that a session's only provider is asked by."""
        return self._credentials

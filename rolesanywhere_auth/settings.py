# SPDX-License-Identifier: Apache-2.0
"""botocore's settings without a botocore session, which would take 60 ms to make.

Nearly all of that is importing what only clients need. Files, names, environment
variables, order and conversions are botocore's own here too: its tables and loaders.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from botocore.configloader import load_config, raw_config_parse
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigChainFactory
from botocore.exceptions import ConfigNotFound, ProfileNotFound
from botocore.loaders import create_loader

if TYPE_CHECKING:
    from botocore.session import Session


def default_session() -> Session | Settings:
    """Where settings and event handlers come from, when the caller gave no session.

    A session of its own if the process has use for sessions anyway: then somebody, such
    as moto, may have put handlers into each.
    """
    if "botocore.session" in sys.modules:
        from botocore.session import Session

        return Session()
    return Settings()


class Settings:
    """What signing in needs of `botocore.session.Session`, by the same names.

    Read at the first use and kept, as a session does.
    """

    def __init__(self) -> None:
        self._full_config: dict[str, Any] | None = None

    def get_config_variable(self, logical_name: str) -> Any:
        """The value of the environment, else of the profile, else botocore's default.

        Raises:
            botocore.exceptions.ProfileNotFound: the environment names no profile that is there.
        """
        key, variable, default, convert = BOTOCORE_DEFAUT_SESSION_VARIABLES[logical_name]
        chain = ConfigChainFactory(session=self, environ=os.environ).create_config_chain(
            env_var_names=variable,
            config_property_names=key,
            default=default,
            conversion_func=convert,
        )
        return chain.provide()

    def get_scoped_config(self) -> dict[str, Any]:
        """The profile's settings; raises as `get_config_variable()`."""
        profiles: dict[str, dict[str, Any]] = self.full_config["profiles"]
        name = self.get_config_variable("profile")
        if name is None:
            return profiles.get("default", {})
        if name not in profiles:
            raise ProfileNotFound(profile=name)
        return profiles[name]

    @property
    def full_config(self) -> dict[str, Any]:
        """All of the config file, and the profiles of the credentials file."""
        # No cached_property: up to Python 3.11 it holds a lock, which a fork would leave locked.
        if self._full_config is None:
            self._full_config = self._read()
        return self._full_config

    def _read(self) -> dict[str, Any]:
        try:
            config = load_config(self.get_config_variable("config_file"))
        except ConfigNotFound:
            config = {"profiles": {}}
        try:
            more = raw_config_parse(self.get_config_variable("credentials_file"))
        except ConfigNotFound:
            more = {}
        for name, values in more.items():
            config["profiles"].setdefault(name, {}).update(values)
        return config

    def get_component(self, name: str) -> Any:
        """The ``data_loader``; there is no other."""
        if name != "data_loader":
            raise ValueError(f"no component {name}")
        return create_loader(self.get_config_variable("data_path"))

    def emit_first_non_none_response(self, event_name: str, **_: object) -> None:
        """Nobody can have registered a handler."""

# SPDX-License-Identifier: Apache-2.0
"""`RolesAnywhereConfig` from text: a profile of the AWS config file, the environment, a command.

Which value is of what kind is `rolesanywhere_auth._texts`. Files are read by botocore's own
parser and found by its rules, through a session or, without one, `settings.Settings`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.configloader import raw_config_parse
from botocore.exceptions import BotoCoreError

from rolesanywhere_auth._texts import KINDS, Setting, build
from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.settings import Settings

if TYPE_CHECKING:
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.transport import Session

BLOCK = "rolesanywhere"
"""The name of the block in a profile."""
PREFIX = "ROLESANYWHERE_"
"""Of environment variables."""
_OTHERS = ("ROLESANYWHERE_EMULATOR_",)
"""Beginnings of variables that are no settings."""
_TYPO = 0.85
"""How near to a setting a variable is that cannot be meant otherwise; of `difflib`."""
REQUIRED = ("trust_anchor_arn", "profile_arn", "role_arn", "certificate")


class Profile(NamedTuple):
    """One profile as botocore reads it."""

    name: str
    values: Mapping[str, Any]
    config_file: Path
    credentials_file: Path

    def file_of(self, key: str) -> Path:
        """The file that *key* stands in; where both have it, the credentials file counts."""
        try:
            own = raw_config_parse(str(self.credentials_file)).get(self.name, {})
        except BotoCoreError:  # there is none
            own = {}
        return self.credentials_file if key in own else self.config_file

    def where(self, key: str) -> str:
        """How messages name it."""
        return f"profile {self.name} in {self.file_of(key)}"

    @property
    def block(self) -> dict[str, Setting] | None:
        """The settings of the block; None if there is none.

        Raises:
            ConfigurationError: It is no block, or one is unknown.
        """
        block = self.values.get(BLOCK)
        if block is None:
            return None
        where = self.where(BLOCK)
        if not isinstance(block, Mapping) or not block:
            raise ConfigurationError(
                f"{where}: {BLOCK} must be a block: nothing behind the =, and below it indented "
                "lines such as `  role_arn = arn:…`"
            )
        for key in block:
            if key not in KINDS:
                raise ConfigurationError(f"{where}: {BLOCK} has no setting {key!r}{_nearest(key)}")
        folder = self.file_of(BLOCK).parent
        return {
            key: Setting(text, f"{where}: {BLOCK}: {key}", folder=folder)
            for key, text in block.items()
        }


def _nearest(key: str) -> str:
    plain = key.lower().replace("-", "_")
    near = difflib.get_close_matches(plain, KINDS, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(KINDS)}"


def find_profile(session: Session, name: str | None = None) -> Profile:
    """The profile *name*; by default that of *session*, else ``default``, which may be empty.

    Raises:
        ConfigurationError: There is none of that name, or a file cannot be parsed.
    """
    try:
        chosen = name or session.get_config_variable("profile")
        files = [
            Path(os.path.expandvars(session.get_config_variable(each))).expanduser()
            for each in ("config_file", "credentials_file")
        ]
        everything = session.full_config
    except BotoCoreError as error:
        raise ConfigurationError(
            f"{error}. In a block such as `{BLOCK} =` each line is `name = value`."
        ) from error
    found = everything["profiles"].get(chosen or "default")
    if found is None and chosen is not None:
        raise ConfigurationError(_no_profile(chosen, everything, files))
    return Profile(chosen or "default", found or {}, *files)


def _no_profile(name: str, everything: Mapping[str, Any], files: list[Path]) -> str:
    text = f"there is no profile {name} in {files[0]} or {files[1]}"
    if name in everything:
        return f"{text}; write [profile {name}] instead of [{name}] in the config file"
    near = difflib.get_close_matches(name, everything["profiles"], n=1)
    return text + (f"; did you mean {near[0]}?" if near else "")


def read_environment(environ: Mapping[str, str]) -> dict[str, Setting]:
    """The settings among the environment variables, those that are not empty.

    Raises:
        ConfigurationError: A variable looks like a misspelt setting.
    """
    found: dict[str, Setting] = {}
    for variable, text in environ.items():
        if not text or not variable.startswith(PREFIX) or variable.startswith(_OTHERS):
            continue
        key = variable.removeprefix(PREFIX).lower()
        if key in KINDS:
            found[key] = Setting(text, variable, folder=None)
        else:
            near = difflib.get_close_matches(key, KINDS, n=1, cutoff=_TYPO)
            if near and not key.startswith(f"{near[0]}_"):  # the emulator exports one for each leaf
                raise ConfigurationError(
                    f"the environment variable {variable} is no setting; did you mean "
                    f"{PREFIX}{near[0].upper()}?"
                )
    return found


def from_environment(environ: Mapping[str, str]) -> RolesAnywhereConfig:
    """See `RolesAnywhereConfig.from_environment`."""
    found = read_environment(environ)
    missing = [f"{PREFIX}{key.upper()}" for key in REQUIRED if key not in found]
    if missing:
        raise ConfigurationError(f"the environment lacks {', '.join(missing)}")
    return build(found, where="the environment")


def from_profile(name: str | None, *, environ: Mapping[str, str]) -> RolesAnywhereConfig:
    """See `RolesAnywhereConfig.from_profile`."""
    profile = find_profile(Settings(), name)
    found = combined(profile, environ={} if name else environ)
    if found is None:
        raise ConfigurationError(_no_block(profile, named=bool(name)))
    return found


def combined(profile: Profile, *, environ: Mapping[str, str]) -> RolesAnywhereConfig | None:
    """What the block of *profile* says, and *environ* where that says something; or None.

    None if there is no block, and the environment has none of the settings without which
    there is no sign-in.

    Raises:
        ConfigurationError: They say too little, or something that cannot work.
    """
    variables = read_environment(environ)
    block = profile.block
    if block is None and not any(key in variables for key in REQUIRED):
        return None
    if block is None:
        return from_environment(environ)
    found = block | variables
    where = profile.where(BLOCK) + (", and the environment" if variables else "")
    missing = [key for key in REQUIRED if key not in found]
    if missing:
        raise ConfigurationError(f"{where}: {BLOCK} lacks {', '.join(missing)}")
    return build(found, where=where)


def _no_block(profile: Profile, *, named: bool) -> str:
    text = (
        f"profile {profile.name} in {profile.config_file} has no block `{BLOCK} =` with the "
        "indented lines trust_anchor_arn, profile_arn, role_arn, certificate and private_key"
    )
    if any(key in profile.values for key in ("trust_anchor_arn", "profile_arn")):
        return f"{text}: indent these below a line `{BLOCK} =`"
    if "credential_process" in profile.values:
        return f"{text}; it has a credential_process: from_credential_process() may read that"
    return text if named else f"{text}, and the environment has no {PREFIX}TRUST_ANCHOR_ARN etc."


def from_credential_process(name: str | None, *, command_line: str | None) -> RolesAnywhereConfig:
    """See `RolesAnywhereConfig.from_credential_process`."""
    from rolesanywhere_auth._command_line import parse

    if command_line is None:
        profile = find_profile(Settings(), name)
        command_line = profile.values.get("credential_process")
        where = f"{profile.where('credential_process')}: credential_process"
        if not isinstance(command_line, str):
            raise ConfigurationError(f"{where} is not there; give the profile that has it")
        return parse(command_line, where=where)
    if name is not None:
        raise ConfigurationError("give a profile's name or a command_line, not both")
    return parse(command_line, where="command_line")

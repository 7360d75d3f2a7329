# SPDX-License-Identifier: Apache-2.0
"""The arguments of `RolesAnywhereConfig` as texts: of what kind each is, and how it is read."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rolesanywhere_auth._containers import may_name_store
from rolesanywhere_auth.errors import ConfigurationError, RolesAnywhereError
from rolesanywhere_auth.secrets import SecretReference, from_text, refuse_content

if TYPE_CHECKING:
    from rolesanywhere_auth.config import RolesAnywhereConfig


class Setting(NamedTuple):
    """One value as the user wrote it, and where that was."""

    text: str
    name: str
    """How messages name it."""
    folder: Path | None
    """Of the file it stands in, from which relative paths count; None for a variable."""

    def __repr__(self) -> str:
        return f"Setting({self.name!r})"  # the text may be a secret

    def error(self, expected: str, *, show: bool = True) -> ConfigurationError:
        """It is not what was *expected*."""
        return ConfigurationError(
            f"{self.name} must be {expected}" + (f", not {self.text!r}" if show else "")
        )


def _text(setting: Setting) -> str:
    return setting.text


def _whole(setting: Setting) -> int:
    try:
        return int(setting.text)
    except ValueError:
        raise setting.error("a whole number") from None


def _seconds(setting: Setting) -> float:
    try:
        return float(setting.text)
    except ValueError:
        raise setting.error("a number of seconds") from None


def _boolean(setting: Setting) -> bool:
    """As botocore has them; but that takes everything else for false."""
    word = setting.text.lower()
    if word not in {"true", "false"}:
        raise setting.error("true or false")
    return word == "true"


def _boolean_or_path(setting: Setting) -> bool | str:
    if setting.text.lower() in {"true", "false"}:
        return _boolean(setting)
    return _path(setting)


def _path(setting: Setting) -> str:
    refuse_content(setting.text, name=setting.name)  # behind a folder it would look like a path
    path = os.path.expanduser(setting.text)  # noqa: PTH111 - Path fails for an unknown user
    return path if setting.folder is None else str(setting.folder / path)


def _source(setting: Setting) -> str:
    """A path, a reference to a key store, or, in a variable, the PEM text itself."""
    if may_name_store(setting.text) or "-----BEGIN" in setting.text:
        return setting.text
    return _path(setting)


def _passphrase(setting: Setting) -> SecretReference:
    if setting.folder is not None and setting.text.startswith("value:"):
        raise ConfigurationError(
            f"{setting.name}: the secret itself does not belong into this file, which others "
            "read and copy; refer to it by file:/path, env:NAME, credential:NAME, "
            "keyring:service/user or prompt:"
        )
    return from_text(setting.text, name=setting.name)


def _pairs(setting: Setting) -> dict[str, str]:
    """``name=value, name=value``, or an object in JSON."""
    if setting.text.startswith("{"):
        return _object(setting)
    found: dict[str, str] = {}
    for part in setting.text.split(","):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise _no_pairs(setting)
        found[name.strip()] = value.strip()
    return found


def _object(setting: Setting) -> dict[str, str]:
    try:
        found = json.loads(setting.text)
    except ValueError:
        raise _no_pairs(setting) from None
    if not all(isinstance(value, str) for value in found.values()):
        raise _no_pairs(setting)
    return dict(found)


def _no_pairs(setting: Setting) -> ConfigurationError:
    # that of a proxy may hold a password
    return setting.error("`name=value, name=value` or an object of texts in JSON", show=False)


KINDS: dict[str, Callable[[Setting], Any]] = {
    "trust_anchor_arn": _text,
    "profile_arn": _text,
    "role_arn": _text,
    "certificate": _source,
    "private_key": _source,
    "certificate_chain": _source,
    "passphrase": _passphrase,
    "session_duration": _whole,
    "role_session_name": _text,
    "instance_properties": _pairs,
    "region": _text,
    "endpoint_url": _text,
    "use_fips_endpoint": _boolean,
    "use_dualstack_endpoint": _boolean,
    "verify": _boolean_or_path,
    "proxies": _pairs,
    "connect_timeout": _seconds,
    "read_timeout": _seconds,
    "max_attempts": _whole,
    "cache": _boolean_or_path,
    "wait_timeout": _seconds,
    "serve_expired": _boolean,
}
"""What turns the text of each setting into the argument."""


def build(settings: Mapping[str, Setting], *, where: str) -> RolesAnywhereConfig:
    """The configuration that *settings* describe.

    Raises:
        ConfigurationError: One cannot work; the message says where it stands.
    """
    from rolesanywhere_auth.config import RolesAnywhereConfig

    arguments: dict[str, Any] = {}
    for key, setting in settings.items():
        if not setting.text:
            raise ConfigurationError(f"{setting.name} is empty; leave it out, or give a value")
        arguments[key] = KINDS[key](setting)
    try:
        return RolesAnywhereConfig(**arguments)
    except ConfigurationError as error:
        raise located(error, where=where) from None


def located(error: ConfigurationError, *, where: str) -> ConfigurationError:
    """The same error with *where* before its message."""
    again = copy.copy(error)
    RolesAnywhereError.__init__(again, f"{where}: {error.message}")
    return again

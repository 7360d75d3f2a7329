# SPDX-License-Identifier: Apache-2.0
"""``tpm:`` and ``handle:`` references: which key of a TPM is meant, and how to reach it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.keys._tpm_policy import Step, parse_step
from rolesanywhere_auth.secrets import Passphrase, SecretReference, from_text

_HANDLE = re.compile(r"(?:0x)?(81[0-9a-f]{6})", re.IGNORECASE)
_LIKE_HANDLE = re.compile(r"0x.*|[0-9a-f]{8}", re.IGNORECASE)
_OPTIONS = "tcti, auth, parent-auth and policy"
_VARIABLES = ("TPM2TOOLS_TCTI", "TPM2_PYTSS_TCTI")
_RESOURCE_MANAGER = "/dev/tpmrm0"


class Reference(NamedTuple):
    """What a reference says."""

    source: str
    """How messages name the key: without the options."""
    handle: int | None = None
    path: str | None = None
    """Of a TSS2 key file, if it is no handle."""
    tcti: str | None = None
    auth: Passphrase | None = None
    parent_auth: Passphrase | None = None
    policy: tuple[Step, ...] = ()


def parse_reference(text: str) -> Reference:
    """Read ``tpm:HANDLE-or-FILE;option=value;…``.

    A ``?`` may stand for ``;``. Within a path or value they are written as ``%3F`` and ``%3B``,
    and ``%`` as ``%25``.

    Raises:
        ConfigurationError: it makes no sense.
    """
    scheme, _, rest = text.partition(":")
    what, *options = re.split("[;?]", rest)
    what = unquote(what.strip())
    found = Reference(f"{scheme.lower()}:{what}")
    handle = _HANDLE.fullmatch(what)
    if handle is not None:
        found = found._replace(handle=int(handle[1], 16))
    elif not what or _LIKE_HANDLE.fullmatch(what) or scheme.lower() == "handle":
        raise ConfigurationError(
            f"{found.source}: not the persistent handle of a TPM key, which is of the form "
            "0x81000001 (tpm2_getcap handles-persistent lists them)."
        )
    else:
        found = found._replace(path=what)
    for option in filter(None, map(str.strip, options)):
        found = _with_option(found, option)
    return found


def _with_option(found: Reference, option: str) -> Reference:
    name, equals, value = option.partition("=")
    value = unquote(value)
    if equals and value and name == "tcti":
        return found._replace(tcti=value)
    if equals and name == "auth":
        return found._replace(auth=_secret(value, option=name, source=found.source))
    if equals and name == "parent-auth":
        return found._replace(parent_auth=_secret(value, option=name, source=found.source))
    if equals and name == "policy":
        return found._replace(policy=(*found.policy, parse_step(value)))
    raise ConfigurationError(
        f"{found.source}: an option is not known ({_OPTIONS} are), or has no value."
    )


def default_tcti() -> str | None:
    """How to reach the TPM where the reference does not say: as the TPM tools are told.

    Without their variables it is the kernel's resource manager; where that is not, the TSS's own
    choice (None).
    """
    for name in _VARIABLES:
        if os.environ.get(name):
            return os.environ[name]
    return f"device:{_RESOURCE_MANAGER}" if Path(_RESOURCE_MANAGER).exists() else None


def _secret(where: str, *, option: str, source: str) -> SecretReference:
    """Where a password is; never the password itself, as a reference gets into logs."""
    name = f"{source}: the option {option}"
    if where.startswith("value:"):
        raise ConfigurationError(
            f"{name}: a password is not written into a reference; give env:NAME or file:PATH, or "
            "the password as passphrase"
        )
    return from_text(where, name=name)

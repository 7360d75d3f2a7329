# SPDX-License-Identifier: Apache-2.0
"""How a program uses what a set-up made: a profile, environment variables, or Python."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from rolesanywhere_auth.arns import TRUST_ANCHOR, parse_arn
from rolesanywhere_auth.profiles import PREFIX

STAND_INS = {"certificate": "/path/to/certificate.pem", "private_key": "/path/to/private.key"}
"""Where the files are not known."""


def settings(
    arns: Mapping[str, str],
    *,
    certificate: str | None = None,
    private_key: str | None = None,
    session_duration: int = 3600,
    endpoint_url: str | None = None,
) -> dict[str, str | int]:
    """The settings of a `RolesAnywhereConfig`, by name."""
    found: dict[str, str | int] = {
        name: arns[name] for name in ("trust_anchor_arn", "profile_arn", "role_arn")
    }
    found["certificate"] = certificate or STAND_INS["certificate"]
    found["private_key"] = private_key or STAND_INS["private_key"]
    if session_duration != 3600:
        found["session_duration"] = session_duration
    if endpoint_url is not None:
        found["endpoint_url"] = endpoint_url
    return found


def as_profile(name: str, found: Mapping[str, str | int]) -> str:
    """A profile for ``~/.aws/config``."""
    region = parse_arn(str(found["trust_anchor_arn"]), kind=TRUST_ANCHOR).region
    lines = [f"[profile {name}]", f"region = {region}", "rolesanywhere ="]
    return "".join(f"{line}\n" for line in [*lines, *(f"    {k} = {v}" for k, v in found.items())])


def as_environment(found: Mapping[str, str | int]) -> str:
    """Lines for a POSIX shell."""
    return "".join(
        f"export {PREFIX}{name.upper()}={shlex.quote(str(value))}\n"
        for name, value in found.items()
    )


def as_python(found: Mapping[str, str | int]) -> str:
    """An expression."""
    lines = "".join(f"    {name}={_quoted(value)},\n" for name, value in found.items())
    return f"RolesAnywhereConfig(\n{lines})\n"


def _quoted(value: str | int) -> str:
    if isinstance(value, int):
        return str(value)
    return repr(value) if '"' in value or "\\" in value else f'"{value}"'

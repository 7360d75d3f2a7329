"""Command lines for an emulator."""

from __future__ import annotations

from rolesanywhere_auth.testing._setup import Setup


def role_flags(setup: Setup) -> list[str]:
    """The flags for a role, and none for the certificate."""
    return [
        *("--trust-anchor-arn", setup.trust_anchor_arn, "--profile-arn", setup.profile_arn),
        *("--role-arn", setup.role_arn, "--endpoint", setup.endpoint_url),
    ]


def sign_in_flags(setup: Setup) -> list[str]:
    """The flags that sign in with *setup*."""
    files = ["--certificate", str(setup.certificate), "--private-key", str(setup.private_key)]
    return [*role_flags(setup), *files]

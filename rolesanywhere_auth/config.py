# SPDX-License-Identifier: Apache-2.0
"""`RolesAnywhereConfig`: what a sign-in needs, validated once, before any request."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rolesanywhere_auth._durations import MAX_TIMEOUT, session_seconds, timeout_seconds
from rolesanywhere_auth._mappings import instance_properties, proxies
from rolesanywhere_auth.arns import ROLE, check_arns, parse_arn
from rolesanywhere_auth.errors import ConfigurationError, EndpointError
from rolesanywhere_auth.secrets import (
    MASK,
    Passphrase,
    SecretReference,
    looks_like_content,
    refuse_content,
)

if TYPE_CHECKING:
    from rolesanywhere_auth.keys import Signer

Source = str | os.PathLike[str] | bytes
"""A path, or the content itself as bytes (PEM, DER or PKCS#12) or as PEM text."""

SESSION_NAME = r"[\w+=,.@-]{2,64}"
"""ASCII; of STS, which CreateSession hands it to."""


@dataclass(frozen=True, kw_only=True, repr=False)
class RolesAnywhereConfig:
    """Who signs in, with which certificate, for which role.

    Nothing is read or sent when it is made; what can be checked without I/O is
    checked. It can be hashed, compared, and, as long as it holds references and no
    secret, pickled.

    Args:
        trust_anchor_arn: The trust anchor whose CA issued the certificate.
        profile_arn: The profile that lists the role.
        role_arn: The role to take.
        certificate: Path or content: PEM, DER or PKCS#12. May hold intermediates
            and the private key too. Or a reference to a key store, such as ``spiffe:``.
        private_key: Path or content, or any object with ``public_key()`` and
            ``sign(data)``. None when *certificate* holds the key.
        certificate_chain: Path or content with intermediates, in any order.
        passphrase: Of the private key or PKCS#12 file, or the PIN of a key store; text,
            bytes, a callable that returns either, or a `SecretReference`.
        session_duration: Seconds or ``timedelta``, 900 to 43200. The profile's own
            duration caps it; above the role's maximum the service refuses
            (user guide, "CreateSession").
        role_session_name: 2 to 64 of ``[A-Za-z0-9_+=,.@-]``; only where the profile
            accepts one. By default the service uses the certificate's serial number.
        instance_properties: At most 50 names and values of 1 to 200 characters,
            shown on the subject in the service's console.
        region: The trust anchor's Region, which is where the service is called and
            signed for; any other is an error.
        endpoint_url: Instead of botocore's rules and settings.
        use_fips_endpoint: None leaves it to botocore's settings.
        use_dualstack_endpoint: None leaves it to botocore's settings.
        verify: True, or the path of a CA bundle; None and ``""`` mean what botocore
            would use (``AWS_CA_BUNDLE``, the profile's ``ca_bundle``,
            ``REQUESTS_CA_BUNDLE``, then the default). Only an explicit False turns
            the check off, with a warning at each sign-in.
        proxies: Like botocore's ``Config(proxies=…)``; None takes them from the
            environment.
        connect_timeout: Seconds or ``timedelta``.
        read_timeout: Seconds or ``timedelta``.
        max_attempts: How often one sign-in tries, the first time included.
        cache: Share sessions with the other processes of this host and user: True for a
            private folder in memory (``$XDG_RUNTIME_DIR`` or ``/dev/shm``), or the path
            of a folder, where they are kept as plain text. Needs the extra ``cache``.
        wait_timeout: Seconds or ``timedelta`` that a call waits for a sign-in at most;
            by default both time-outs, times *max_attempts*.
        serve_expired: Whether expired credentials are still given out, with a warning,
            while the service cannot be reached: AWS may honour them in an outage. False
            raises the error instead.

    Raises:
        ARNError: An ARN is malformed, or they are of different accounts, partitions
            or Regions.
        ConfigurationError: Any other setting that cannot work.
    """

    trust_anchor_arn: str
    profile_arn: str
    role_arn: str
    certificate: Source = field(repr=False)
    private_key: Source | Signer | None = None
    certificate_chain: Source | None = None
    passphrase: Passphrase | None = field(default=None, repr=False)
    session_duration: int | timedelta = 3600
    role_session_name: str | None = None
    instance_properties: Mapping[str, str] | None = None
    region: str | None = None
    endpoint_url: str | None = None
    use_fips_endpoint: bool | None = None
    use_dualstack_endpoint: bool | None = None
    verify: bool | str | os.PathLike[str] | None = None
    proxies: Mapping[str, str] | None = None
    connect_timeout: float | timedelta = 5
    read_timeout: float | timedelta = 10
    max_attempts: int = 3
    cache: bool | str | os.PathLike[str] | None = None
    wait_timeout: float | timedelta | None = None
    serve_expired: bool = True

    def __post_init__(self) -> None:
        anchor = check_arns(
            trust_anchor_arn=self.trust_anchor_arn,
            profile_arn=self.profile_arn,
            role_arn=self.role_arn,
        )
        self._set("region", _region(self.region, anchor.region))
        self._set("session_duration", session_seconds(self.session_duration))
        self._set("connect_timeout", timeout_seconds("connect_timeout", self.connect_timeout))
        self._set("read_timeout", timeout_seconds("read_timeout", self.read_timeout))
        if self.cache in (False, ""):
            self._set("cache", None)
        _check_cache(self.cache)
        if self.wait_timeout is not None:
            self._set("wait_timeout", timeout_seconds("wait_timeout", self.wait_timeout))
        if not isinstance(self.serve_expired, bool):
            raise ConfigurationError(
                f"serve_expired must be True or False, not {self.serve_expired!r}"
            )
        for name in ("certificate", "certificate_chain"):
            _check_source(name, getattr(self, name))
        _check_private_key(self.private_key)
        _check_passphrase(self.passphrase)
        _check_session_name(self.role_session_name)
        if self.endpoint_url is not None:
            check_endpoint(self.endpoint_url)
        for name in ("use_fips_endpoint", "use_dualstack_endpoint"):
            _check_switch(name, getattr(self, name))
        if self.verify == "":
            self._set("verify", None)
        _check_verify(self.verify)
        if self.instance_properties is not None:
            self._set("instance_properties", instance_properties(self.instance_properties))
        if self.proxies is not None:
            self._set("proxies", proxies(self.proxies))
        _check_max_attempts(self.max_attempts)

    @classmethod
    def from_profile(cls, name: str | None = None) -> RolesAnywhereConfig:
        """Make one from the block ``rolesanywhere =`` of a profile of the AWS config file.

        Under it stands one ``name = value`` for each argument of this class: relative paths
        count from the folder of the file, durations are seconds, a passphrase is given by
        reference (`SecretReference`).

        Args:
            name: The profile, and nothing but the profile. By default ``AWS_PROFILE``, else
                ``default``; then a variable ``ROLESANYWHERE_…`` takes the place of a single
                setting, as in `from_environment()`.

        Raises:
            ConfigurationError: There is no such profile or block, or a setting cannot work;
                the message names file, profile and key.
        """
        from rolesanywhere_auth import profiles

        return profiles.from_profile(name, environ=os.environ)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> RolesAnywhereConfig:
        """Make one from environment variables: ``ROLESANYWHERE_`` and an argument's name.

        An empty one counts as not set. Relative paths count from the working directory, and
        certificate and key may be the PEM text itself; all else is as in a profile.

        Args:
            environ: By default ``os.environ``.

        Raises:
            ConfigurationError: One is missing, misspelt, or cannot work.
        """
        from rolesanywhere_auth import profiles

        return profiles.from_environment(os.environ if environ is None else environ)

    @classmethod
    def from_credential_process(
        cls, name: str | None = None, *, command_line: str | None = None
    ) -> RolesAnywhereConfig:
        """Make one from a profile's ``credential_process = aws_signing_helper …``.

        The command is read and not run: the same flags give the same credentials, without
        a child process at each renewal. The profile stays as it is, for other programs.

        Args:
            name: The profile; by default ``AWS_PROFILE``, else ``default``.
            command_line: Instead of a profile: what stands in one, quoted for a shell.

        Raises:
            ConfigurationError: There is no such profile, the command is another one, or it
                has a flag that cannot be served here.
        """
        from rolesanywhere_auth import profiles

        return profiles.from_credential_process(name, command_line=command_line)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def account_id(self) -> str:
        """The account of the role, 12 digits."""
        return parse_arn(self.role_arn, kind=ROLE).account_id

    @property
    def patience(self) -> float:
        """Seconds that a call waits for a sign-in at most."""
        if self.wait_timeout is not None:
            return timeout_seconds("wait_timeout", self.wait_timeout)
        one = timeout_seconds("", self.connect_timeout) + timeout_seconds("", self.read_timeout)
        return min(one * min(self.max_attempts, MAX_TIMEOUT), MAX_TIMEOUT)

    def __repr__(self) -> str:
        shown = []
        for item in fields(self):
            value = getattr(self, item.name)
            if value != item.default:
                shown.append(f"{item.name}={_shown(item.name, value)}")
        return f"RolesAnywhereConfig({', '.join(shown)})"

    def __copy__(self) -> RolesAnywhereConfig:
        return self  # cannot change

    def __deepcopy__(self, memo: dict[int, Any]) -> RolesAnywhereConfig:
        return self

    def __getstate__(self) -> dict[str, Any]:
        for name in ("certificate", "private_key", "certificate_chain", "passphrase"):
            if _is_content(name, getattr(self, name)):
                raise TypeError(
                    f"cannot pickle a RolesAnywhereConfig whose {name} is the secret or the "
                    "content itself; give a path (or, for a passphrase, a function of a module) "
                    "instead, so that no secret travels in the pickle"
                )
        if any("@" in url for url in (self.proxies or {}).values()):
            raise TypeError(
                "cannot pickle a RolesAnywhereConfig whose proxies hold a user name or password; "
                "set HTTPS_PROXY instead, so that no secret travels in the pickle"
            )
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            self._set(name, value)


def _is_content(name: str, value: object) -> bool:
    if name == "passphrase":
        return value is not None and not callable(value)
    return isinstance(value, bytes) or (
        isinstance(value, str) and ("-----BEGIN" in value or "pin-value" in value)
    )


def _shown(name: str, value: object) -> str:
    if name == "passphrase":
        return repr(value) if isinstance(value, SecretReference) else MASK
    if _is_content(name, value):
        return f"<{len(value)} {type(value).__name__}>"  # type: ignore[arg-type]
    if name == "proxies" and isinstance(value, Mapping):
        return repr({scheme: without_login(url) for scheme, url in value.items()})
    return repr(value)


def without_login(url: str) -> str:
    """*url* with all that may be a user name and password masked, however malformed."""
    login, at, host = url.rpartition("@")
    scheme, colon, _ = login.rpartition("://")
    return f"{scheme}{colon}{MASK}{at}{host}" if at else url


def _check_source(name: str, value: object) -> None:
    if value is None and name == "certificate_chain":
        return
    if not isinstance(value, str | bytes | os.PathLike) or not value:
        raise ConfigurationError(
            f"{name} must be a path or the content as bytes, not "
            + ("empty" if isinstance(value, str | bytes) else type(value).__name__)
        )
    if isinstance(value, str) and "-----BEGIN" in value:
        return
    text = os.fspath(value)
    if isinstance(text, str) and looks_like_content(text):
        raise ConfigurationError(
            f"{name} is taken for a path, but looks like the content of a key or certificate "
            f"({len(text)} characters, not shown). Pass a PEM with its -----BEGIN line, or bytes; "
            "decode base64 first"
        )


def _check_private_key(value: object) -> None:
    methods = [callable(getattr(value, name, None)) for name in ("public_key", "sign")]
    if value is None or all(methods):
        return
    if any(methods):
        raise ConfigurationError(
            f"a {type(value).__name__} given as private_key needs both public_key() and sign(data)"
        )
    _check_source("private_key", value)


def _check_passphrase(value: object) -> None:
    if value is not None and not isinstance(value, str | bytes) and not callable(value):
        raise ConfigurationError(
            f"passphrase must be str, bytes or a callable, not {type(value).__name__}"
        )


def _check_session_name(value: object) -> None:
    if value is not None and not (
        isinstance(value, str) and re.fullmatch(SESSION_NAME, value, re.ASCII)
    ):
        raise ConfigurationError(
            f"role_session_name must be 2 to 64 of letters, digits and _+=,.@-, not {value!r}"
        )


def _region(value: object, anchors: str) -> str:
    if value not in (None, "", anchors):
        raise ConfigurationError(
            f"region is {value!r}, but the trust anchor is in {anchors}: a sign-in takes place "
            "where the trust anchor is; leave region out"
        )
    return anchors


def check_endpoint(value: object, *, name: str = "endpoint_url") -> None:
    """Check that *value*, which came from the setting *name*, is a base URL.

    Raises:
        EndpointError: It is not; the message shows no password.
    """
    if not isinstance(value, str):
        raise EndpointError(f"{name} must be a str, not {type(value).__name__}")
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        # urlsplit() drops line ends that the request would keep
        usable = usable and value.isascii() and value.isprintable() and " " not in value
        labels = str(parts.hostname).removesuffix(".").split(".")
        usable = usable and all(0 < len(label) < 64 for label in labels)
    except ValueError:  # no IPv6 address in the brackets, no number as port
        usable = False
    if not usable:
        raise EndpointError(
            f"{name} must be https:// (or http://), a host and perhaps a port, in ASCII, not "
            f"{without_login(value)!r}"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise EndpointError(f"{name} may hold no user name, query or fragment")


def _check_switch(name: str, value: object) -> None:
    if value is not None and not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True, False or None, not {value!r}")


def _check_verify(value: object) -> None:
    if value is not None and not isinstance(value, bool | str | os.PathLike):
        raise ConfigurationError(
            "verify must be True, the path of a CA bundle, None (what botocore would use) or "
            f"False, not {type(value).__name__}"
        )
    refuse_content(value, name="verify")


def _check_cache(value: object) -> None:
    if value is not None and not isinstance(value, bool | str | os.PathLike):
        raise ConfigurationError(
            f"cache must be True, the path of a folder, or None, not {type(value).__name__}"
        )
    refuse_content(value, name="cache")


def _check_max_attempts(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"max_attempts must be a whole number from 1 on, not {value!r}")

# SPDX-License-Identifier: Apache-2.0
"""Finding the service's endpoint, and what verifies it, by botocore's rules and settings.

Nothing here imports more of botocore than its exceptions, as a process that signs in once
has no time for it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ProfileNotFound

from rolesanywhere_auth.config import check_endpoint
from rolesanywhere_auth.errors import ConfigurationError, EndpointError, TransportError
from rolesanywhere_auth.secrets import MASK, refuse_content
from rolesanywhere_auth.signing import SERVICE

if TYPE_CHECKING:
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.transport import Line, Session

logger = logging.getLogger("rolesanywhere_auth.transport")

_LOGIN = r"//[^/\s\"']*@"
_UNPARSED = r"(?s)(Failed to parse: ).*?(?= is not |$)"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def resolve_endpoint(config: RolesAnywhereConfig, session: Session) -> str:
    """The URL of the service: scheme, host and perhaps a path, without ``/sessions``.

    In this order, as botocore has it: ``config.endpoint_url``;
    ``AWS_ENDPOINT_URL_ROLESANYWHERE``; ``AWS_ENDPOINT_URL``; the profile's services
    section; the profile's ``endpoint_url``; the rule of the Region's partition.

    Raises:
        EndpointError: FIPS or dual-stack together with a URL, FIPS where the
            service has no such endpoint, or a malformed URL.
        ConfigurationError: the profile or its services section does not exist.
    """
    fips = _setting(session, "use_fips_endpoint", chosen=config.use_fips_endpoint)
    dualstack = _setting(session, "use_dualstack_endpoint", chosen=config.use_dualstack_endpoint)
    url = config.endpoint_url or configured_endpoint(session, os.environ)
    if url is None:
        return _rule(str(config.region), session, fips=fips, dualstack=dualstack)
    check_endpoint(url, name="the endpoint URL (of AWS_ENDPOINT_URL… or the profile)")
    if fips or dualstack:
        raise EndpointError(
            f"{'FIPS' if fips else 'dual-stack'} and the endpoint URL {url} exclude each other, "
            "as in botocore: drop one (see use_fips_endpoint, use_dualstack_endpoint, "
            "AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT, AWS_ENDPOINT_URL…)"
        )
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        logger.warning("credentials will come in clear text from %s: use https", url)
    return url.rstrip("/")


def _setting(session: Session, name: str, *, chosen: bool | None) -> bool:
    return bool(variable(session, name)) if chosen is None else chosen


def variable(session: Session, name: str) -> Any:
    """The session's setting *name*.

    Raises:
        ConfigurationError: the profile does not exist, or the AWS config file cannot be read.
    """
    try:
        return session.get_config_variable(name)
    except BotoCoreError as error:
        if not isinstance(error, ProfileNotFound):
            raise ConfigurationError(f"the AWS configuration cannot be read: {error}") from error
        raise ConfigurationError(
            f"{error}: AWS_PROFILE (or the session's profile) names a profile that is in neither "
            "the AWS config nor the credentials file"
        ) from error


def configured_endpoint(session: Session, environ: Mapping[str, str]) -> str | None:
    """The endpoint URL of the environment or the profile, or None.

    As described in the AWS SDKs and Tools reference guide, "Service-specific
    endpoints".
    """
    if variable(session, "ignore_configured_endpoint_urls"):
        return None
    for name in (f"AWS_ENDPOINT_URL_{SERVICE.upper()}", "AWS_ENDPOINT_URL"):
        if environ.get(name):
            return environ[name]
    profile = session.get_scoped_config()
    services: dict[str, Any] = {}
    if "services" in profile:
        name = str(profile["services"])
        services = session.full_config.get("services", {}).get(name)
        if not services:
            raise ConfigurationError(f"the profile names services = {name}, but there is no "
                                     f"[services {name}] in the AWS config file")  # fmt: skip
    own = services.get(SERVICE) or {}
    if not isinstance(own, dict):
        raise ConfigurationError(
            f"[services {name}] in the AWS config file has {SERVICE} = …, where settings belong: "
            f"write {SERVICE} = and, indented below it, endpoint_url = https://…"
        )
    return own.get("endpoint_url") or profile.get("endpoint_url")


def _rule(region: str, session: Session, *, fips: bool, dualstack: bool) -> str:
    loader = session.get_component("data_loader")
    partitions = loader.load_data("partitions")["partitions"]
    partition = next(
        (
            p
            for p in partitions
            if region in p["regions"] or re.match(p["regionRegex"], region, re.ASCII)
        ),
        partitions[0],
    )["outputs"]
    if dualstack and not partition["supportsDualStack"]:
        raise EndpointError(
            f"there are no dual-stack endpoints in the partition {partition['name']} of {region}, "
            "as far as the installed botocore knows: leave use_dualstack_endpoint out"
        )
    if fips:
        _check_fips(region, loader.load_data("endpoints"))
    suffix = partition["dualStackDnsSuffix" if dualstack else "dnsSuffix"]
    return f"https://{SERVICE}{'-fips' if fips else ''}.{region}.{suffix}"


def _check_fips(region: str, endpoints: Mapping[str, Any]) -> None:
    """botocore would make up a FIPS name for every Region; only some exist."""
    known = set()
    for partition in endpoints["partitions"]:
        service = partition["services"].get(SERVICE, {})
        for name, endpoint in service.get("endpoints", {}).items():
            if any("fips" in variant["tags"] for variant in endpoint.get("variants", ())):
                known.add(name)
    if region not in known:
        raise EndpointError(
            f"the service has no FIPS endpoint in {region}; it has one in "
            f"{', '.join(sorted(known))}"
        )


def verification(config: Line, session: Session) -> bool | str:
    """What botocore would use where the configuration says nothing; never off by accident."""
    if config.verify is False:
        logger.warning("TLS certificates are not verified (verify=False): anyone on the way "
                       "can read and replace the credentials")  # fmt: skip
        return False
    chosen = config.verify if config.verify is not True else None
    if chosen is None and config.verify is None:
        chosen = variable(session, "ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    if not chosen:
        return True
    if not isinstance(chosen, str | os.PathLike):
        raise ConfigurationError("ca_bundle in the profile must be a path, not nested settings")
    refuse_content(chosen, name="the CA bundle (of AWS_CA_BUNDLE …)")
    path = Path(chosen)
    try:
        path = path.expanduser()
        if path.is_file():
            return str(path)
        fault = "is no file" if path.exists() else "does not exist"
    except (OSError, RuntimeError) as error:  # a folder that is not ours, nobody's home
        fault = f"cannot be read ({getattr(error, 'strerror', None) or error})"
    raise ConfigurationError(
        f"the CA bundle {path} {fault}; see verify, AWS_CA_BUNDLE, the profile's ca_bundle "
        "and REQUESTS_CA_BUNDLE"
    )


def no_answer(endpoint: str, error: Exception, *, distrust: bool) -> TransportError:
    """What to raise when a request to *endpoint* ended in *error*.

    Args:
        endpoint: The URL.
        error: Of the HTTP client.
        distrust: Whether the endpoint's certificate was not believed.
    """
    if distrust:
        hint = "give the CA that signed the endpoint's certificate as verify or AWS_CA_BUNDLE"
    else:
        hint = "check the network, the proxy settings and the endpoint"
    # a proxy's URL may hold a password; where that has a slash, urllib3 shows a half of it
    cause = re.sub(_UNPARSED, rf"\1{MASK}", re.sub(_LOGIN, f"//{MASK}@", str(error)))
    return TransportError(
        f"no answer from {endpoint}: {cause} ({hint})", endpoint=endpoint, retryable=not distrust
    )

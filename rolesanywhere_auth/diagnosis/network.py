# SPDX-License-Identifier: Apache-2.0
"""The way to the service, step by step: endpoint, proxy, DNS, TCP, TLS, its answer, its clock."""

from __future__ import annotations

import os
import socket
import ssl
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.httpsession import ProxyConfiguration, create_urllib3_context, get_cert_path

from rolesanywhere_auth._durations import timeout_seconds
from rolesanywhere_auth.config import without_login
from rolesanywhere_auth.diagnosis import wire
from rolesanywhere_auth.diagnosis.case import (
    Case,
    Finding,
    Step,
    failure,
    not_needed,
    passed,
    warning,
)
from rolesanywhere_auth.diagnosis.report import Facts
from rolesanywhere_auth.endpoints import resolve_endpoint, verification
from rolesanywhere_auth.errors import ConfigurationError, TransportError
from rolesanywhere_auth.exchange import MAX_SKEW, HTTPResponse, http_date
from rolesanywhere_auth.refusals import excerpt, one_line
from rolesanywhere_auth.signing import SERVICE, HTTPRequest
from rolesanywhere_auth.transport import PROXY_FORM, USER_AGENT, Transport, is_proxy, proxies_for

if TYPE_CHECKING:
    from cryptography import x509

EVENT = f"before-send.{SERVICE}.Diagnosis"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SKEW_WARNING = 60.0
"""Seconds: less than the age of a cached answer or a slow line makes."""
_UNKNOWN_CA = frozenset({18, 19, 20, 21})
"""X509_V_ERR_ of OpenSSL: self-signed, self-signed in the chain, no issuer, no chain."""
_WRONG_TIME = frozenset({9, 10})
_WRONG_NAME = frozenset({62, 64})


def look_at_endpoint(case: Case) -> Finding:
    """Which URL it is."""
    case.endpoint = resolve_endpoint(case.config, case.session)
    parts = urlsplit(case.endpoint)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        return warning(
            f"{case.endpoint} is not encrypted: anyone on the way can read the credentials",
            "use https, and give a CA of your own by verify or AWS_CA_BUNDLE",
        )
    return passed(case.endpoint)


# Proxy, DNS, TCP


def look_at_proxy(case: Case) -> Finding:
    """Whether there is one, and whether it lets this host through."""
    configuration = ProxyConfiguration(proxies_for(case.config, case.endpoint))
    proxy = configuration.proxy_url_for(case.endpoint)
    if not proxy:
        return passed("none is set for this endpoint")
    if not is_proxy(proxy):  # its text may be a part of the password
        return failure(f"the proxy's URL ({_origin(case)}) cannot be read", PROXY_FORM)
    case.proxy, case.proxy_headers = proxy, configuration.proxy_headers_for(proxy)
    return _through(case, proxy, wire.place_of(proxy))


def _through(case: Case, proxy: str, place: wire.Place) -> Finding:
    """Whether the proxy is there, and connects."""
    shown = f"{without_login(proxy)} ({_origin(case)})"
    timeout = timeout_seconds("connect_timeout", case.config.connect_timeout)
    try:
        wire.connect(place, timeout=timeout)
    except OSError as error:
        return failure(
            f"the proxy {shown} cannot be reached: {_reason(error)}",
            "correct the setting, or take this host out of it by NO_PROXY",
        )
    if not case.endpoint.startswith("https:"):
        return passed(f"by way of {shown}")
    return _connecting(case, shown)


def _connecting(case: Case, shown: str) -> Finding:
    try:
        _way(case).close()
    except wire.TunnelError as error:
        return _refused(error, case, shown)
    except ssl.SSLError as error:
        return failure(
            f"no TLS with the proxy {shown}: {_reason(error)}",
            "see whether it speaks TLS itself (most do not: http:// in its URL, also for https "
            "endpoints), and whether its CA is in verify or AWS_CA_BUNDLE",
        )
    except OSError as error:
        return failure(
            f"the proxy {shown} does not connect to {wire.place_of(case.endpoint)}: "
            f"{_reason(error)}",
            "see whether this is an HTTP proxy that knows CONNECT",
        )
    return passed(f"by way of {shown}, which connects to {wire.place_of(case.endpoint)}")


def _refused(error: wire.TunnelError, case: Case, shown: str) -> Finding:
    fix = "have the proxy's rules allow CONNECT to this host, or set NO_PROXY to it"
    if error.status == 407:
        fix = "give user name and password in the proxy's URL: http://USER:PASSWORD@HOST:PORT"
    elif error.status >= 500:
        fix = "the proxy cannot reach or resolve the host: see its log"
    return failure(
        f"the proxy {shown} refuses to connect to {wire.place_of(case.endpoint)}: {error}", fix
    )


def _origin(case: Case) -> str:
    if case.config.proxies is not None:
        return "proxies of the configuration"
    scheme = urlsplit(case.endpoint).scheme
    for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"):
        if os.environ.get(name):
            return name
    return "the system's setting"


def look_at_dns(case: Case) -> Finding:
    """Whether the host has an address."""
    place = wire.place_of(case.endpoint)
    if case.proxy is not None:
        return not_needed("the proxy looks the name up")
    try:
        found = wire.addresses(*place)
    except OSError as error:
        return failure(
            f"{place.host} has no address: {error.strerror or error}",
            f"see the Region ({case.config.region}), the endpoint's name, and this machine's "
            "resolver",
        )
    return passed(f"{place.host} is {', '.join(found)}", {"addresses": len(found)})


def look_at_tcp(case: Case) -> Finding:
    """Whether the port answers."""
    place = wire.place_of(case.endpoint)
    if case.proxy is not None:
        return not_needed("the proxy connects")
    timeout = timeout_seconds("connect_timeout", case.config.connect_timeout)
    try:
        address, seconds = wire.connect(place, timeout=timeout)
    except OSError as error:
        fix = "see the firewall, the route, and whether a proxy is to be set (HTTPS_PROXY)"
        if isinstance(error, ConnectionRefusedError):
            fix = "nothing listens there: see endpoint and port"
        return failure(f"no connection to {place}: {_reason(error)}", fix)
    return passed(f"{address} port {place.port} answers", {"seconds": round(seconds, 4)})


def _way(case: Case) -> socket.socket:
    by_tls = (case.proxy or "").startswith("https:")
    return wire.open_way(
        wire.place_of(case.endpoint),
        proxy=case.proxy,
        headers=case.proxy_headers,
        timeout=timeout_seconds("connect_timeout", case.config.connect_timeout),
        context=_context(_bundle(case)) if by_tls else None,
    )


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return error.strerror or str(error) or type(error).__name__


# TLS


def look_at_tls(case: Case) -> Finding:
    """Whether the endpoint's certificate is believed, and by which CA bundle."""
    if case.endpoint.startswith("http:"):
        return not_needed("the endpoint is http")
    bundle = _bundle(case)
    name = wire.place_of(case.endpoint).host
    try:
        context = _context(bundle)
        version, _ = wire.shake_hands(_way(case), context, name=name)
    except ssl.SSLCertVerificationError as error:
        return _distrusted(case, error, f"{bundle} ({_bundle_origin(case)})")
    except ssl.SSLError as error:
        return failure(
            f"{case.endpoint} does not speak TLS as expected: {error.reason or error}",
            "see the scheme and the port, and whether something in between answers instead",
        )
    except (OSError, wire.TunnelError) as error:
        reason = _reason(error) if isinstance(error, OSError) else str(error)
        return failure(
            f"the TLS handshake with {case.endpoint} did not end: {reason}",
            "see whether a firewall or proxy in between lets the port open and nothing through",
        )
    if not bundle:
        return warning(
            f"{version}, and nobody knows with whom: the certificate is not verified "
            "(verify=False)",
            "drop verify=False (--no-verify-ssl); for a CA of your own give its file",
        )
    return passed(f"{version}, verified with {bundle} ({_bundle_origin(case)})")


def _bundle(case: Case) -> str:
    """The file of CAs that counts; empty where nothing is verified."""
    verify = verification(case.config, case.session)
    return str(get_cert_path(verify) or "")  # type: ignore[arg-type] # the stubs know no path


def _context(bundle: str) -> ssl.SSLContext:
    """As the library has it."""
    context: ssl.SSLContext = create_urllib3_context()
    context.check_hostname = bool(bundle)
    context.verify_mode = ssl.CERT_REQUIRED if bundle else ssl.CERT_NONE
    if not bundle:
        return context
    try:
        context.load_verify_locations(bundle)
    except OSError as error:
        raise ConfigurationError(
            f"the CA bundle {bundle} cannot be used: {error.strerror or error}; it must be a file "
            "with the certificates of CAs in PEM. See verify, AWS_CA_BUNDLE and the profile's "
            "ca_bundle"
        ) from error
    return context


def _bundle_origin(case: Case) -> str:
    if case.config.verify not in (None, True):
        return "verify"
    if case.config.verify is None:
        if os.environ.get("AWS_CA_BUNDLE"):
            return "AWS_CA_BUNDLE"
        if case.session.get_config_variable("ca_bundle"):
            return "ca_bundle of the profile"
        if os.environ.get("REQUESTS_CA_BUNDLE"):
            return "REQUESTS_CA_BUNDLE"
    return "the default"


def _distrusted(case: Case, error: ssl.SSLCertVerificationError, bundle: str) -> Finding:
    shown = _presented(case)
    issuer = shown.issuer.rfc4514_string() if shown is not None else "an unknown CA"
    if error.verify_code in _UNKNOWN_CA:
        return failure(
            f"the certificate of {case.endpoint} was issued by {issuer}, which is not among the "
            f"CAs of {bundle}",
            "if that is a CA of yours, give its file as verify or AWS_CA_BUNDLE; if not, something "
            "in between opens the connection",
        )
    if error.verify_code in _WRONG_TIME:
        return failure(
            f"the certificate of {case.endpoint} (issued by {issuer}) is not valid now: "
            f"{error.verify_message}; by this machine's clock it is "
            f"{case.clock.utcnow():%Y-%m-%dT%H:%M:%SZ}",
            "set the clock if that is wrong; if not, the endpoint's certificate must be renewed",
        )
    if error.verify_code in _WRONG_NAME:
        return failure(
            f"the certificate of {case.endpoint} is for another name: {error.verify_message}",
            "see the endpoint's name; something else may answer under it",
        )
    return failure(
        f"the certificate of {case.endpoint} (issued by {issuer}) is not believed: "
        f"{error.verify_message}",
        f"see that certificate, and the CAs of {bundle}",
    )


def _presented(case: Case) -> x509.Certificate | None:
    """The certificate that was not believed; only to show whose it is."""
    from rolesanywhere_auth._x509 import read_certificate

    try:
        _, der = wire.shake_hands(_way(case), _context(""), name=wire.place_of(case.endpoint).host)
        return read_certificate(der)
    except (OSError, wire.TunnelError, ValueError):
        return None


# The service's answer


def look_at_service(case: Case) -> Finding:
    """Whether it is the service that answers, to a request that asks for nothing."""
    line = Transport(case.config, case.session, endpoint=case.endpoint, event=EVENT)
    request = HTTPRequest("GET", f"{case.endpoint}/sessions", {"User-Agent": USER_AGENT}, b"")
    begin = time.perf_counter()
    try:
        answer = line.send(request)
    except TransportError as error:
        text, _, fix = str(error).rpartition(" (")
        return failure(text, fix.removesuffix(")"))
    finally:
        line.close()
    seconds = time.perf_counter() - begin
    return _judged(case, answer, seconds)


def _judged(case: Case, answer: HTTPResponse, seconds: float) -> Finding:
    facts: Facts = {"status": answer.status, "seconds": round(seconds, 4)}
    if answer.headers.keys() & {"x-amzn-requestid", "x-amzn-errortype"}:
        case.service_time = answer.headers.get("date")
        return passed(f"answers, with HTTP {answer.status} as expected", facts)
    kind = one_line(answer.headers.get("content-type", "of no type"))
    evidence = f"HTTP {answer.status} ({kind}) without the headers of AWS: {excerpt(answer.body)}"
    fix = "see whether a proxy or captive portal answers in the service's place"
    if answer.status < 400:
        return failure(f"something else answers: {evidence}", fix, facts)
    return warning(f"nothing shows that this is the service: {evidence}", fix, facts)


def look_at_clock(case: Case) -> Finding:
    """This machine's clock against the service's; from here on that counts."""
    theirs = http_date(case.service_time)
    if theirs is None:
        return not_needed("the answer has no date of the service")
    skew = (case.clock.utcnow() - theirs).total_seconds()
    facts: Facts = {"seconds_ahead": round(skew, 1)}
    how = f"{abs(skew):.0f} seconds {'ahead of' if skew > 0 else 'behind'} the service's"
    fix = "set the clock, and let NTP keep it (timedatectl set-ntp true)"
    if abs(skew) > MAX_SKEW.total_seconds():
        case.clock.offset = -skew
        return failure(
            f"this machine's clock is {how} ({theirs:%Y-%m-%dT%H:%M:%SZ}): signatures of other "
            "programs are refused; this library corrects for it",
            fix,
            facts,
            blocks=False,
        )
    if abs(skew) > _SKEW_WARNING:
        return warning(f"this machine's clock is {how}", fix, facts)
    return passed("this machine's clock agrees with the service's", facts)


STEPS = (
    Step("endpoint", look_at_endpoint, ("configuration", "arns")),
    Step("proxy", look_at_proxy, ("endpoint",)),
    Step("dns", look_at_dns, ("proxy",)),
    Step("tcp", look_at_tcp, ("dns",)),
    Step("tls", look_at_tls, ("tcp",)),
    Step("service", look_at_service, ("tls",)),
    Step("clock", look_at_clock, ("service",)),
)

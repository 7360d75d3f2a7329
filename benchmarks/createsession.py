"""One CreateSession over a new TLS connection, by kind of key, against the floor.

The floor is the least that Python code can do for the same: a new
``ssl.create_default_context(cafile=…)``, a new ``http.client`` connection (which sets
TCP_NODELAY), one raw signature by ``cryptography`` with the key loaded before, a POST
of the same bytes, and ``json.loads`` of the answer. It does no canonical request and
checks nothing. Ours and the peer have certificate and key loaded too.
"""

from __future__ import annotations

import gc
import http.client
import json
import ssl
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from iam_rolesanywhere_session import IAMRolesAnywhereSession

from benchmarks.stage import KEY_TYPES, Stage
from benchmarks.table import OURS, PEER, Budget, budget, measure, ratios, section
from rolesanywhere_auth import RolesAnywhereConfig
from rolesanywhere_auth.credentials import SignIn
from rolesanywhere_auth.exchange import Clock, build_request
from rolesanywhere_auth.identity import IdentitySource
from rolesanywhere_auth.signing import HTTPRequest, sign
from rolesanywhere_auth.transport import USER_AGENT

FLOOR = "floor: http.client + cryptography"


def _timed(call: Callable[[], object]) -> float:
    """Milliseconds."""
    begin = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - begin) / 1e6


def _signing(key: Any) -> Callable[[bytes], bytes]:
    if isinstance(key, rsa.RSAPrivateKey):
        return lambda data: key.sign(data, padding.PKCS1v15(), SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return lambda data: key.sign(data, ec.ECDSA(SHA256()))
    return key.sign  # type: ignore[no-any-return]


def _signed_request(found: Stage, key_type: str) -> HTTPRequest:
    """The very request that ours sends, so that the floor sends the same bytes."""
    config = RolesAnywhereConfig(**found.config_arguments(key_type))
    clock = Clock(time.time)
    source = IdentitySource(config.certificate, private_key=config.private_key)
    request = build_request(config, endpoint=found.url, user_agent=USER_AGENT)
    return sign(
        request,
        identity=source.current(now=clock.utcnow()),
        region=str(config.region),
        when=clock.utcnow(),
    )


def floor(found: Stage, key_type: str) -> Callable[[], object]:
    """The floor, as a call."""
    request = _signed_request(found, key_type)
    authorization = request.headers["Authorization"].rpartition("=")[0]
    key_file = Path(found.files(key_type)["private_key"])
    raw_sign = _signing(load_pem_private_key(key_file.read_bytes(), None))
    parts = urlsplit(request.url)
    target, port, bundle = parts.path, found.port, found.bundle
    to_sign = b"AWS4-X509-RSA-SHA256\n20261122T000000Z\n" + b"0" * 110

    def call() -> object:
        context = ssl.create_default_context(cafile=bundle)
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
        headers = {
            **request.headers,
            "Authorization": f"{authorization}={raw_sign(to_sign).hex()}",
        }
        connection.request("POST", target, body=request.body, headers=headers)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        connection.close()
        assert answer.status == 201
        return body["credentialSet"][0]["credentials"]["sessionToken"]

    return call


def ours(found: Stage, key_type: str) -> Callable[[], object]:
    """What a renewal does: everything but loading the files."""
    config = RolesAnywhereConfig(**found.config_arguments(key_type))
    sign_in = SignIn(config, session=botocore.session.Session())
    sign_in()
    # For two seconds files are read again each time: no renewal is as early.
    sign_in.identities.poll(now=datetime.now(timezone.utc) + timedelta(seconds=3))
    return sign_in


def peer(found: Stage, key_type: str) -> Callable[[], object]:
    """New, empty credentials of the same session at each call."""
    session = IAMRolesAnywhereSession(**found.peer_arguments(key_type))
    return lambda: session.get_refreshable_credentials().get_frozen_credentials()


def create_sessions(found: Stage, *, rounds: int) -> list[Budget]:
    """Print the times per kind of key; the budgets against the floor."""
    budgets = []
    for key_type in KEY_TYPES:
        try:
            found.files(key_type)
        except RuntimeError as error:
            print(f"\n{key_type}: {error}")
            continue
        calls = {OURS: ours(found, key_type), FLOOR: floor(found, key_type)}
        if not key_type.startswith("ml-dsa"):
            calls[PEER] = peer(found, key_type)
        contenders = {name: partial(_timed, call) for name, call in calls.items()}
        gc.collect()
        gc.disable()
        try:
            samples = measure(contenders, rounds=rounds, warm_up=2)
        finally:
            gc.enable()
        print(section(f"One CreateSession, {key_type}", samples, unit="ms", base=FLOOR))
        found_ratios = ratios(samples, OURS, FLOOR)
        budgets.append(budget(f"CreateSession, {key_type} / floor", found_ratios, 1.3))
    return budgets

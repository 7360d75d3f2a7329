"""A caller of CreateSession that shares no code with the library: cryptography and http.client."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from rolesanywhere_auth.testing import Emulator

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Answer:
    """What came back; ``body`` is parsed JSON."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def refusal(self) -> tuple[int, str, str]:
        """Status, code and text of a refusal."""
        return self.status, self.headers["x-amzn-errortype"], self.body["message"]

    @property
    def session(self) -> dict[str, Any]:
        """The one entry of the credential set."""
        assert self.status == 201, self.body
        (entry,) = self.body["credentialSet"]
        return entry


def send(
    endpoint_url: str, method: str, target: str, headers: dict[str, str], body: bytes
) -> Answer:
    """One request on a connection of its own."""
    url = urlsplit(endpoint_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
    try:
        connection.request(method, target, body=body, headers=headers)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, json.loads(response.read() or b"{}"))
    finally:
        connection.close()


def call(
    setup: Any,
    *,
    leaf: Any = None,
    chain: Any = None,
    at: datetime = NOW,
    region: str = "eu-west-1",
    query: str = "",
    body: bytes | None = None,
    parameters: dict[str, Any] | None = None,
    tamper: bool = False,
    endpoint_url: str | None = None,
) -> Answer:
    """Sign in as *setup* says, with changed *parameters* (None takes one away)."""
    leaf = leaf or setup.leaf
    endpoint_url = endpoint_url or setup.endpoint_url
    members = {
        "trustAnchorArn": setup.trust_anchor_arn,
        "profileArn": setup.profile_arn,
        "roleArn": setup.role_arn,
        **(parameters or {}),
    }
    members = {name: value for name, value in members.items() if value is not None}
    body = json.dumps(members).encode() if body is None else body
    headers = {
        "content-type": "application/json",
        "host": urlsplit(endpoint_url).netloc,
        "x-amz-date": at.strftime("%Y%m%dT%H%M%SZ"),
        "x-amz-x509": _der(leaf.certificate),
    }
    chain = leaf.chain if chain is None else chain
    if chain:
        headers["x-amz-x509-chain"] = ",".join(_der(certificate) for certificate in chain)
    headers["authorization"] = _authorization(leaf, headers, query, body, region)
    if tamper:
        body += b" "
    return send(endpoint_url, "POST", "/sessions" + (f"?{query}" if query else ""), headers, body)


def _der(certificate: Any) -> str:
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()


def _authorization(leaf: Any, headers: dict[str, str], query: str, body: bytes, region: str) -> str:
    names = sorted(headers)
    canonical = "\n".join(
        [
            "POST",
            "/sessions",
            "&".join(sorted(query.split("&"))),
            *[f"{name}:{headers[name]}" for name in names],
            "",
            ";".join(names),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    algorithm = f"AWS4-X509-{'RSA' if _is_rsa(leaf) else 'ECDSA'}-SHA256"
    scope = f"{headers['x-amz-date'][:8]}/{region}/rolesanywhere/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    signed = "\n".join([algorithm, headers["x-amz-date"], scope, digest]).encode()
    if _is_rsa(leaf):
        signature = leaf.private_key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    else:
        signature = leaf.private_key.sign(signed, ec.ECDSA(hashes.SHA256()))
    credential = f"{leaf.certificate.serial_number}/{scope}"
    return (
        f"{algorithm} Credential={credential}, SignedHeaders={';'.join(names)}, "
        f"Signature={signature.hex()}"
    )


def _is_rsa(leaf: Any) -> bool:
    return isinstance(leaf.private_key, rsa.RSAPrivateKey)


@pytest.fixture
def create_session() -> Callable[..., Answer]:
    """Signs in at an emulator and returns the answer."""
    return call


@pytest.fixture
def request_to() -> Callable[..., Answer]:
    """Sends one plain request to an endpoint."""
    return send


@pytest.fixture
def now() -> datetime:
    """The fixed time of `emulator`."""
    return NOW


@pytest.fixture(scope="session")
def _running_emulator() -> Iterator[Emulator]:
    with Emulator(clock=lambda: NOW) as emulator:
        yield emulator


@pytest.fixture
def emulator(_running_emulator: Emulator) -> Iterator[Emulator]:
    """An empty emulator whose clock stands still at `now`."""
    yield _running_emulator
    _running_emulator.clear()

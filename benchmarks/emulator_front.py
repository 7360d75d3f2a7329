"""What `benchmarks.emulator` measures, each in an interpreter of its own.

One signed request (an EC P-256 leaf directly below its root) is sent again and again. The seconds
are those of the processor, spent by this process: by the emulator in its threads, and by the
bare client in front of it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from rolesanywhere_auth import RolesAnywhereConfig
from rolesanywhere_auth.exchange import Clock, build_request
from rolesanywhere_auth.identity import IdentitySource
from rolesanywhere_auth.signing import HTTPRequest, sign
from rolesanywhere_auth.testing import CertificateAuthority, Emulator, moto_backend
from rolesanywhere_auth.transport import USER_AGENT

Call = Callable[[], int]
"""One sign-in; the status of the answer."""


def signed(endpoint: str, arguments: dict[str, Any]) -> HTTPRequest:
    """A signed CreateSession, for all calls."""
    config = RolesAnywhereConfig(**{**arguments, "endpoint_url": endpoint})
    clock = Clock(time.time)
    source = IdentitySource(config.certificate, private_key=config.private_key)
    return sign(
        build_request(config, endpoint=endpoint, user_agent=USER_AGENT),
        identity=source.current(now=clock.utcnow()),
        region=str(config.region),
        when=clock.utcnow(),
    )


@contextlib.contextmanager
def core() -> Iterator[Call]:
    """The service's own function, without HTTP."""
    from rolesanywhere_auth.testing.service.wire import Request

    with Emulator() as emulator:
        request = signed(emulator.endpoint_url, emulator.set_up().config_arguments())
        parts = urlsplit(request.url)
        asked = Request(
            "POST", parts.path, parts.query, tuple(request.headers.items()), request.body
        )
        yield lambda: emulator.service.handle(asked).status


def sending(url: str, request: HTTPRequest, context: ssl.SSLContext | None, *, keep: bool) -> Call:
    """By ``http.client``, over one connection or over a new one each time."""
    parts, kept = urlsplit(url), list[http.client.HTTPConnection]()
    target = urlsplit(request.url)
    path = f"{target.path}?{target.query}" if target.query else target.path

    def connection() -> http.client.HTTPConnection:
        if context is not None:
            return http.client.HTTPSConnection(str(parts.hostname), parts.port, context=context)
        return http.client.HTTPConnection(str(parts.hostname), parts.port)

    def call() -> int:
        line = kept[0] if kept else connection()
        if keep and not kept:
            kept.append(line)
        line.request("POST", path, body=request.body, headers=dict(request.headers))
        answer = line.getresponse()
        answer.read()
        if not keep:
            line.close()
        return answer.status

    return call


@contextlib.contextmanager
def over(scheme: str, *, keep: bool = True) -> Iterator[Call]:
    """HTTP or HTTPS."""
    with Emulator() as emulator:
        url = emulator.endpoint_url if scheme == "http" else emulator.https_endpoint_url
        request = signed(url, emulator.set_up().config_arguments())
        context = ssl.create_default_context(cafile=emulator.ca_bundle)
        yield sending(url, request, context if scheme == "https" else None, keep=keep)


@contextlib.contextmanager
def moto_server() -> Iterator[Call]:
    """moto's server, which keeps the sessions in its STS; it hangs up after each answer."""
    with Emulator(aws=True) as emulator:
        url = emulator.aws_endpoint_url
        request = signed(url, emulator.set_up().config_arguments())
        yield sending(url, request, None, keep=False)


@contextlib.contextmanager
def moto_in_process() -> Iterator[Call]:
    """``mock_aws()``, entered as a botocore client enters it: by its before-send event."""
    import boto3
    from botocore.awsrequest import AWSRequest
    from moto import mock_aws

    with moto_backend(), mock_aws():
        clients = {
            name: boto3.client(
                name,
                region_name="us-east-1",
                aws_access_key_id="testing",
                aws_secret_access_key="testing",
            )
            for name in ("rolesanywhere", "iam")
        }
        plane, endpoint = clients["rolesanywhere"], "https://rolesanywhere.us-east-1.amazonaws.com"
        arguments = _set_up(plane, clients["iam"])
        request = signed(endpoint, arguments)
        prepared = AWSRequest("POST", request.url, dict(request.headers), request.body).prepare()
        event = "before-send.rolesanywhere.CreateSession"

        def call() -> int:
            answer = plane.meta.events.emit_until_response(event, request=prepared)[1]
            assert answer.content
            return int(answer.status_code)

        yield call


def _set_up(plane: Any, iam: Any) -> dict[str, Any]:
    """Trust anchor, profile, role and certificate by boto3."""
    authority = CertificateAuthority()
    leaf = authority.issue("app")
    data = {"x509CertificateData": authority.certificate_pem}
    anchor = plane.create_trust_anchor(
        name="a", source={"sourceType": "CERTIFICATE_BUNDLE", "sourceData": data}, enabled=True
    )["trustAnchor"]["trustAnchorArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "rolesanywhere.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role = iam.create_role(RoleName="app", AssumeRolePolicyDocument=policy)["Role"]["Arn"]
    profile = plane.create_profile(name="p", roleArns=[role], enabled=True)["profile"]["profileArn"]
    return {
        "trust_anchor_arn": anchor,
        "profile_arn": profile,
        "role_arn": role,
        "certificate": leaf.certificate_pem.encode(),
        "private_key": leaf.private_key_pem.encode(),
    }


FRONTS: dict[str, Callable[[], contextlib.AbstractContextManager[Call]]] = {
    "the core, called directly": core,
    "HTTP, one connection": lambda: over("http"),
    "HTTPS, one connection": lambda: over("https"),
    "HTTPS, a new connection each": lambda: over("https", keep=False),
    "moto in process": moto_in_process,
    "moto server": moto_server,
}


def rate(front: str, *, count: int) -> None:
    """Print the sign-ins per second of processor time through *front*."""
    with FRONTS[front]() as call:
        for _ in range(10):
            assert call() == 201, call()
        begin = time.process_time()
        for _ in range(count):
            assert call() == 201
        print(count / (time.process_time() - begin))

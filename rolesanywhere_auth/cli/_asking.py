# SPDX-License-Identifier: Apache-2.0
"""Makes experiments at an endpoint and notes the answers."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import botocore
from botocore.awsrequest import AWSPreparedRequest, HeadersDict
from botocore.exceptions import ClientError, ParamValidationError
from botocore.httpsession import URLLib3Session
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding

from rolesanywhere_auth._version import __version__
from rolesanywhere_auth.cli._answers import FORMAT, VERSION, kept_headers, redacted
from rolesanywhere_auth.cli._experiments import Call, Experiment, SignIn
from rolesanywhere_auth.cli._stage import Stage
from rolesanywhere_auth.signing import (
    HTTPRequest,
    algorithm_for,
    canonical_headers,
    canonical_request,
    credential_scope,
    host_header,
    string_to_sign,
    timestamp,
)
from rolesanywhere_auth.testing.authority import Leaf

Send = Callable[[HTTPRequest], tuple[int, Mapping[str, str], bytes]]


def sender(*, verify: bool | str, proxies: Mapping[str, str]) -> Send:
    """Sends requests by botocore's HTTP client, each once."""
    session = URLLib3Session(
        verify=verify,  # type: ignore[arg-type] # the stubs know no path
        proxies=dict(proxies),
        timeout=(10, 30),  # type: ignore[arg-type]
        # Head and body leave in two writes: with Nagle's algorithm the second waits 40 ms.
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],  # type: ignore[list-item]
    )

    def send(request: HTTPRequest) -> tuple[int, Mapping[str, str], bytes]:
        headers = {**request.headers, "Content-Length": str(len(request.body))}
        answer = session.send(
            AWSPreparedRequest(
                method=request.method,
                url=request.url,
                headers=HeadersDict(headers),  # type: ignore[arg-type]
                body=request.body,
                stream_output=False,
            )
        )
        return answer.status_code, answer.headers, answer.content

    return send


def head(stage: Stage, *, endpoint: str) -> dict[str, Any]:
    """The first line of a record."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "recorded_at": stage.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        "endpoint": endpoint,
        "region": stage.region,
        "botocore": botocore.__version__,
        "library": __version__,
    }


def ask(
    experiments: Sequence[Experiment],
    stage: Stage,
    *,
    endpoint: str,
    send: Send,
    pause: Callable[[], object],
) -> Iterator[dict[str, Any]]:
    """Make each experiment and yield its line of the record; *pause* is called before each."""
    for experiment in experiments:
        pause()
        now = stage.now()
        try:
            if isinstance(experiment, Call):
                request, answer = _call(experiment, stage)
            else:
                request, answer = _sign_in(experiment, stage, endpoint=endpoint, send=send)
        except ClientError as error:
            # The service did not even let the experiment be prepared.
            request, answer = {"preparing": error.operation_name}, _refusal(error)
        except ParamValidationError as error:
            request, answer = {}, {"status": None, "skipped": f"botocore is too old: {error}"}
        words = stage.placeholders()
        yield {
            "experiment": experiment.name,
            "question": experiment.question,
            "request": redacted(request, words, now=now),
            "answer": redacted(answer, words, now=now),
        }


def _call(call: Call, stage: Stage) -> tuple[dict[str, Any], dict[str, Any]]:
    members = stage.fill(dict(call.members))
    request = {"operation": call.operation, "members": dict(call.members)}
    try:
        answer = getattr(stage.client, call.operation)(**members)
    except ClientError as error:
        return request, _refusal(error)
    meta = answer.pop("ResponseMetadata")
    plain = json.loads(json.dumps(answer, default=_text))
    return request, {"status": meta["HTTPStatusCode"], "headers": {}, "body": plain}


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _refusal(error: ClientError) -> dict[str, Any]:
    said: Any = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    headers = {"x-amzn-errortype": str(said.get("Code"))}
    return {"status": status, "headers": headers, "body": {"message": said.get("Message")}}


def _sign_in(
    experiment: SignIn, stage: Stage, *, endpoint: str, send: Send
) -> tuple[dict[str, Any], dict[str, Any]]:
    leaf = stage.leaf(experiment.leaf)
    members = {
        "trustAnchorArn": stage.arn("anchor", experiment.anchor),
        "profileArn": stage.arn("profile", experiment.profile),
        "roleArn": stage.role(experiment.role),
        **experiment.parameters,
    }
    request = experiment.prepare(
        HTTPRequest(
            "POST",
            f"{endpoint.rstrip('/')}/sessions",
            {"Content-Type": "application/json"},
            json.dumps(members).encode(),
        )
    )
    first: tuple[int, Mapping[str, str], bytes] | None = None
    for _ in range(experiment.repeat):
        signed = experiment.spoil(_signed(request, experiment, leaf, stage))
        status, headers, body = answer = send(signed)
        if first is not None and status != first[0]:
            break
        first = first or answer
    shown = {
        "method": "POST",
        "path": "/sessions",
        "headers": sorted(name.lower() for name in signed.headers),
        "parameters": members,
        "certificate": experiment.leaf,
        "clock": f"{experiment.skew:+g} seconds",
    }
    return shown, {"status": status, "headers": kept_headers(headers), "body": _parsed(body)}


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


def _signed(request: HTTPRequest, experiment: SignIn, leaf: Leaf, stage: Stage) -> HTTPRequest:
    """As `signing.sign`, but with whatever certificate, algorithm and headers are asked for."""
    date = timestamp(stage.now() + timedelta(seconds=experiment.skew))
    scope = credential_scope(date=date, region=stage.region)
    headers = {
        **request.headers,
        "Host": host_header(request.url),
        "X-Amz-Date": date,
        "X-Amz-X509": _encoded(leaf.certificate),
    }
    if leaf.chain:
        headers["X-Amz-X509-Chain"] = ",".join(_encoded(each) for each in leaf.chain)
    covered = {
        name: value
        for name, value in canonical_headers(headers).items()
        if name not in experiment.unsigned
    }
    algorithm = experiment.algorithm or algorithm_for(leaf.private_key.public_key())
    to_sign = string_to_sign(
        algorithm=algorithm,
        date=date,
        scope=scope,
        canonical=canonical_request(request, covered),
    ).encode()
    if isinstance(leaf.private_key, ec.EllipticCurvePrivateKey):
        signature = leaf.private_key.sign(to_sign, ec.ECDSA(hashes.SHA256()))
    else:
        signature = leaf.private_key.sign(to_sign, padding.PKCS1v15(), hashes.SHA256())
    headers["Authorization"] = (
        f"{algorithm} Credential={leaf.serial_number}/{scope}, "
        f"SignedHeaders={';'.join(covered)}, Signature={signature.hex()}"
    )
    return request._replace(headers=headers)


def _encoded(certificate: Any) -> str:
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()

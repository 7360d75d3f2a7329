"""A CreateSession server for the benchmark: TLS on loopback, one canned answer, no checks.

Run as ``python -m benchmarks.server PEM``: the file holds its certificate and key. It
prints its port and serves until its standard input closes. It closes each connection
after one answer, so that every contender makes a new one for every request.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import threading
import time
from http import HTTPStatus

LIFETIME = 3600


def answer(*, lifetime: float = LIFETIME, mark: str = "EXAMPLE") -> bytes:
    """The whole answer, head and body, in one piece; *mark* ends all three secrets."""
    body = session(lifetime=lifetime, mark=mark)
    return answer_head(201, body) + body


def answer_head(status: int, body: bytes, *more: str) -> bytes:
    """The head of an answer with *body*, which is the last of its connection."""
    lines = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        "Connection: close",
        f"Content-Length: {len(body)}",
        *more,
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def session(*, lifetime: float, mark: str) -> bytes:
    """The body of an answer: credentials that expire in *lifetime* seconds."""
    expiration = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + lifetime))
    role = "arn:aws:iam::111122223333:role/app"
    return json.dumps(
        {
            "credentialSet": [
                {
                    "assumedRoleUser": {
                        "arn": "arn:aws:sts::111122223333:assumed-role/app/0a1b2c3d",
                        "assumedRoleId": "AROAIOSFODNN7EXAMPLE:0a1b2c3d",
                    },
                    "credentials": {
                        "accessKeyId": f"ASIAIOSFODNN7{mark}",
                        "expiration": expiration,
                        "secretAccessKey": f"wJalrXUtnFEMI/K7MDENG/bPxRfiCY{mark}",
                        "sessionToken": "IQoJb3JpZ2luX2VjE" + "A" * 900 + mark,
                    },
                    "packedPolicySize": 7,
                    "roleArn": role,
                    "sourceIdentity": "CN=app",
                }
            ],
            "subjectArn": "arn:aws:rolesanywhere:eu-west-1:111122223333:subject/s",
        }
    ).encode()


def read_request(connection: ssl.SSLSocket) -> bool:
    """Read one request to its end; False if the client went away first."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return False
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
    missing = int(fields.get(b"content-length", b"0")) - len(body)
    while missing > 0:
        part = connection.recv(65536)
        if not part:
            return False
        missing -= len(part)
    return True


def serve_one(raw: socket.socket, context: ssl.SSLContext) -> None:
    """One connection: handshake, request, answer, end."""
    raw.settimeout(10)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        with context.wrap_socket(raw, server_side=True) as connection:
            if read_request(connection):
                connection.sendall(answer())
    except OSError:
        pass  # the client of an ended measurement


def main() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(listener.getsockname()[1], flush=True)

    def end_with_parent() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    while True:  # one after the other: the contenders come one at a time
        raw, _ = listener.accept()
        serve_one(raw, context)


if __name__ == "__main__":
    main()

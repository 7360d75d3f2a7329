"""A client of `CredentialServer` that sends whatever bytes it is told to."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rolesanywhere_auth.serve import CredentialServer


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of a refusal, told in both spellings."""
        told = self.json
        assert told["code"] == told["Code"]
        assert told["message"] == told["Message"] != ""
        return str(told["code"])


@dataclass
class Client:
    """Talks to one server."""

    server: CredentialServer

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self.server.url is not None
        url = urlsplit(self.server.url)
        assert url.hostname is not None
        assert url.port is not None
        return url.hostname, url.port

    def token(self, role: str | None = None) -> str:
        """The content of the token file."""
        return Path(
            self.server.environment(role)["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]
        ).read_text()

    def ask(self, path: str, *, method: str = "GET", **headers: str) -> Reply:
        """One request by `http.client`, on a connection of its own; ``_`` in names is ``-``."""
        line = http.client.HTTPConnection(*self.address, timeout=10)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            line.request(method, path, headers=named)
            answer = line.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read())
        finally:
            line.close()

    def credentials(self, role: str | None = None) -> Reply:
        """By the container-credentials protocol."""
        path = urlsplit(self.server.environment(role)["AWS_CONTAINER_CREDENTIALS_FULL_URI"]).path
        return self.ask(path, Authorization=self.token(role))

    def imds_token(self, seconds: str = "60") -> str:
        """A token of IMDS."""
        reply = self.ask(
            "/latest/api/token", method="PUT", X_aws_ec2_metadata_token_ttl_seconds=seconds
        )
        assert reply.status == 200, reply.body
        return reply.body.decode()

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(self.address, timeout=10)

    def raw(self, data: bytes) -> bytes:
        """Send *data*, and read until the server closes."""
        with self.connect() as line:
            try:
                line.sendall(data)
            except ConnectionError:
                return b""
            return drained(line)


def drained(line: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    found = bytearray()
    while True:
        try:
            part = line.recv(65536)
        except ConnectionError:
            part = b""
        if not part:
            return bytes(found)
        found += part


def settled(server: CredentialServer) -> Client:
    """A client of *server*, once that has done all that it does at its start."""
    end = time.monotonic() + 10
    while any(each.name == "rolesanywhere-serve" for each in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.005)
    client = Client(server)
    client.ask("/health")  # the loop has taken note
    return client

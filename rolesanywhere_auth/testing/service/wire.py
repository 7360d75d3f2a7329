# SPDX-License-Identifier: Apache-2.0
"""What goes in and out of the service: requests, responses, refusals.

Independent of any HTTP library, so that every front speaks to the same core.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rolesanywhere_auth.testing.service.callers import Caller


@dataclass(frozen=True)
class Request:
    """One HTTP request as it came over the wire.

    ``path`` and ``query`` are raw (still percent-encoded, query without ``?``):
    ARNs travel inside path segments, and the signature is made over the raw form.
    ``caller`` is who signed a control-plane call, where the front knows; else it is
    taken for the account's root.
    ``tls_version`` and ``cipher_suite`` are None where the front spoke no TLS.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    caller: Caller | None = None
    source_ip: str = "127.0.0.1"
    tls_version: str | None = None
    cipher_suite: str | None = None

    def header(self, name: str) -> str | None:
        """The value of header *name*, several values joined by a comma, or None."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ",".join(values) if values else None


@dataclass(frozen=True)
class Response:
    """One HTTP answer; ``body`` is JSON."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """The body as the bytes that go on the wire."""
        return json.dumps(self.body, separators=(",", ":")).encode()


class Reason(Exception):
    """Why a call was refused, where the answer does not say; the cause of a `Refusal`."""


class Refusal(Exception):
    """The service says no; ``code`` is the error's name, such as ``AccessDeniedException``."""

    def __init__(self, status: int, code: str, message: str, **members: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.members = members

    def response(self) -> Response:
        """The refusal as AWS's restJson protocol writes it."""
        body = {"message": self.message, **self.members}
        return Response(self.status, body, {"x-amzn-ErrorType": self.code})


def access_denied(message: str) -> Refusal:
    """A 403 ``AccessDeniedException`` with *message*."""
    return Refusal(403, "AccessDeniedException", message)


def not_found(message: str) -> Refusal:
    """A 404 ``ResourceNotFoundException`` with *message*."""
    return Refusal(404, "ResourceNotFoundException", message)


def invalid(message: str) -> Refusal:
    """A 400 ``ValidationException`` with *message*."""
    return Refusal(400, "ValidationException", message)

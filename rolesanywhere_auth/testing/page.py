# SPDX-License-Identifier: Apache-2.0
"""The emulator's page: what is in it, and why each sign-in was allowed or refused.

It stands before the service on the emulator's own ports, at ``/`` and at one path below
``/_emulator/``; everything else goes on to the service. Its text comes from certificates and
requests of anybody, so that it is escaped throughout, the browser is told to run nothing but
the page's own few lines, and only a ``Host`` that means this emulator is answered (a web site
whose name was pointed at loopback would send its own).
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from typing import TYPE_CHECKING

from rolesanywhere_auth.testing._page_assets import POLICY
from rolesanywhere_auth.testing._page_html import Snapshot, document, fragment
from rolesanywhere_auth.testing.service.faults import RawAnswer

if TYPE_CHECKING:
    from rolesanywhere_auth.testing._state_file import StateFile
    from rolesanywhere_auth.testing.service.core import Service
    from rolesanywhere_auth.testing.service.wire import Refusal, Request

FRAGMENT = "/_emulator/page"
"""The changing part of the page; the page asks for it every other second."""

_logger = logging.getLogger("rolesanywhere_auth.testing")
_HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", POLICY),
    ("Cache-Control", "no-store"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)


class Gate:
    """Answers for the page, hands the rest to *service*, and saves after each change.

    Args:
        service: who answers everything else.
        hosts: the host names and addresses, in lower case, at which the page may be asked for.
        state_file: written after each request that may have changed something.
    """

    def __init__(
        self, service: Service, *, hosts: frozenset[str], state_file: StateFile | None = None
    ) -> None:
        self._service = service
        self._hosts = hosts
        self._state_file = state_file

    def handle(self, request: Request) -> RawAnswer:
        """Answer one request; see `Service.handle`."""
        if request.method in {"GET", "HEAD"} and request.path in {"/", FRAGMENT}:
            return self._page(request)
        answer = self._service.handle(request)
        if self._state_file is not None and request.method != "GET":
            try:
                self._state_file.save()
            except OSError as error:
                _logger.error("The state was not saved in %s: %s", self._state_file.path, error)  # noqa: TRY400
        return answer

    def refuse(self, refusal: Refusal) -> RawAnswer:
        """See `Service.refuse`."""
        return self._service.refuse(refusal)

    def _page(self, request: Request) -> RawAnswer:
        host = request.header("Host") or ""
        if host_name(host) not in self._hosts:
            text = (
                "This page is not served under this Host: use 127.0.0.1 or localhost, or name "
                "the host when the emulator is started (--name, host_names)."
            )
            body = json.dumps({"message": text}).encode()
            return RawAnswer(421, (("Content-Type", "application/json"),), body)
        # JSON may name half of a surrogate pair, which UTF-8 does not have.
        body = fragment(Snapshot.of(self._service)).encode(errors="backslashreplace")
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if request.path == "/":
            return RawAnswer(200, _HEADERS, document(body.decode(), tag=tag).encode())
        headers = (*_HEADERS, ("ETag", tag))
        if request.header("If-None-Match") == tag:
            return RawAnswer(304, headers, b"")
        return RawAnswer(200, headers, body)


def host_name(host: str) -> str:
    """The name in a ``Host`` header, without port and brackets, in lower case."""
    match = re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::\d+)?|([^:]*)(?::\d+)?", host)
    return (match[1] or match[2]).lower() if match else ""

# SPDX-License-Identifier: Apache-2.0
"""What the server answers to whom; no I/O.

Two protocols lead to the same credentials:

* the container-credentials protocol: ``GET /v1/credentials`` (the path of EKS Pod Identity) or
  ``/v1/credentials/ROLE`` with the content of a token file as ``Authorization``;
* IMDSv2, the routes of ``aws_signing_helper serve``: ``PUT /latest/api/token``, then
  ``GET /latest/meta-data/iam/security-credentials/`` and the same with the name of a role.

``GET /health`` and ``/health/ROLE`` need no token and tell no secret. Nor does ``GET /metrics``,
where there is one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from rolesanywhere_auth.record import Snapshot
from rolesanywhere_auth.serve.http import Answer, Head, refusal
from rolesanywhere_auth.serve.limits import RateLimit
from rolesanywhere_auth.serve.supply import Supply, failed
from rolesanywhere_auth.serve.tokens import Tokens

logger = logging.getLogger("rolesanywhere_auth.serve")

CONTAINER_PATH = "/v1/credentials"
IMDS_TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
IMDS_ROLES_PATH = "/latest/meta-data/iam/security-credentials"
HEALTH_PATH = "/health"
METRICS_PATH = "/metrics"

IMDS_LIFETIME = 21600
"""Seconds that an IMDS token lives at most, and if none are asked for."""
_TOKEN_HEADER = "x-aws-ec2-metadata-token"  # noqa: S105 - a name
_TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
_IMDS_SCOPE = "imds"
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
_BROWSER = ("origin", "referer", "sec-fetch-mode", "sec-fetch-site")


class Wanted(NamedTuple):
    """An answer that takes credentials which are not there yet."""

    supply: Supply
    render: Callable[[Snapshot | Exception], Answer]


def role_scope(name: str) -> str:
    """What a role's container token is good for."""
    return f"role/{name}"


class Routes:
    """Answers requests.

    Args:
        supplies: By name; the first is the one that clients get who name none.
        tokens: Both kinds.
        hosts: Names and addresses by which the server may be called, in lower case.
        imds: Whether there are the routes of IMDS.
        limit: On refusals, by peer.
        metrics: What Prometheus is told; None for nothing.
    """

    def __init__(
        self,
        supplies: Mapping[str, Supply],
        *,
        tokens: Tokens,
        hosts: Collection[str],
        imds: bool,
        limit: RateLimit,
        metrics: Callable[[], Answer] | None = None,
    ) -> None:
        self._supplies = dict(supplies)
        self._first = next(iter(self._supplies))
        self._tokens = tokens
        self._hosts = frozenset(hosts)
        self._imds = imds
        self._limit = limit
        self._metrics = metrics
        self._warned: set[str] = set()

    def handle(self, head: Head, *, peer: str) -> Answer | Wanted:
        """The answer to one request of *peer*."""
        found = self._refused(head) or self._route(head)
        if isinstance(found, Answer) and 400 <= found.status < 500:
            return self.limited(found, peer=peer)
        return found

    def limited(self, answer: Answer, *, peer: str) -> Answer:
        """A refusal, or a shorter one for who is refused too often.

        What is granted is never counted, so that nobody can use up another's share.
        """
        if self._limit.allows(peer):
            return answer
        return refusal(
            429, "TooManyRequests", "too many refused requests", headers=(("Retry-After", "1"),)
        )

    def _refused(self, head: Head) -> Answer | None:
        """Who comes through a browser or a proxy, wherever he wants to go."""
        host = _host(head.headers.get("host", ""))
        if host not in self._hosts:
            self._warn("a foreign Host header (DNS rebinding, or a name to allow by --host-name)")
            return refusal(403, "ForeignHost", "the Host header names another server")
        if any(name in head.headers for name in _FORWARDED):
            self._warn("a proxy before this server, which would share the credentials with others")
            return refusal(403, "ForwardedRequest", "forwarded requests are not answered")
        if any(name in head.headers for name in _BROWSER):
            self._warn("a web page, or another client that sends Origin or Referer")
            return refusal(403, "BrowserRequest", "requests of web pages are not answered")
        return None

    def _warn(self, what: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            logger.warning("refused a request that shows %s; more are not logged", what)

    def _route(self, head: Head) -> Answer | Wanted:
        path = head.path.removesuffix("/")
        if path == IMDS_TOKEN_PATH and self._imds:
            return _only("PUT", head) or self._imds_token(head)
        if path == METRICS_PATH and self._metrics is not None:
            return _only("GET", head) or self._metrics()
        for prefix, answer in (
            (CONTAINER_PATH, self._container),
            (HEALTH_PATH, self._health),
            *([(IMDS_ROLES_PATH, self._imds_role)] if self._imds else []),
        ):
            if path == prefix or path.startswith(f"{prefix}/"):
                return _only("GET", head) or answer(head, path[len(prefix) + 1 :])
        return refusal(404, "NotFound", "there is nothing at this path")

    # the container-credentials protocol

    def _container(self, head: Head, name: str) -> Answer | Wanted:
        supply = self._supplies.get(name or self._first)
        token = head.headers.get("authorization", "")
        # an unknown role and a wrong token look alike
        if supply is None or not self._tokens.knows(token, role_scope(supply.name)):
            return refusal(
                401,
                "InvalidAuthorizationToken",
                "the Authorization header must be the present content of the role's token file "
                "(AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE)",
            )
        return _give(supply, supply.container_answer, final=403)

    # IMDSv2

    def _imds_token(self, head: Head) -> Answer:
        asked = head.headers.get(_TTL_HEADER, str(IMDS_LIFETIME))
        usable = asked.isascii() and asked.isdigit() and len(asked) < 9
        if not (usable and 1 <= int(asked) <= IMDS_LIFETIME):
            return refusal(
                400, "InvalidTokenLifetime", f"{_TTL_HEADER} must be 1 to {IMDS_LIFETIME}"
            )
        token = self._tokens.issue(_IMDS_SCOPE, lifetime=int(asked))
        headers = ((_TTL_HEADER, str(int(asked))),)
        return Answer(200, token.encode(), headers, "text/plain")

    def _imds_role(self, head: Head, name: str) -> Answer | Wanted:
        if not self._tokens.knows(head.headers.get(_TOKEN_HEADER, ""), _IMDS_SCOPE):
            return refusal(
                401, "Unauthorized", f"a valid {_TOKEN_HEADER} is needed: PUT {IMDS_TOKEN_PATH}"
            )
        if not name:
            # An instance has one role, and clients take the whole text for its name.
            return Answer(200, self._first.encode(), (), "text/plain")
        supply = self._supplies.get(name)
        if supply is None:
            return refusal(404, "NotFound", "there is no such role")
        return _give(supply, supply.imds_answer, final=500)

    # health

    def _health(self, head: Head, name: str) -> Answer:
        del head
        chosen = [name] if name else list(self._supplies)
        if any(each not in self._supplies for each in chosen):
            return refusal(404, "NotFound", "there is no such role")
        found = {each: self._supplies[each].health() for each in chosen}
        healthy = all(good for good, _ in found.values())
        told = {
            "status": "ok" if healthy else "unavailable",
            "roles": {each: state for each, (_, state) in found.items()},
        }
        return Answer(200 if healthy else 503, json.dumps(told).encode())


def _give(supply: Supply, answer: Callable[[Snapshot], Answer], *, final: int) -> Answer | Wanted:
    snapshot = supply.peek()
    if snapshot is not None:
        return answer(snapshot)

    def render(outcome: Snapshot | Exception) -> Answer:
        if isinstance(outcome, Exception):
            return failed(outcome, final=final)
        return answer(outcome)

    return Wanted(supply, render)


def _only(method: str, head: Head) -> Answer | None:
    if head.method == method:
        return None
    return refusal(
        405, "MethodNotAllowed", f"only {method} is answered here", headers=(("Allow", method),)
    )


def _host(value: str) -> str:
    """A Host header without the port, in lower case; empty if it is malformed."""
    if value.startswith("["):
        name, bracket, rest = value.partition("]")
        name += bracket
    else:
        name, colon, rest = value.partition(":")
        rest = colon + rest
    if rest and not (rest[0] == ":" and rest[1:].isascii() and rest[1:].isdigit()):
        return ""
    return name.lower()

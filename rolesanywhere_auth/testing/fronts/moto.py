# SPDX-License-Identifier: Apache-2.0
"""A narrow add-on to moto: Roles Anywhere beside moto's own IAM, STS and S3.

`register` puts the service into moto, for `mock_aws` (in-process botocore
clients) and for moto's server alike. Roles come from moto's IAM and credentials
from its STS, so that ``get_caller_identity`` and S3 under IAM enforcement know
the session. moto has no way in for add-ons; what is used here are two inner
things that have been the same since moto 5.0.28: the list
``moto.backend_index.backend_url_patterns`` and the import of ``moto.<service>``.

moto never forgets a session. Sessions made here do end: the list of assumed
roles of moto's STS is exchanged for one that leaves them out once they expired
by the emulator's clock. An expired session is then as good as unknown: moto's
``get_caller_identity`` no longer names the role, and under enforcement a call is
refused as ``InvalidClientTokenId`` or, by S3, ``InvalidAccessKeyId`` (AWS says
``ExpiredToken``). What such a session may do is judged in `moto_enforcement`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from moto import backend_index
from moto.core.base_backend import BackendDict, BaseBackend
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from rolesanywhere_auth.testing.fronts.moto_enforcement import Enforcement
from rolesanywhere_auth.testing.fronts.moto_iam import ca_certificate, identify
from rolesanywhere_auth.testing.fronts.moto_sessions import Vended, sessions_of
from rolesanywhere_auth.testing.service.core import Service
from rolesanywhere_auth.testing.service.directory import Grant, Role, SessionKeys
from rolesanywhere_auth.testing.service.faults import Dropped
from rolesanywhere_auth.testing.service.state import partition_of
from rolesanywhere_auth.testing.service.wire import Refusal, Request

_NAME = "rolesanywhere"
_MODULE = f"moto.{_NAME}"
_HOSTS = (
    r"https?://rolesanywhere(-fips)?\.[a-z0-9-]+\."
    r"(amazonaws\.com(\.cn)?|amazonaws\.eu|api\.aws|api\.amazonwebservices\.com\.cn)"
)

MotoAnswer = tuple[int, dict[str, str], bytes]


class _AddOn(types.ModuleType):
    """What moto imports as ``moto.rolesanywhere``, and in which process it was made."""

    def __init__(self) -> None:
        super().__init__(_MODULE)
        self.process = os.getpid()


class Registration:
    """The add-on in moto; use it as a context manager or call `unregister`."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._pattern = (_NAME, re.compile(_HOSTS))
        self._before = sys.modules.get(_MODULE)
        backend_index.backend_url_patterns.insert(0, self._pattern)
        module = _AddOn()
        module.__dict__[f"{_NAME}_backends"] = BackendDict(_backend_class(service), _NAME)
        sys.modules[_MODULE] = module
        self._enforcement = Enforcement()

    def unregister(self) -> None:
        """Take the add-on out of moto again."""
        self._enforcement.remove()
        backend_index.backend_url_patterns.remove(self._pattern)
        if self._before is None:
            del sys.modules[_MODULE]
        else:
            sys.modules[_MODULE] = self._before

    def __enter__(self) -> Service:
        return self.service

    def __exit__(self, *exc_info: object) -> None:
        self.unregister()


def register(service: Service) -> Registration:
    """Let moto answer for Roles Anywhere by *service*.

    Do it before `mock_aws` starts. moto is one per process, so one service at a
    time; when moto is reset (as `mock_aws` does when it starts), so is the
    service's state.
    """
    return Registration(service)


def is_registered() -> bool:
    """Whether a registration of this process, and not of its parent, is in force."""
    found = sys.modules.get(_MODULE)
    return isinstance(found, _AddOn) and found.process == os.getpid()


class MotoDirectory:
    """Roles from moto's IAM, keys from moto's STS.

    Args:
        clock: the emulator's clock, by which sessions end.
    """

    def __init__(self, *, clock: Callable[[], datetime]) -> None:
        self._clock = clock

    def role(self, arn: str) -> Role:
        """The role in moto's IAM; KeyError when there is none."""
        partition, account_id = _place(arn)
        # Not get_role_by_arn(): moto renamed what that raises.
        roles = {role.arn: role for role in iam_backends[account_id][partition].get_roles()}
        return _role(roles[arn])

    def roles(self) -> list[Role]:
        """All roles in moto's IAM."""
        accounts = list(iam_backends.values())
        backends = [backend for account in accounts for backend in list(account.values())]
        return [_role(role) for backend in backends for role in backend.get_roles()]

    def mint(self, grant: Grant) -> SessionKeys:
        """Keys of a session that moto's STS knows until it expires."""
        partition, account_id = _place(grant.role_arn)
        sessions = sessions_of(account_id, partition, clock=self._clock)
        sessions.prune()
        session = sts_backends[account_id][partition].assume_role(
            region_name=grant.region,
            role_session_name=grant.session_name,
            role_arn=grant.role_arn,
            policy=grant.session_policy or "",
            duration=grant.duration_seconds,
            external_id="",
        )
        sessions.vended[session.access_key_id] = Vended(grant, session.user_id)
        return SessionKeys(
            access_key_id=session.access_key_id,
            secret_access_key=session.secret_access_key,
            session_token=session.session_token,
            assumed_role_id=session.user_id,
        )

    def ca_certificate(self, arn: str) -> str:
        """The certificate of a CA in moto's AWS Private CA.

        Raises:
            Refusal: ``ValidationException`` (text ours): there is no such CA, or it has
                no certificate yet.
        """
        return ca_certificate(arn)

    def clear(self) -> None:
        """Nothing: moto resets its roles and sessions itself."""


def moto_service(
    *,
    region: str = "us-east-1",
    account_id: str = "123456789012",
    clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> Service:
    """A service over moto's IAM and STS, for `register`; the defaults are moto's."""
    return Service(
        directory=MotoDirectory(clock=clock),
        region=region,
        account_id=account_id,
        clock=clock,
        random=os.urandom,
    )


def create_administrator(account_id: str, *, region: str) -> tuple[str, str]:
    """An IAM user who may do everything in moto's *account_id*: access key ID and secret."""
    backend = iam_backends[account_id][partition_of(region)]
    name = "administrator"
    backend.create_user(region, name)
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    backend.put_user_policy(name, "everything", json.dumps(document))
    key = backend.create_access_key(name)
    return key.access_key_id, key.secret_access_key


def _role(role: Any) -> Role:
    seconds = int(role.max_session_duration or 3600)
    return Role(role.arn, role.assume_role_policy_document, seconds)


def _place(arn: str) -> tuple[str, str]:
    _, partition, _, _, account_id, _ = arn.split(":", 5)
    return partition, account_id


def _backend_class(service: Service) -> type[BaseBackend]:
    def handler(request: Any, full_url: str, headers: Any) -> MotoAnswer:
        return _answer(service, request, full_url, headers)

    class RolesAnywhereBackend(BaseBackend):
        @property
        def urls(self) -> dict[str, Any]:
            return {_HOSTS + "/.*": handler}

        @property
        def flask_paths(self) -> dict[str, Any]:
            return {"/<path:path>": handler}

        def reset(self) -> None:
            # Without the state's lock: moto holds one of its own here, and a request
            # takes the two in the other order.
            service.state.clear()

    return RolesAnywhereBackend


def _answer(service: Service, request: Any, full_url: str, headers: Any) -> MotoAnswer:
    received = _request(request, full_url, headers)
    try:
        received = replace(received, caller=identify(received, service.account_id))
    except Refusal as refusal:
        answer = service.refuse(refusal)
        return answer.status, dict(answer.headers), answer.body
    try:
        answer = service.handle(received)
    except Dropped as dropped:
        raise ConnectionResetError(str(dropped)) from None
    if answer.hang_up:
        # Half an answer does not go through moto; none comes closest.
        raise ConnectionResetError("The emulator was told to send half an answer.")
    return answer.status, dict(answer.headers), answer.body


def _request(request: Any, full_url: str, headers: Any) -> Request:
    # The server keeps the undecoded path in the WSGI environment alone; in process
    # that holds no query, but the URL is as the client wrote it.
    whole = urlsplit(full_url)
    url = urlsplit(getattr(request, "environ", {}).get("RAW_URI") or full_url)
    pairs = [(str(name), _text(value)) for name, value in headers.items()]
    if not any(name.lower() == "host" for name, _ in pairs):
        # botocore's connection adds it, after moto has taken the request away.
        pairs.append(("Host", whole.netloc))
    query = url.query or whole.query
    return Request(request.method, url.path, query, tuple(pairs), _body(request))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _body(request: Any) -> bytes:
    body = request.get_data() if hasattr(request, "get_data") else request.body
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    return bytes(body)

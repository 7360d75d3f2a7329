# SPDX-License-Identifier: Apache-2.0
"""`Faults`: every way in which the service can fail a test, by name."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from rolesanywhere_auth.testing.service.faults import (
    ActiveFault,
    Call,
    Deed,
    Dropped,
    Fault,
    Proceed,
    RawAnswer,
    Scope,
    Switchboard,
    raw,
)
from rolesanywhere_auth.testing.service.quotas import (
    SIGN_INS_PER_SECOND,
    Rate,
    rate_exceeded,
    region_of,
)
from rolesanywhere_auth.testing.service.wire import Refusal, Request

if TYPE_CHECKING:
    from typing_extensions import Self

_CODES = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
_NOWHERE = "https://elsewhere.invalid/sessions"
Wait = Callable[[threading.Event, float], object]
_KEYS: dict[str, Callable[[Request], str | None]] = {
    "account": region_of,
    "certificate": lambda request: request.header("X-Amz-X509"),
    "address": lambda request: request.source_ip,
}


class Faults:
    """Faults of CreateSession, to switch on and off; the control plane goes on as ever.

    ::

        faults.hang()                            # every call, until it is ended
        faults.next(2).refuse(status=503)        # the next two calls
        faults.sometimes(0.2, random=Random(7)).reset()
        with faults.latency(0.5): ...

    Every verb returns an `ActiveFault`, which ends with its ``with`` block, by its
    ``end()``, or by `clear`. Several faults on one call take effect in the order in
    which they were switched on; one that answers itself hides those after it.

    Args:
        clock: The emulator's clock, for `throttle`.
        wait: Waits for an event, so many seconds at most; for `latency`.
    """

    def __init__(self, *, clock: Callable[[], datetime], wait: Wait = threading.Event.wait) -> None:
        self._clock = clock
        self._wait = wait
        self._board = Switchboard()
        self._scope = Scope()

    def __repr__(self) -> str:
        return repr(self._board)

    @property
    def active(self) -> tuple[ActiveFault, ...]:
        """The faults that are on, in the order in which a call meets them."""
        return self._board.active

    def clear(self) -> None:
        """End all faults, let go of the calls that they hold, and empty the queue."""
        self._board.clear()

    def add(self, answers: Iterable[Fault]) -> None:
        """Queue *answers*, one each for the next CreateSession calls; see `Emulator.inject`."""
        self._board.add(answers)

    def run(self, call: Call, serve: Proceed) -> RawAnswer:
        """The answer to *call*: an injected one, or the service's after all faults.

        Raises:
            Dropped: the connection is to be closed without one.
        """
        return self._board.run(call, serve)

    # How often

    def next(self, calls: int) -> Self:
        """The same verbs for the next *calls* that they can strike.

        Raises:
            ValueError: *calls* is less than 1.
        """
        return self._scoped(replace(self._scope, calls=calls))

    def sometimes(self, probability: float, *, random: Random) -> Self:
        """The same verbs with *probability* for each call, drawn from *random*.

        Raises:
            ValueError: *probability* is not above 0 and at most 1.
        """
        return self._scoped(replace(self._scope, probability=probability, random=random))

    def _scoped(self, scope: Scope) -> Self:
        other = copy.copy(self)
        other._scope = scope
        return other

    # The service says no

    def refuse(
        self,
        *,
        status: int = 503,
        code: str | None = None,
        message: str | None = None,
        retry_after: int | None = None,
    ) -> ActiveFault:
        """Answer with an error instead of the service.

        Args:
            status: The HTTP status.
            code: The error's name; by default what fits *status*.
            message: The error's text.
            retry_after: Seconds, as ``retryAfterSeconds`` in the body (so the service's
                model) and as the header ``Retry-After``.
        """
        answer = refusal_answer(status, code=code, message=message, retry_after=retry_after)
        return self._on(f"refuse({status})", Deed(instead=lambda: answer))

    def throttle(
        self,
        *,
        per_second: float = SIGN_INS_PER_SECOND,
        by: Literal["account", "certificate", "address"] = "account",
    ) -> ActiveFault:
        """Refuse what is above a rate, with 429 ``ThrottlingException``; it hits only those.

        The default is AWS's quota of one account and Region. AWS also limits by
        certificate and by address, and does not say at which rate (UG/quotas).

        Args:
            per_second: Calls a second by the emulator's clock; as many may come at once.
            by: What is counted together.
        """
        if by not in _KEYS:
            raise ValueError(f"by must be one of {', '.join(_KEYS)}, not {by!r}.")
        rate = Rate(per_second, clock=self._clock)
        deed = Deed(
            applies=lambda request: rate.is_exceeded(_KEYS[by](request)),
            instead=lambda: raw(rate_exceeded().response()),
        )
        return self._on(f"throttle({per_second:g} a second by {by})", deed)

    def redirect(
        self,
        location: str = _NOWHERE,
        *,
        status: int = 301,
    ) -> ActiveFault:
        """Send the client to *location*, by default a host that never exists."""
        answer = RawAnswer(status, (("Location", location),), b"")
        return self._on(f"redirect({status})", Deed(instead=lambda: answer))

    def disable_trust_anchor(self, arn: str | None = None) -> ActiveFault:
        """Judge as if the trust anchor *arn*, or any, were disabled; its record stays as it is."""
        deed = Deed(change=lambda conditions: conditions.disabled.add(arn or "*"))
        return self._on("disable_trust_anchor", deed)

    # The service is late or gone

    def latency(self, seconds: float) -> ActiveFault:
        """Hold the call for *seconds* of real time, then let it go on; ``release()`` is sooner."""
        if not seconds >= 0:
            raise ValueError(f"seconds must be 0 or more, not {seconds}.")
        deed = Deed(hold=lambda released: self._wait(released, seconds))
        return self._on(f"latency({seconds:g})", deed)

    def hang(self) -> ActiveFault:
        """Hold the call until ``release()``, the fault's end, or the emulator's stop."""
        return self._on("hang", Deed(hold=lambda released: released.wait()))

    def close(self) -> ActiveFault:
        """Close the connection without an answer."""
        return self._on("close", Deed(instead=lambda: _drop(reset=False)))

    def reset(self) -> ActiveFault:
        """Reset the connection (TCP RST) without an answer; behind moto it is closed."""
        return self._on("reset", Deed(instead=lambda: _drop(reset=True)))

    # The service answers nonsense

    def half_body(self) -> ActiveFault:
        """Close the connection in the middle of the service's answer."""
        return self._on("half_body", Deed(after=_halved))

    def bad_json(self) -> ActiveFault:
        """The service's answer with a body that is no JSON, as of a proxy in between."""
        return self._on("bad_json", Deed(after=_garbled))

    def empty_credential_set(self) -> ActiveFault:
        """Success without credentials in it."""
        return self._on("empty_credential_set", Deed(after=_emptied))

    def null_keys(self) -> ActiveFault:
        """Success with null for the access key ID, the secret key and the token."""
        return self._on("null_keys", Deed(after=_without_keys))

    # Time is out of joint

    def expired_credentials(self, *, seconds: float = 60) -> ActiveFault:
        """Success with credentials that expired *seconds* ago."""
        deed = Deed(change=lambda conditions: conditions.live(-seconds))
        return self._on("expired_credentials", deed)

    def short_lived(self, seconds: float) -> ActiveFault:
        """Success with credentials that live *seconds*, if not less; AWS's live 900 at least.

        The answer tells the expiry in whole seconds.
        """
        deed = Deed(change=lambda conditions: conditions.live(seconds))
        return self._on(f"short_lived({seconds:g})", deed)

    def skew_clock(self, seconds: float) -> ActiveFault:
        """Judge and answer as if the service's clock were *seconds* ahead, or behind."""
        deed = Deed(change=lambda conditions: conditions.move_clock(seconds))
        return self._on(f"skew_clock({seconds:g})", deed)

    def _on(self, name: str, deed: Deed) -> ActiveFault:
        return self._board.switch_on(name, deed, scope=self._scope)


def refusal_answer(
    status: int,
    *,
    code: str | None = None,
    message: str | None = None,
    retry_after: int | None = None,
) -> RawAnswer:
    """An error as the service would write it; *retry_after* in seconds."""
    code = code or _CODES.get(status, "InternalServerException")
    members = {} if retry_after is None else {"retryAfterSeconds": retry_after}
    answer = raw(Refusal(status, code, message or "Service unavailable", **members).response())
    if retry_after is None:
        return answer
    return replace(answer, headers=(*answer.headers, ("Retry-After", str(retry_after))))


def _drop(*, reset: bool) -> NoReturn:
    raise Dropped(reset=reset)


def _halved(answer: RawAnswer) -> RawAnswer:
    headers = (*answer.headers, ("Content-Length", str(len(answer.body))))
    body = answer.body[: len(answer.body) // 2]
    return replace(answer, headers=headers, body=body, hang_up=True)


def _garbled(answer: RawAnswer) -> RawAnswer:
    return replace(answer, body=b"<html>It works!</html>")


def _emptied(answer: RawAnswer) -> RawAnswer:
    return _edited(answer, lambda body: body["credentialSet"].clear())


def _without_keys(answer: RawAnswer) -> RawAnswer:
    names = ("accessKeyId", "secretAccessKey", "sessionToken")

    def forget(body: dict[str, Any]) -> None:
        for entry in body["credentialSet"]:
            entry["credentials"].update(dict.fromkeys(names))

    return _edited(answer, forget)


def _edited(answer: RawAnswer, edit: Callable[[dict[str, Any]], object]) -> RawAnswer:
    """*answer* with its body edited, if it is a success."""
    if answer.status != 201:
        return answer
    body = json.loads(answer.body)
    edit(body)
    return replace(answer, body=json.dumps(body).encode())

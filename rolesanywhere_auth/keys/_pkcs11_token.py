# SPDX-License-Identifier: Apache-2.0
"""Tokens: the one a URI means, a session with it, and the login.

All of this is called within the token's `Module`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from rolesanywhere_auth.errors import PassphraseError
from rolesanywhere_auth.keys._pkcs11_module import Module
from rolesanywhere_auth.keys._rfc7512 import PKCS11URI


class UnavailableError(Exception):
    """No token, or no object, or more than one; the text says which were looked at."""


class LoginFirstError(Exception):
    """What was looked for may be visible to a user who is logged in."""

    def __init__(self, opened: OpenToken) -> None:
        super().__init__()
        self.opened = opened


class TokenID(NamedTuple):
    """What tells tokens apart."""

    label: str
    serial: str
    model: str
    manufacturer: str

    def __str__(self) -> str:
        return f"token {self.label!r} (serial {self.serial or 'none'}, {self.model})"


def identity_of(token: Any) -> TokenID:
    """Of a token of ``python-pkcs11``."""
    serial = token.serial.rstrip(b"\0 ").decode("utf-8", "replace")
    return TokenID(token.label, serial, token.model, token.manufacturer_id)


@lru_cache(maxsize=1)
def _mapper() -> Any:
    """Attributes as they are: labels in no encoding, and keys of kinds not known here."""
    from pkcs11 import Attribute
    from pkcs11.attributes import AttributeMapper, handle_ulong

    mapper = AttributeMapper()
    mapper.register_handler(
        Attribute.LABEL,
        lambda text: text.encode("utf-8", "surrogateescape"),
        lambda data: data.decode("utf-8", "surrogateescape"),
    )
    mapper.register_handler(Attribute.KEY_TYPE, *handle_ulong)
    return mapper


class OpenToken:
    """A token and a session with it, for all in this process that use it."""

    def __init__(self, token: Any) -> None:
        self.identity = identity_of(token)
        self._refused = _refused.setdefault(self.identity, set())
        self.token = token
        self.session = token.open(attribute_mapper=_mapper())
        self.logged_in = False
        self.login_needed = bool(self._flag("LOGIN_REQUIRED"))

    def _flag(self, name: str) -> bool:
        from pkcs11 import TokenFlag

        return bool(self.token.flags & TokenFlag[name])

    @property
    def has_pin_pad(self) -> bool:
        """Whether the PIN can be entered at the device itself."""
        return self._flag("PROTECTED_AUTHENTICATION_PATH")

    def is_there(self) -> bool:
        """Whether the slot still has this very token; tells what `login` has to know."""
        import pkcs11

        try:
            token = self.token.slot.get_token()
        except pkcs11.PKCS11Error:
            return False
        if identity_of(token) != self.identity:
            return False
        self.token = token
        return True

    def new_session(self) -> None:
        """Leave the session; the login, which all sessions share, stays if there is one.

        It is not closed: python-pkcs11 would log out all sessions with it.
        """
        self.session = self.token.open(attribute_mapper=_mapper())

    def login(self, pin: bytes | None, *, source: str) -> None:
        """Log in, if nobody in this process did yet.

        Args:
            pin: Not needed where the device has a PIN pad.

        Raises:
            PassphraseError: The PIN is missing, wrong or locked.
            pkcs11.PKCS11Error: Something else.
        """
        import pkcs11

        text = self.check_pin(pin, source=source)
        try:
            session = self.token.open(
                user_pin=pkcs11.PROTECTED_AUTH if text is None else text,
                attribute_mapper=_mapper(),
            )
        except pkcs11.UserAlreadyLoggedIn:  # someone else, who shares that with us
            pass
        except pkcs11.PKCS11Error as error:
            raise self.pin_error(error, pin, source=source) or error from None
        else:
            with contextlib.suppress(pkcs11.PKCS11Error):
                self.session.close()  # opened without a login, or that would end this one
            self.session = session
        self.logged_in = True

    def check_pin(self, pin: bytes | None, *, source: str) -> str | None:
        """The PIN as text, if it may be tried; None for the PIN pad.

        Raises:
            PassphraseError: There is none, or it was refused before, or the token is locked or
                has one try left.
        """
        self.is_there()
        if self._flag("USER_PIN_LOCKED"):
            raise self._locked(source)
        if pin is None:
            if self.has_pin_pad:
                return None
            raise PassphraseError(
                f"{source}: the {self.identity} asks for a PIN, and none was given: pass "
                "passphrase=…, or write ?pin-source=/path/of/its/file into the reference.",
                source=source,
            )
        if _digest(pin) in self._refused:
            raise PassphraseError(
                f"{source}: the {self.identity} refused this PIN before; it is not tried again. "
                "Give another one.",
                source=source,
            )
        if self._flag("USER_PIN_FINAL_TRY"):
            raise PassphraseError(
                f"{source}: the {self.identity} has one try left before its PIN is locked, which "
                "is not spent here. Log in once by hand, which gives back all tries: "
                "pkcs11-tool --login --test.",
                source=source,
            )
        with contextlib.suppress(UnicodeDecodeError):  # which would show it
            return pin.decode("utf-8")
        raise PassphraseError(f"{source}: the PIN is not UTF-8, as PINs are.", source=source)

    def pin_error(
        self, error: Exception, pin: bytes | None, *, source: str
    ) -> PassphraseError | None:
        """What a failed login means, if it is about the PIN: then that one is not tried again."""
        import pkcs11

        known: dict[type[Exception], str] = {
            pkcs11.PinIncorrect: "refused the PIN",
            pkcs11.PinInvalid: "refused the PIN",
            pkcs11.PinLenRange: "refused the PIN: no PIN of its has this length",
            pkcs11.PinExpired: "wants the PIN changed first",
            pkcs11.UserPinNotInitialized: "has no PIN for the user yet (pkcs11-tool --init-pin)",
            pkcs11.FunctionCancelled: "was not given its PIN at the device",
            pkcs11.FunctionRejected: "was not given its PIN at the device",
        }
        if type(error) not in (*known, pkcs11.PinLocked):
            return None
        if pin is not None:
            self._refused.add(_digest(pin))
        if isinstance(error, pkcs11.PinLocked):
            return self._locked(source)
        left = ""
        if self.is_there():
            left = " It has one try left." if self._flag("USER_PIN_FINAL_TRY") else ""
            if self._flag("USER_PIN_LOCKED"):
                left = " It is locked now."
        return PassphraseError(
            f"{source}: the {self.identity} {known[type(error)]}.{left} It was tried once, and is "
            "not tried again in this process: give another one.",
            source=source,
        )

    def _locked(self, source: str) -> PassphraseError:
        return PassphraseError(
            f"{source}: the PIN of the {self.identity} is locked. Have it reset with the SO PIN or "
            "PUK: pkcs11-tool --login --login-type so --init-pin.",
            source=source,
        )


_SALT = os.urandom(16)
_refused: dict[TokenID, set[bytes]] = {}
"""Digests of PINs that tokens refused: they lock after a few wrong ones, whoever tries them.
By the token alone, as p11-kit's proxy shows the tokens of other modules too."""


def _digest(pin: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", pin, _SALT, 10_000)


def open_token(
    module: Module, uri: PKCS11URI, holds: Callable[[Any], bool], last: TokenID | None
) -> OpenToken:
    """The token that *uri* means, opened.

    Args:
        holds: Whether a session with a token shows an object of the URI's, for telling
            several tokens apart.
        last: The one that was meant before.

    Raises:
        UnavailableError: There is none, or more than one.
    """
    found: OpenToken | None = module.tokens.get(last)
    if found is not None:
        return found
    seen: list[Any] = []
    for _ in module.attempts():
        seen = _tokens(module)
        matching = [each for each in seen if _matches(uri, each, module)]
        if matching:
            token = matching[0] if len(matching) == 1 else _one_of(matching, holds)
            found = module.tokens.get(identity_of(token)) or OpenToken(token)
            module.tokens[found.identity] = found
            return found
    raise UnavailableError(
        "there is no such token. "
        + (f"There are: {_listed(seen)}" if seen else f"{module.path} shows none at all")
        + ". Plug it in, or correct the reference"
    )


def _tokens(module: Module) -> list[Any]:
    import pkcs11

    found = []
    with contextlib.suppress(pkcs11.PKCS11Error):  # SoftHSM, when tokens come and go
        for slot in module.lib.get_slots(token_present=True):
            with contextlib.suppress(pkcs11.PKCS11Error):  # this one was just removed, or fails
                token = slot.get_token()
                if token.flags & pkcs11.TokenFlag.TOKEN_INITIALIZED:
                    found.append(token)
    return found


def _matches(uri: PKCS11URI, token: Any, module: Module) -> bool:
    identity, slot, lib = identity_of(token), token.slot, module.lib
    wanted = (
        (uri.token, identity.label),
        (uri.serial, identity.serial),
        (uri.model, identity.model),
        (uri.manufacturer, identity.manufacturer),
        (uri.slot_id, slot.slot_id),
        (uri.slot_description, slot.slot_description),
        (uri.slot_manufacturer, slot.manufacturer_id),
        (uri.library_manufacturer, lib.manufacturer_id),
        (uri.library_description, lib.library_description),
        (uri.library_version, lib.library_version),
    )
    return all(want is None or want == have for want, have in wanted)


def _one_of(tokens: list[Any], holds: Callable[[Any], bool]) -> Any:
    import pkcs11

    holding = []
    for token in tokens:
        with contextlib.suppress(pkcs11.PKCS11Error):
            session = token.open(attribute_mapper=_mapper())
            if holds(session):
                holding.append(token)
            session.close()
    if len(holding) == 1:
        return holding[0]
    raise UnavailableError(
        f"this fits several tokens: {_listed(holding or tokens)}. "
        "Add token=… or serial=… to the reference"
    )


def _listed(tokens: list[Any]) -> str:
    return ", ".join(str(identity_of(each)) for each in tokens)


def may_pass(error: Exception) -> bool:
    """Whether a new session may help: the token was away, or someone ended the session."""
    import pkcs11

    return type(error) is pkcs11.PKCS11Error or isinstance(
        error,
        (
            pkcs11.DeviceError,
            pkcs11.DeviceRemoved,
            pkcs11.FunctionFailed,
            pkcs11.GeneralError,
            pkcs11.KeyHandleInvalid,
            pkcs11.ObjectHandleInvalid,
            pkcs11.OperationActive,
            pkcs11.SessionClosed,
            pkcs11.SessionHandleInvalid,
            pkcs11.SlotIDInvalid,
            pkcs11.TokenNotPresent,
            pkcs11.TokenNotRecognised,
            pkcs11.UserNotLoggedIn,
        ),
    )


def explained(error: Exception, opened: OpenToken | None) -> str:
    """What the module said, which is a class and seldom a text."""
    what = f"{type(error).__name__}{f': {error}' if str(error) else ''}"
    where = f"the {opened.identity} says" if opened else "the module says"
    return f"{where} {what}, also with a new session. Check that the token is there and works"

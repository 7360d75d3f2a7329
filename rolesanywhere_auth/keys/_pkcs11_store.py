# SPDX-License-Identifier: Apache-2.0
"""The store that a ``pkcs11:`` reference names, and how work is done with its token."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from rolesanywhere_auth.errors import (
    CertificateLoadError,
    ConfigurationError,
    IdentityError,
    PassphraseError,
)
from rolesanywhere_auth.keys import _pkcs11_objects as objects
from rolesanywhere_auth.keys._pkcs11_module import (
    Module,
    ModuleError,
    module_of,
    module_path,
    require_library,
)
from rolesanywhere_auth.keys._pkcs11_token import (
    LoginFirstError,
    OpenToken,
    TokenID,
    UnavailableError,
    explained,
    may_pass,
    open_token,
)
from rolesanywhere_auth.keys._rfc7512 import parse_uri
from rolesanywhere_auth.secrets import Passphrase, SecretReference, reveal

if TYPE_CHECKING:
    from rolesanywhere_auth.keys.pkcs11 import PKCS11Signer

logger = logging.getLogger("rolesanywhere_auth.keys")

T = TypeVar("T")
Asked: TypeAlias = "tuple[bytes | None] | None"
"""The PIN, if there is one; None as long as it was not asked for."""


class NeedsPINError(Exception):
    """To be asked for outside of the lock, as that may take a person."""


class PKCS11Store:
    """A reference to a certificate, a key or both on a token. A `KeyStore`.

    The module is loaded, and the token looked for, at first use.

    Args:
        reference: RFC 7512.
        passphrase: The PIN, where the reference says nothing of one. It is asked for at each
            login; not at all where the token needs none, or has a PIN pad.

    Raises:
        ConfigurationError: The reference makes no sense.
        MissingExtraError: ``python-pkcs11`` is not installed.
    """

    def __init__(self, reference: str, *, passphrase: Passphrase | None = None) -> None:
        self.uri = parse_uri(reference)
        if self.uri.type not in (None, "cert", "private"):
            raise ConfigurationError(
                f"{self.uri}: type={self.uri.type} is neither a certificate nor a private key. "
                "Write type=cert or type=private, or leave it out."
            )
        if (self.uri.pin_source or "").startswith("|"):
            raise ConfigurationError(
                f"{self.uri}: pin-source names a command, which is not run here. Write the path of "
                "a file, or pass a callable as passphrase."
            )
        self._pin_source = _reference(self.uri.pin_source, source=str(self.uri))
        require_library()
        self._passphrase = passphrase
        self._found: Module | None = None
        self._token: TokenID | None = None
        self._signer: PKCS11Signer | None = None

    @property
    def source(self) -> str:
        """The reference without its PIN."""
        return str(self.uri)

    def certificates(self) -> Sequence[bytes]:
        """DER of those that the reference names, and of their issuers.

        Raises:
            CertificateLoadError: There is none, or no such token or module.
            PassphraseError: They are shown after login only, and that failed.
        """

        def read(opened: OpenToken, _: Asked) -> list[bytes]:
            found = objects.certificates(opened.session, self.uri)
            if not found and not opened.logged_in and self.may_log_in(opened):
                raise LoginFirstError(opened)
            if not found:
                raise UnavailableError(
                    f"the {opened.identity} shows no such certificate"
                    f"{'' if opened.logged_in else ' without a PIN'}. Put it there (pkcs11-tool "
                    "--write-object FILE --type cert --id …), or pass its file as certificate"
                )
            return found

        return self.use(read, failure=CertificateLoadError, login=False)

    def signer(self, public_keys: Sequence[bytes]) -> PKCS11Signer:
        """The key; raises as `KeyStore.signer` says."""
        from rolesanywhere_auth.keys.pkcs11 import PKCS11Signer

        signer = PKCS11Signer._of(self, public_keys)
        signer.public_key()
        self._signer = signer
        return signer

    def stamp(self) -> object:
        """The token, its certificates that count, and the key once it was asked for."""
        signer = self._signer

        def look(opened: OpenToken, _: Asked) -> object:
            if not opened.is_there():
                raise UnavailableError(f"the {opened.identity} is not there any more")
            found = objects.certificates(opened.session, self.uri)
            key = None if signer is None else signer.stamp(opened)
            return opened.identity, hashlib.sha256(b"".join(found)).digest(), key

        try:
            with self._module() as module:
                module.refresh()
        except ModuleError as error:
            raise self._error(CertificateLoadError, str(error)) from error.__cause__
        return self.use(look, failure=CertificateLoadError, login=signer is not None)

    def watch(self, changed: Callable[[], None]) -> None:
        """Nothing: tokens do not tell."""

    def use(
        self,
        work: Callable[[OpenToken, Asked], T],
        *,
        failure: type[IdentityError],
        login: bool,
        wants_pin: bool = False,
    ) -> T:
        """Do *work* with the token, once more with a new session if this one is of no use.

        Args:
            work: Called within the module's lock.
            failure: What to raise.
            login: Whether it needs one, where the token asks for that.
            wants_pin: Whether *work* needs the PIN itself.

        Raises:
            PassphraseError: The login failed.
        """
        import pkcs11

        asked: Asked = None
        failed = False
        while True:
            last: OpenToken | None = None
            try:
                with self._module() as module:
                    last = opened = self._open(module)
                    to_do = login and opened.login_needed and not opened.logged_in
                    if (to_do or wants_pin) and asked is None:
                        raise NeedsPINError
                    if to_do and asked is not None:
                        opened.login(asked[0], source=self.source)
                    return work(opened, asked)
            except NeedsPINError:
                asked = (self._pin(),)
            except LoginFirstError as error:
                login = error.opened.login_needed = True
            except (ModuleError, UnavailableError) as error:
                raise self._error(failure, str(error)) from error.__cause__
            except pkcs11.PKCS11Error as error:
                if failed or not may_pass(error):
                    raise self._error(failure, explained(error, last)) from error
                failed = True
                self._renew(last, error)

    def _module(self) -> Module:
        if self._found is None:
            self._found = module_of(module_path(self.uri))
        return self._found

    def _open(self, module: Module) -> OpenToken:
        opened = open_token(
            module, self.uri, lambda session: objects.holds(session, self.uri), self._token
        )
        self._token = opened.identity
        return opened

    def _renew(self, opened: OpenToken | None, error: Exception) -> None:
        """Make a new session: this one is lost, or in a state that it cannot get out of."""
        import pkcs11

        logger.debug("%s: %s; opening it anew.", self.source, type(error).__name__)
        with self._module() as module:
            if opened is not None and opened not in module.tokens.values():
                return  # another thread did that
            if opened is not None and isinstance(error, pkcs11.UserNotLoggedIn):
                # somebody logged out, or the token did not say that a login is needed
                opened.login_needed, opened.logged_in = True, False
                opened.new_session()
            else:
                module.restart()

    def may_log_in(self, opened: OpenToken) -> bool:
        given = (self.uri.pin_value, self.uri.pin_source, self._passphrase)
        return opened.has_pin_pad or any(each is not None for each in given)

    def _pin(self) -> bytes | None:
        if self.uri.pin_value is not None:
            return self.uri.pin_value.encode("utf-8", "surrogateescape") or None
        if self._pin_source is not None:
            try:
                return reveal(self._pin_source)
            except PassphraseError as error:
                text = f"{self.source}: pin-source: {error}"
                raise PassphraseError(text, source=self.source) from error
        return reveal(self._passphrase)

    def _error(self, kind: type[IdentityError], text: str) -> IdentityError:
        return kind(f"{self.source}: {text}.", source=self.source)

    def __repr__(self) -> str:
        return f"<PKCS11Store {self.source}>"


def _reference(pin_source: str | None, *, source: str) -> SecretReference | None:
    """A file; or a secret kept elsewhere, which RFC 7512 leaves open."""
    if pin_source is None:
        return None
    if pin_source.partition(":")[0] not in ("env", "credential", "fd", "keyring", "prompt"):
        pin_source = f"file:{pin_source.removeprefix('file:')}"
    return SecretReference(pin_source, name=f"{source}: pin-source")

"""Keys and certificates in PKCS #11 tokens: HSMs, smart cards, YubiKeys, software tokens.

``pkcs11:token=prod;object=app`` is enough as ``certificate`` where the token has both; see
`PKCS11URI` for what else a reference (RFC 7512) may say. The module is the one of
``module-path`` or ``module-name``, or p11-kit's proxy, which offers those of the system.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeAlias, TypeVar

from rolesanywhere_auth.errors import (
    CertificateLoadError,
    ConfigurationError,
    IdentityError,
    PassphraseError,
    PrivateKeyLoadError,
    SigningError,
)
from rolesanywhere_auth.keys import _pkcs11_objects as objects
from rolesanywhere_auth.keys import _pkcs11_signing as signing
from rolesanywhere_auth.keys import check_signature, unsupported_key
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
    open_token,
)
from rolesanywhere_auth.keys._rfc7512 import parse_uri
from rolesanywhere_auth.secrets import Passphrase, reveal

if TYPE_CHECKING:
    from rolesanywhere_auth.keys import PublicKey

logger = logging.getLogger("rolesanywhere_auth.keys")

T = TypeVar("T")
_Asked: TypeAlias = "tuple[bytes | None] | None"
"""The PIN, if there is one; None as long as it was not asked for."""
_TEST_TEXT = b"rolesanywhere_auth: which certificate does this key belong to?"


def open_store(reference: str, *, passphrase: Passphrase | None) -> PKCS11Store:
    """Understand a ``pkcs11:`` reference; see `PKCS11Store`."""
    return PKCS11Store(reference, passphrase=passphrase)


class _NeedsPIN(Exception):
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
        require_library()
        self._passphrase = passphrase
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

        def read(opened: OpenToken, _: _Asked) -> list[bytes]:
            found = objects.certificates(opened.session, self.uri)
            if not found and not opened.logged_in and self._may_log_in(opened):
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
        signer = PKCS11Signer._of(self, public_keys)
        signer.public_key()
        self._signer = signer
        return signer

    def stamp(self) -> object:
        """The token, its certificates that count, and the key once it was asked for."""
        signer = self._signer

        def look(opened: OpenToken, _: _Asked) -> object:
            if not opened.is_there():
                raise UnavailableError(f"the {opened.identity} is not there any more")
            found = objects.certificates(opened.session, self.uri)
            key = None if signer is None else signer.stamp(opened)
            return opened.identity, hashlib.sha256(b"".join(found)).digest(), key

        return self.use(look, failure=CertificateLoadError, login=signer is not None)

    def watch(self, changed: Callable[[], None]) -> None:
        """Nothing: tokens do not tell."""

    def use(
        self,
        work: Callable[[OpenToken, _Asked], T],
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

        asked: _Asked = None
        failed = False
        while True:
            last: OpenToken | None = None
            try:
                with self._module() as module:
                    last = opened = self._open(module)
                    to_do = login and opened.login_needed and not opened.logged_in
                    if (to_do or wants_pin) and asked is None:
                        raise _NeedsPIN
                    if to_do and asked is not None:
                        opened.login(asked[0], source=self.source)
                    return work(opened, asked)
            except _NeedsPIN:
                asked = (self._pin(),)
            except LoginFirstError as error:
                login = error.opened.login_needed = True
            except (ModuleError, UnavailableError) as error:
                raise self._error(failure, str(error)) from error.__cause__
            except pkcs11.PKCS11Error as error:
                if failed or not _may_pass(error):
                    raise self._error(failure, _explained(error, last)) from error
                failed = True
                self._renew(last, error)

    def _module(self) -> Module:
        return module_of(module_path(self.uri))

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
            if opened is None or module.tokens.get(opened.identity) is not opened:
                return  # another thread did that
            if isinstance(error, pkcs11.UserNotLoggedIn):  # somebody logged out, or never said so
                opened.login_needed, opened.logged_in = True, False
                return
            module.restart()

    def _may_log_in(self, opened: OpenToken) -> bool:
        given = (self.uri.pin_value, self.uri.pin_source, self._passphrase)
        return opened.has_pin_pad or any(each is not None for each in given)

    def _pin(self) -> bytes | None:
        if self.uri.pin_value is not None:
            return self.uri.pin_value.encode("utf-8", "surrogateescape") or None
        if self.uri.pin_source is not None:
            return _read_pin(self.uri.pin_source, source=self.source)
        return reveal(self._passphrase)

    def _error(self, kind: type[IdentityError], text: str) -> IdentityError:
        return kind(f"{self.source}: {text}.", source=self.source)

    def __repr__(self) -> str:
        return f"<PKCS11Store {self.source}>"


class _Bound(NamedTuple):
    """The key's handle, which means something as long as the token stays open."""

    opened: OpenToken
    key: objects.Item
    key_type: int
    always: bool
    """CKA_ALWAYS_AUTHENTICATE: each signature wants the PIN."""


class PKCS11Signer:
    """A private key that stays on its token. A `Signer`, as ``private_key`` takes one.

    ::

        RolesAnywhereConfig(
            certificate="/etc/pki/app.pem",
            private_key=PKCS11Signer("pkcs11:token=prod;object=app", passphrase=ask_vault),
            ...,
        )

    Args: as `PKCS11Store` takes them, which says what it raises.
    """

    def __init__(self, reference: str, *, passphrase: Passphrase | None = None) -> None:
        self._setup(PKCS11Store(reference, passphrase=passphrase), ())

    @classmethod
    def _of(cls, store: PKCS11Store, public_keys: Sequence[bytes]) -> PKCS11Signer:
        signer = cls.__new__(cls)
        signer._setup(store, public_keys)
        return signer

    def _setup(self, store: PKCS11Store, public_keys: Sequence[bytes]) -> None:
        self._store = store
        self._public_keys = public_keys
        self._bound: _Bound | None = None
        self._public_key: PublicKey | None = None
        self._mechanisms: dict[int, int] = {}

    @property
    def source(self) -> str:
        """How messages name it: the reference without its PIN."""
        return self._store.source

    def public_key(self) -> PublicKey:
        """The public half.

        Raises:
            PrivateKeyLoadError: There is no such key, or more than one.
            PassphraseError: The PIN is missing, wrong or locked.
        """
        if self._public_key is None:
            self._public_key = self._find_public_key()
        return self._public_key

    def sign(self, data: bytes) -> bytes:
        """Sign, as `Signer.sign` says.

        Raises:
            SigningError: The token is gone, or refuses.
            PassphraseError: The PIN is missing, wrong or locked.
        """
        data = bytes(data)  # anything else would leave the session in the midst of a signature
        return self._store.use(
            lambda opened, asked: self._sign(opened, asked, data),
            failure=SigningError,
            login=True,
            wants_pin=self._bound is not None and self._bound.always,
        )

    def stamp(self, opened: OpenToken) -> object:
        """What differs once another key is there."""
        found = objects.keys(opened.session, self._store.uri)
        public_keys = [objects.public_key_of(opened.session, each) for each in found]
        return sorted(objects.info_of(each) if each else b"" for each in public_keys)

    def _find_public_key(self) -> PublicKey:
        found = self._store.use(
            lambda opened, _: objects.public_key_of(opened.session, self._bind(opened).key),
            failure=PrivateKeyLoadError,
            login=True,
        )
        if found is not None:
            return found
        candidates = [key for key in map(objects.load_info, self._public_keys) if key is not None]
        if len(candidates) == 1:  # the first signature shows whether it is the one
            return candidates[0]
        return self._proved(candidates)

    def _proved(self, candidates: list[PublicKey]) -> PublicKey:
        """Which of *candidates* it is, shown by a signature: the token does not tell."""
        signature = self.sign(_TEST_TEXT) if candidates else b""
        for each in candidates:
            try:
                check_signature(each, signature, _TEST_TEXT, source=self.source)
            except SigningError:
                continue
            return each
        raise PrivateKeyLoadError(
            f"{self.source}: the token does not tell this key's public half, and none of the "
            f"{len(candidates)} certificates given is of it. Pass the certificate of this key.",
            source=self.source,
        )

    def _bind(self, opened: OpenToken) -> _Bound:
        bound = self._bound
        if bound is not None and bound.opened is opened:
            return bound
        uri, store = self._store.uri, self._store
        public_keys = self._public_keys
        if self._public_key is not None:
            public_keys = [objects.info_of(self._public_key)]
        try:
            key = objects.one_key(opened.session, uri, public_keys)
        except UnavailableError:
            if not opened.logged_in and store._may_log_in(opened):
                raise LoginFirstError(opened) from None
            raise
        self._same_key(opened, key)
        kind = objects.key_type(key)
        if kind not in objects.KINDS:
            raise unsupported_key(f"a key of the PKCS #11 type {kind:#x}", source=self.source)
        always = bool(objects.attribute(key.handle, "ALWAYS_AUTHENTICATE"))
        self._bound = _Bound(opened, key, kind, always)
        return self._bound

    def _same_key(self, opened: OpenToken, key: objects.Item) -> None:
        if self._public_key is None:
            return
        found = objects.public_key_of(opened.session, key)
        if found is not None and found != self._public_key:
            raise UnavailableError(
                f"the {opened.identity} has another key of this name now. It is used once its "
                "certificate is there too"
            )

    def _sign(self, opened: OpenToken, asked: _Asked, data: bytes) -> bytes:
        bound = self._bind(opened)
        context_pin = None
        if bound.always:
            if asked is None:
                raise _NeedsPIN
            context_pin = opened.check_pin(asked[0], source=self.source) or ""
        try:
            return signing.sign(
                bound.key.handle,
                bound.key_type,
                data,
                context_pin=context_pin,
                chosen=self._mechanisms,
            )
        except Exception as error:
            refused = asked and opened.pin_error(error, asked[0], source=self.source)
            if not refused:
                raise
            opened.new_session()  # the other one waits for the PIN for ever
            self._bound = None
            raise refused from None

    def __repr__(self) -> str:
        return f"<PKCS11Signer {self.source}>"

    def __reduce__(self) -> NoReturn:
        """Refuse: handles mean nothing elsewhere."""
        raise TypeError(
            "A PKCS11Signer belongs to its process and cannot be pickled or copied. Pass on the "
            "reference instead."
        )


def _read_pin(text: str, *, source: str) -> bytes | None:
    path = Path(text.removeprefix("file:").replace("//", "/", 1)).expanduser()
    try:
        pin = path.read_bytes()
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PassphraseError(
            f"{source}: cannot read the PIN from {path}: {reason}. Check pin-source, and that this "
            "process may read the file.",
            source=source,
        ) from error
    if mode & 0o044:
        logger.warning("%s: others may read this file, which has a PIN: chmod 600.", path)
    return pin.removesuffix(b"\n").removesuffix(b"\r") or None


def _may_pass(error: Exception) -> bool:
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


def _explained(error: Exception, opened: OpenToken | None) -> str:
    """What the module said, which is a class and seldom a text."""
    what = f"{type(error).__name__}{f': {error}' if str(error) else ''}"
    where = f"the {opened.identity} says" if opened else "the module says"
    return f"{where} {what}, also with a new session. Check that the token is there and works"

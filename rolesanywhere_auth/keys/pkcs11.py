# SPDX-License-Identifier: Apache-2.0
"""Keys and certificates in PKCS #11 tokens: HSMs, smart cards, YubiKeys, software tokens.

``pkcs11:token=prod;object=app`` is enough as ``certificate`` where the token has both; see
`PKCS11URI` for what else a reference (RFC 7512) may say. The module is the one of
``module-path`` or ``module-name``, or p11-kit's proxy, which offers those of the system.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from rolesanywhere_auth.errors import (
    PrivateKeyLoadError,
    SigningError,
)
from rolesanywhere_auth.keys import _pkcs11_objects as objects
from rolesanywhere_auth.keys import _pkcs11_signing as signing
from rolesanywhere_auth.keys import check_signature, unsupported_key
from rolesanywhere_auth.keys._pkcs11_store import Asked, NeedsPINError, PKCS11Store
from rolesanywhere_auth.keys._pkcs11_token import (
    LoginFirstError,
    OpenToken,
    UnavailableError,
)
from rolesanywhere_auth.secrets import Passphrase

if TYPE_CHECKING:
    from rolesanywhere_auth.keys import PublicKey

logger = logging.getLogger("rolesanywhere_auth.keys")

_TEST_TEXT = b"rolesanywhere_auth: which certificate does this key belong to?"


def open_store(reference: str, *, passphrase: Passphrase | None) -> PKCS11Store:
    """Understand a ``pkcs11:`` reference; see `PKCS11Store`."""
    return PKCS11Store(reference, passphrase=passphrase)


class _Bound(NamedTuple):
    """The key's handle, which means something as long as its session is used."""

    opened: OpenToken
    session: object
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
        self._mechanisms: dict[int, object] = {}

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
        if bound is not None and bound.session is opened.session:
            return bound
        uri, store = self._store.uri, self._store
        public_keys = self._public_keys
        if self._public_key is not None:
            public_keys = [objects.info_of(self._public_key)]
        try:
            key = objects.one_key(opened.session, uri, public_keys, token=opened.identity)
        except UnavailableError:
            if not opened.logged_in and store.may_log_in(opened):
                raise LoginFirstError(opened) from None
            raise
        self._same_key(opened, key)
        kind = objects.key_type(key)
        if kind not in objects.KINDS:
            raise unsupported_key(f"a key of the PKCS #11 type {kind:#x}", source=self.source)
        if not hasattr(key.handle, "sign"):
            raise UnavailableError(f"the {opened.identity} says that this key may not sign")
        always = bool(objects.attribute(key.handle, "ALWAYS_AUTHENTICATE"))
        self._bound = _Bound(opened, opened.session, key, kind, always)
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

    def _sign(self, opened: OpenToken, asked: Asked, data: bytes) -> bytes:
        bound = self._bind(opened)
        context_pin = None
        if bound.always:
            if asked is None:
                raise NeedsPINError
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
            raise refused from None

    def __repr__(self) -> str:
        return f"<PKCS11Signer {self.source}>"

    def __reduce__(self) -> NoReturn:
        """Refuse: handles mean nothing elsewhere."""
        raise TypeError(
            "A PKCS11Signer belongs to its process and cannot be pickled or copied. Pass on the "
            "reference instead."
        )

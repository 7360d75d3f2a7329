# SPDX-License-Identifier: Apache-2.0
"""Keys in a TPM 2.0, by ``tpm2-pytss``: at a persistent handle, or in a TSS2 key file.

References::

    tpm:0x81000001                  handle:0x81000001
    tpm:/etc/pki/app.tss2.pem       (the plain path of such a file will do, too)
    tpm:0x81000001;tcti=swtpm:host=127.0.0.1,port=2321
    tpm:0x81000001;policy=pcr:sha256:0,7;policy=authvalue
    tpm:app.tss2.pem;parent-auth=file:/etc/pki/owner.password

``auth`` and ``parent-auth`` (the password of the key, and of its parent or hierarchy) say where it
is, as a `SecretReference`: ``env:NAME``, ``file:PATH`` and the others, but not ``value:``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from rolesanywhere_auth._containers import Readable, open_contents, read_material
from rolesanywhere_auth.errors import PassphraseError, PrivateKeyLoadError, SigningError
from rolesanywhere_auth.forking import local_work
from rolesanywhere_auth.keys import check_signer
from rolesanywhere_auth.keys._tpm_device import Context, Device, device, require_pytss
from rolesanywhere_auth.keys._tpm_errors import Stage, explain, is_gone, is_refusal, refused
from rolesanywhere_auth.keys._tpm_policy import check_steps
from rolesanywhere_auth.keys._tpm_public import Plan, examine, sign
from rolesanywhere_auth.keys._tpm_reference import Reference, default_tcti, parse_reference
from rolesanywhere_auth.keys._tss2 import parse_tss2
from rolesanywhere_auth.keys.files import TSS2_LABEL
from rolesanywhere_auth.secrets import Passphrase, reveal

if TYPE_CHECKING:
    from rolesanywhere_auth._containers import Contents
    from rolesanywhere_auth.keys import PublicKey
    from rolesanywhere_auth.keys._tpm_keys import HeldKey

T = TypeVar("T")

_LONGEST_PASSWORD = 64
"""Bytes. TPM2B_AUTH is as long as the longest hash (TPM 2.0 Part 2, 10.4.5)."""
_PROBE = b"rolesanywhere-auth: may this key be used?"
"""Signed when a key is first used, for the TPM to say whether it takes the password."""


class TPMSigner:
    """A private key in a TPM. A ``Signer``; threads may share it, and forked children too.

    Nothing is kept loaded between signatures, but for one key under a resource manager. The
    password is asked for once, and kept in memory then, as the TPM wants it for each signature.
    One that was refused is not tried a second time in this process.

    Args:
        private_key: A reference (``tpm:…``), the path of a TSS2 key file, or its content.
        passphrase: The key's password, where the reference says nothing of one.

    Raises:
        ConfigurationError: it is no reference to a key in a TPM.
        MissingExtraError: tpm2-pytss is not installed.
        PrivateKeyLoadError: the TPM cannot be reached, or has no such key.
        UnsupportedKeyError: the key cannot sign for the service.
    """

    def __init__(self, private_key: Readable, *, passphrase: Passphrase | None = None) -> None:
        reference = _reference(private_key)
        contents = None
        if reference.handle is None:
            contents = _read(private_key if reference.path is None else reference.path)
            reference = reference._replace(source=contents.material.source)
        self._open(reference, passphrase, contents)

    @classmethod
    def from_contents(
        cls,
        contents: Contents,
        *,
        passphrase: Passphrase | None,
        reference: Reference | None = None,
    ) -> TPMSigner:
        """The one key of an opened container; raises as the constructor does."""
        signer = cls.__new__(cls)
        signer._open(reference or Reference(contents.material.source), passphrase, contents)
        return signer

    def _open(
        self, reference: Reference, passphrase: Passphrase | None, contents: Contents | None
    ) -> None:
        require_pytss(source=reference.source)
        self.source = reference.source
        self._passphrase = reference.auth or passphrase
        self._parent_passphrase = reference.parent_auth
        self._secrets: tuple[bytes, bytes] | None = None
        self._trusted = False  # once the TPM took these
        self._key = _held_key(reference, contents)
        self._steps = reference.policy or self._key.policy
        check_steps(self._steps, source=self.source)
        self._device: Device = device(reference.tcti or default_tcti())
        self.identity = b""
        """What tells this key from others."""
        self._plan, self.identity = self._run(self._examine, again=True)
        self.kind = check_signer(self, source=self.source)
        """Such as ``"RSA 2048"`` or ``"P-256"``."""

    def _examine(self, context: Context) -> tuple[Plan, bytes]:
        public, identity = self._key.public(context)
        return examine(public, source=self.source), identity

    def identity_now(self) -> bytes:
        """As ``identity``, of the key that is there now: another one may have taken the handle.

        Raises:
            PrivateKeyLoadError: the TPM cannot be reached, or has no such key any more.
        """
        return self._run(self._key.public, again=True)[1]

    def public_key(self) -> PublicKey:
        """The public half."""
        return self._plan.public_key

    def prove(self) -> None:
        """See that the TPM takes the password, by one signature, unless it did so before.

        Raises: as ``sign``.
        """
        auth, _ = self._reveal()
        if self._device.accepted(self.identity, auth) is not True:
            self.sign(_PROBE)

    def sign(self, data: bytes) -> bytes:
        """Sign, as ``Signer.sign`` says.

        Raises:
            PassphraseError: a password is missing, or wrong, or the TPM is locked.
            PrivateKeyLoadError: the key is not there any more, or cannot be loaded.
            SigningError: the TPM cannot be reached, or its policy does not hold.
        """
        from tpm2_pytss import TSS2_Exception

        secrets = auth, parent_auth = self._reveal()
        known = self._trusted

        def work(context: Context) -> bytes:
            if not known:  # looked at here, as other threads try the same
                self._refuse_known(self.identity, auth, Stage.KEY)
                self._refuse_known(self._key.parent_identity(), parent_auth, Stage.PARENT)
            try:
                return self._sign(context, data, auth, parent_auth)
            except TSS2_Exception as error:
                if not self._is_stale(context, error):
                    raise
            return self._sign(context, data, auth, parent_auth)

        signature = self._run(work, again=known, stage=Stage.USE, secrets=secrets)
        if not known:
            self._device.remember(self.identity, auth, accepted=True)
            self._trusted = True
        return signature

    def _sign(self, context: Context, data: bytes, auth: bytes, parent_auth: bytes) -> bytes:
        with (
            self._key.at_hand(context, parent_auth) as handle,
            context.authorized(handle, auth, steps=self._steps) as session,
        ):
            return sign(context.esapi, handle, self._plan, data, session=session)

    def _is_stale(self, context: Context, error: Any) -> bool:
        """Whether what was loaded is gone, so that loading it again may help."""
        stage = self._key.stage
        if is_refusal(error) and stage is Stage.USE:
            self._check_same(context)
            self._key.stage = stage
        if not is_gone(error) or stage is not Stage.USE:
            return False
        self._key.forget(context)
        return True

    def _check_same(self, context: Context) -> None:
        """An HMAC covers the key's name: with another key it fails, whatever the password is."""
        if self._key.public(context)[1] != self.identity:
            raise SigningError(
                f"{self.source}: another key is there since it was opened. Load it anew.",
                source=self.source,
            )

    def _run(
        self,
        work: Callable[[Context], T],
        *,
        again: bool,
        stage: Stage = Stage.KEY,
        secrets: tuple[bytes, bytes] = (b"", b""),
    ) -> T:
        """Do it, and turn what fails into errors that say why."""
        from tpm2_pytss import TSS2_Exception

        reached = [stage]

        def watched(context: Context) -> T:
            try:
                return work(context)
            except TSS2_Exception as error:
                if is_refusal(error):
                    self._remember_refusal(secrets)
                raise
            finally:
                reached.append(self._key.stage)

        try:
            return self._device.run(watched, again=again)
        except TSS2_Exception as error:
            raise explain(
                error,
                stage=reached[-1],
                source=self.source,
                device=self._device.name,
                secret=bool(secrets[reached[-1] is Stage.PARENT]),
                parent=self._key.parent,
            ) from error

    def _remember_refusal(self, secrets: tuple[bytes, bytes]) -> None:
        parent = self._key.stage is Stage.PARENT
        whose = self._key.parent_identity() if parent else self.identity
        self._device.remember(whose, secrets[parent], accepted=False)
        self._secrets, self._trusted = None, False  # a callable may have another by now

    def _reveal(self) -> tuple[bytes, bytes]:
        if self._secrets is None:
            mine, parents = reveal(self._passphrase), reveal(self._parent_passphrase)
            for name, found in (("passphrase", mine), ("parent-auth", parents)):
                if len(found or b"") > _LONGEST_PASSWORD:
                    raise PassphraseError(
                        f"{self.source}: what {name} gives has more than {_LONGEST_PASSWORD} "
                        "bytes, as no password in a TPM has. It was not tried: correct it.",
                        source=self.source,
                    )
            self._secrets = mine or b"", parents or b""
        return self._secrets

    def _refuse_known(self, whose: bytes, auth: bytes, stage: Stage) -> None:
        if self._device.accepted(whose, auth) is False:
            self._secrets = None
            raise refused(stage, source=self.source, secret=bool(auth), parent=self._key.parent)

    def __repr__(self) -> str:
        """Kind and source."""
        return f"<TPMSigner {self.kind} from {self.source}>"

    def __reduce__(self) -> NoReturn:
        """Refuse: it may hold a password."""
        raise TypeError(
            "A TPMSigner holds a connection to a TPM, and may hold a password: it cannot be "
            "pickled or copied. Pass on the configuration, and open the key where it is used."
        )


class TPMStore:
    """A ``tpm:`` reference as a key store: see `KeyStore`."""

    def __init__(self, reference: Reference, *, passphrase: Passphrase | None) -> None:
        self._reference = reference
        self._passphrase = passphrase
        self._signer: TPMSigner | None = None
        self._digest = b""
        self.source = reference.source

    def _contents(self, *, role: str) -> Contents:
        return _read(self._reference.path, role=role)

    def certificates(self) -> Sequence[bytes]:
        """What stands beside the key in its file; a handle has none."""
        if self._reference.path is None:
            return ()
        return self._contents(role="certificate").certificates

    def signer(self, public_keys: Sequence[bytes]) -> TPMSigner:  # noqa: ARG002 - there is one key
        """The key that is there now, once the TPM took its password."""
        signer = self._current()
        signer.prove()
        return signer

    def _current(self) -> TPMSigner:
        contents, digest = None, b""
        if self._reference.path is not None:
            contents = self._contents(role="private_key")
            digest = hashlib.sha256(contents.material.data).digest()
        known = self._signer
        if known is None or digest != self._digest or known.identity != known.identity_now():
            known = TPMSigner.__new__(TPMSigner)
            known._open(self._reference, self._passphrase, contents)
            self._signer, self._digest = known, digest
        return known

    def stamp(self) -> object:
        """The key's name, or the file's content: no password is needed for it."""
        signer = self._current()
        return self._digest, signer.identity

    def watch(self, changed: Callable[[], None]) -> None:
        """Do nothing: a TPM does not tell."""


def open_store(reference: str, *, passphrase: Passphrase | None) -> TPMStore:
    """See `OpenStore`."""
    parsed = parse_reference(reference)
    require_pytss(source=parsed.source)
    return TPMStore(parsed, passphrase=passphrase)


def _reference(private_key: Readable) -> Reference:
    if isinstance(private_key, str) and private_key.lower().startswith(("tpm:", "handle:")):
        return parse_reference(private_key)
    return Reference("private_key")


def _read(value: object, *, role: str = "private_key") -> Contents:
    material = read_material(value, role=role)
    with local_work():
        return open_contents(material, passphrase=None)


def _held_key(reference: Reference, contents: Contents | None) -> HeldKey:
    with local_work():
        from rolesanywhere_auth.keys._tpm_keys import PersistentKey, WrappedKey

    if contents is None:
        assert reference.handle is not None
        return PersistentKey(reference.handle)
    labels = [key.label for key in contents.keys]
    if labels != [TSS2_LABEL]:
        raise PrivateKeyLoadError(
            f"{reference.source}: holds {', '.join(labels) or 'no private key'}, where one "
            f"'{TSS2_LABEL}' block is needed for a key in a TPM.",
            source=reference.source,
        )
    parsed = parse_tss2(contents.keys[0].data, source=reference.source)
    return WrappedKey(parsed, source=reference.source)

# SPDX-License-Identifier: Apache-2.0
"""Private keys in files or bytes: PEM, DER and PKCS#12, encrypted or not."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NoReturn, TypeGuard

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from rolesanywhere_auth._containers import (
    Contents,
    KeyBlock,
    Readable,
    open_contents,
    read_material,
)
from rolesanywhere_auth.errors import (
    PassphraseError,
    PrivateKeyLoadError,
    SigningError,
    UnsupportedKeyError,
)
from rolesanywhere_auth.forking import local_work
from rolesanywhere_auth.keys import check_signer, unsupported_key
from rolesanywhere_auth.keys._pkcs8 import (
    decrypt,
    decrypt_pem,
    mldsa_private_key,
    read_private_key_info,
)
from rolesanywhere_auth.keys._plain import plain_private_key
from rolesanywhere_auth.secrets import Passphrase, reveal

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from rolesanywhere_auth.keys import PublicKey
    from rolesanywhere_auth.keys._pkcs8 import MLDSAPrivateKey

    AnyPrivateKey = PrivateKeyTypes | MLDSAPrivateKey

logger = logging.getLogger("rolesanywhere_auth.keys")

_MLDSA = frozenset({"MLDSA44PrivateKey", "MLDSA65PrivateKey", "MLDSA87PrivateKey"})
"""Classes that an older ``cryptography`` does not have."""


class FileSigner:
    """A private key held in this process's memory. A ``Signer``.

    It can be neither pickled nor copied, and shows nothing of the key.

    Args:
        key: A private key of ``cryptography``.
        source: How messages name where it came from.

    Raises:
        UnsupportedKeyError: The service has no signing algorithm for it.
    """

    __slots__ = ("_public_key", "_sign", "kind", "source")

    def __init__(self, key: AnyPrivateKey, *, source: str) -> None:
        self.source = source
        self._public_key: PublicKey = key.public_key()  # type: ignore[assignment]
        self.kind = check_signer(self, source=source)
        """Such as ``"RSA 2048"``, ``"P-256"`` or ``"ML-DSA-65"``."""
        self._sign = _signing(key)

    @classmethod
    def load(
        cls,
        private_key: Readable,
        *,
        passphrase: Passphrase | None = None,
    ) -> FileSigner:
        """Load the key from a path, bytes, or a PEM text.

        Raises:
            PrivateKeyLoadError: No such file, or no private key in it.
            PassphraseError: The passphrase is missing or wrong.
            UnsupportedKeyError: The service has no signing algorithm for it.
        """
        secret = reveal(passphrase)
        material = read_material(private_key, role="private_key")
        return cls.from_contents(open_contents(material, passphrase=secret), passphrase=secret)

    @classmethod
    def from_contents(cls, contents: Contents, *, passphrase: bytes | None) -> FileSigner:
        """Load the one key found in an opened container; raises as ``load`` does."""
        return cls(load_key(contents, passphrase=passphrase), source=contents.material.source)

    def public_key(self) -> PublicKey:
        """The public half."""
        return self._public_key

    def sign(self, data: bytes) -> bytes:
        """Sign, as ``Signer.sign`` says.

        Raises:
            SigningError: The key is damaged.
        """
        try:
            with local_work():
                return self._sign(data)
        except (ValueError, InternalError) as error:
            raise SigningError(
                f"{self.source}: the {self.kind} key does not sign: {error}. It may be damaged.",
                source=self.source,
            ) from error

    def __repr__(self) -> str:
        """Kind and source; nothing of the key."""
        return f"<FileSigner {self.kind} from {self.source}>"

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle or copy of it would spread the private key."""
        raise TypeError(
            "A FileSigner holds a private key and cannot be pickled or copied. Pass on the "
            "configuration (which names the file), and load the key where it is used."
        )


def load_key(contents: Contents, *, passphrase: bytes | None) -> AnyPrivateKey:
    """The one key found in an opened container; raises as ``FileSigner.load`` does."""
    source = contents.material.source
    if not contents.keys:
        raise PrivateKeyLoadError(_no_key(contents), source=source)
    if len(contents.keys) > 1:
        raise PrivateKeyLoadError(
            f"{source}: holds {len(contents.keys)} private keys. Leave the one that belongs "
            "to the certificate.",
            source=source,
        )
    return _load(contents.keys[0], passphrase, source=source)


def is_private_key(value: object) -> TypeGuard[AnyPrivateKey]:
    """Whether this is a private key object of ``cryptography``, of a kind accepted here."""
    return (
        isinstance(value, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey))
        or type(value).__name__ in _MLDSA
    )


def _signing(key: AnyPrivateKey) -> Callable[[bytes], bytes]:
    if isinstance(key, rsa.RSAPrivateKey):
        return partial(_sign_rsa, key)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return partial(_sign_ec, key)
    return key.sign  # type: ignore[union-attr, return-value]  # others are refused at once


def _sign_rsa(key: rsa.RSAPrivateKey, data: bytes) -> bytes:
    return key.sign(data, padding.PKCS1v15(), SHA256())


class SHA256ECDSA(ec.ECDSA):
    """ECDSA with SHA-256 and a random nonce, which need not ask what OpenSSL can do.

    Its base class does, and imports all ciphers for that: 5 ms at the first signature.
    """

    algorithm = SHA256()
    deterministic_signing = False

    def __init__(self) -> None:
        pass


def _sign_ec(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, SHA256ECDSA())


def _no_key(contents: Contents) -> str:
    source = contents.material.source
    if "PUBLIC KEY" in contents.others or "RSA PUBLIC KEY" in contents.others:
        return f"{source}: holds a public key only. Pass the private key it was made from."
    if contents.certificates:
        return (
            f"{source}: holds certificates, but no private key. Pass the key's file as private_key."
        )
    found = f" (found: {', '.join(contents.others)})" if contents.others else ""
    return (
        f"{source}: holds no private key{found}. A key file has a line "
        "'-----BEGIN … PRIVATE KEY-----'."
    )


def _load(block: KeyBlock, passphrase: bytes | None, *, source: str) -> AnyPrivateKey:
    _refuse_foreign(block, source=source)
    if not block.encrypted:
        if passphrase is not None:
            logger.debug("%s is not encrypted; the passphrase given is not needed.", source)
        return _load_plain(block, source=source)
    if passphrase is None:
        raise PassphraseError(
            f"{source}: the private key is encrypted, and no passphrase was given: "
            "pass passphrase=….",
            source=source,
        )
    return _load_encrypted(block, passphrase, source=source)


TSS2_LABEL = "TSS2 PRIVATE KEY"
_FOREIGN = {
    "OPENSSH PRIVATE KEY": (
        "a key in OpenSSH's own format. Turn a copy of it into PKCS#8: "
        "ssh-keygen -p -m PKCS8 -f COPY."
    ),
    TSS2_LABEL: (
        "a key wrapped by a TPM, which only that TPM can use. Pass the file as private_key of a "
        "configuration, or open it with rolesanywhere_auth.keys.tpm.TPMSigner."
    ),
}


def _refuse_foreign(block: KeyBlock, *, source: str) -> None:
    if block.label in _FOREIGN:
        raise UnsupportedKeyError(f"{source}: {_FOREIGN[block.label]}", source=source)
    if block.label == "DSA PRIVATE KEY":
        raise unsupported_key("a DSA key", source=source)


def _load_plain(block: KeyBlock, *, source: str) -> AnyPrivateKey:
    try:
        info = read_private_key_info(block.data) if block.label == "PRIVATE KEY" else None
        mldsa = mldsa_private_key(info, source=source) if info else None
        key = mldsa or plain_private_key(block.label, block.data, info)
        if key is not None:
            return key
        from cryptography.hazmat.primitives.serialization import load_der_private_key

        # Checking an RSA key takes 40 to 270 ms; it has to fit the certificate anyway.
        return load_der_private_key(block.data, None, unsafe_skip_rsa_key_validation=True)
    except UnsupportedKeyError:
        raise
    except UnsupportedAlgorithm as error:
        raise unsupported_key(f"a key of an unknown kind ({error})", source=source) from error
    except (ValueError, TypeError, InternalError) as error:  # DERError is a ValueError
        raise PrivateKeyLoadError(
            f"{source}: the private key ({block.label}) is damaged, or not in the format its "
            "label says. Check it: openssl pkey -noout -in FILE.",
            source=source,
        ) from error


_UNKNOWN = "Unknown key encryption|unknown cipher"
"""What ``cryptography`` says of ciphers that it does not have."""


def _load_encrypted(block: KeyBlock, passphrase: bytes, *, source: str) -> AnyPrivateKey:
    from cryptography.hazmat.primitives.serialization import (
        load_der_private_key,
        load_pem_private_key,
    )

    load = load_pem_private_key if block.pem else load_der_private_key
    try:
        return load(block.data, passphrase, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, InternalError, UnsupportedAlgorithm) as error:
        plain = (decrypt_pem if block.pem else decrypt)(block.data, passphrase)
        if plain:
            label = block.label if block.pem else "PRIVATE KEY"
            return _load_plain(KeyBlock(label, plain), source=source)
        unknown = isinstance(error, UnsupportedAlgorithm) or re.search(_UNKNOWN, str(error))
        if unknown and plain is None:
            raise PrivateKeyLoadError(
                f"{source}: the private key is encrypted in a way that cannot be read here. "
                "Encrypt it anew: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW.",
                source=source,
            ) from error
        raise PassphraseError(
            f"{source}: the passphrase does not open the private key (or the key is damaged).",
            source=source,
        ) from error

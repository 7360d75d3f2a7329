# SPDX-License-Identifier: Apache-2.0
"""Files of a development CA: its keys, and what is written once and never again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rolesanywhere_auth._containers import open_contents, read_material
from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.keys.files import load_key

KeyType = Literal["ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096"]
KEY_TYPES: tuple[KeyType, ...] = ("ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096")
"""What `key_at` makes."""


def write_new(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file that is not there yet, with its mode from the first moment.

    Raises:
        ConfigurationError: It is there.
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise occupied(path) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def occupied(path: Path) -> ConfigurationError:
    """The error that *path* is there already."""
    return ConfigurationError(
        f"{path} is there already, and nothing is overwritten: choose another name or folder, or "
        "move it away"
    )


def key_at(path: Path, key_type: KeyType) -> Any:
    """A new private key; or the one that an interrupted run left in *path*.

    Raises:
        ConfigurationError: There is no such key type.
        PrivateKeyLoadError, PassphraseError: What is there cannot be read.
    """
    if path.exists():
        return load_key(
            open_contents(read_material(path, role="private_key"), passphrase=None),
            passphrase=None,
        )
    if key_type not in KEY_TYPES:
        raise ConfigurationError(f"no key type {key_type!r}: there are {', '.join(KEY_TYPES)}")
    if key_type.startswith("rsa-"):
        return rsa.generate_private_key(65537, int(key_type.removeprefix("rsa-")))
    return ec.generate_private_key(ec.SECP256R1() if key_type == "ec-p256" else ec.SECP384R1())


def write_key(path: Path, key: Any) -> None:
    """Write the key, unless it came from there.

    Raises:
        ConfigurationError: Another key is there by now.
        OSError: It cannot be written.
    """
    if path.exists():
        if key_at(path, "ec-p256").public_key() != key.public_key():
            raise occupied(path)  # by another run, since this one looked
        return
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_new(path, pem, mode=0o600)

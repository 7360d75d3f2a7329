# SPDX-License-Identifier: Apache-2.0
"""A certificate with its key, as `CertificateAuthority.issue` returns it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12


def certificate_pem(certificate: x509.Certificate) -> str:
    """*certificate* in PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def private_key_pem(private_key: Any) -> str:
    """*private_key* in PEM (PKCS #8), not encrypted."""
    return _pem(private_key, serialization.NoEncryption())


def _pem(private_key: Any, encryption: serialization.KeySerializationEncryption) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pem: bytes = private_key.private_bytes(encoding, form, encryption)
    return pem.decode()


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read; its folder is made if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


@dataclass(frozen=True)
class LeafFiles:
    """Where `Leaf.write_to` put things; ``chain`` is None for a leaf that the root issued."""

    certificate: Path
    private_key: Path
    chain: Path | None


class Leaf:
    """An end-entity certificate, its private key, and the intermediates above it."""

    def __init__(
        self,
        certificate: x509.Certificate,
        private_key: Any,
        chain: tuple[x509.Certificate, ...],
    ) -> None:
        self.certificate = certificate
        self.chain = chain
        """The intermediates, from the leaf upwards, without the root."""
        self._private_key = private_key

    def __repr__(self) -> str:
        return f"<Leaf {self.certificate.subject.rfc4514_string()!r} {self.serial_number}>"

    @property
    def private_key(self) -> Any:
        """The private key, a key object of `cryptography`.

        Raises:
            ValueError: The certificate was made for a given public key.
        """
        if self._private_key is None:
            raise ValueError(
                "this certificate was issued for a given public key; "
                "its private key is where that key was made"
            )
        return self._private_key

    @property
    def serial_number(self) -> int:
        """The certificate's serial number."""
        return self.certificate.serial_number

    @property
    def certificate_pem(self) -> str:
        """The certificate in PEM."""
        return certificate_pem(self.certificate)

    @property
    def chain_pem(self) -> str:
        """The intermediates in PEM, from the leaf upwards, without the root; may be empty."""
        return "".join(certificate_pem(certificate) for certificate in self.chain)

    @property
    def bundle_pem(self) -> str:
        """The certificate, then the intermediates, in PEM."""
        return self.certificate_pem + self.chain_pem

    @property
    def private_key_pem(self) -> str:
        """The private key in PEM (PKCS #8), not encrypted."""
        return private_key_pem(self.private_key)

    def encrypted_private_key_pem(self, passphrase: str | bytes) -> str:
        """The private key in PEM (PKCS #8), encrypted."""
        return _pem(self.private_key, serialization.BestAvailableEncryption(_bytes(passphrase)))

    def pkcs12(self, passphrase: str | bytes, friendly_name: str = "app") -> bytes:
        """A PKCS #12 file with the key, the certificate and the intermediates."""
        return pkcs12.serialize_key_and_certificates(
            friendly_name.encode(),
            self.private_key,
            self.certificate,
            self.chain or None,
            serialization.BestAvailableEncryption(_bytes(passphrase)),
        )

    def write_to(self, directory: str | os.PathLike[str]) -> LeafFiles:
        """Write ``client.pem``, ``client.key`` (mode 0600) and ``client-chain.pem``.

        The directory is made if needed. The last file only where there are
        intermediates, as an empty file would be no chain.
        """
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key, chain = (
            folder / name for name in ("client.pem", "client.key", "client-chain.pem")
        )
        certificate.write_text(self.certificate_pem)
        write_private(key, self.private_key_pem)
        if not self.chain:
            return LeafFiles(certificate, key, None)
        chain.write_text(self.chain_pem)
        return LeafFiles(certificate, key, chain)


def _bytes(passphrase: str | bytes) -> bytes:
    return passphrase.encode() if isinstance(passphrase, str) else passphrase

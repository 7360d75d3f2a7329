"""NSS softokn as the distribution has it: a database as Firefox and Chromium keep one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PublicFormat,
    load_der_public_key,
    pkcs12,
)

from backends import Place, absent, run, stop_modules
from backends.adapter import adapter
from rolesanywhere_auth.testing import CertificateAuthority

PIN = "739182"


def softokn() -> str:
    """The module's path, in Debian and in Fedora."""
    return next(
        (str(each) for each in sorted(Path("/usr").glob("lib*/**/libsoftokn3.so"))),
        "/usr/lib/libsoftokn3.so",
    )


@lru_cache
def _empty_database() -> dict[str, bytes]:
    """By file name. Making one takes seconds of hashing the PIN."""
    with tempfile.TemporaryDirectory() as folder:
        pin = Path(folder, "pin")
        pin.write_text(PIN)
        run("certutil", "-d", f"sql:{folder}", "-N", "-f", str(pin))
        pin.unlink()
        return {each.name: each.read_bytes() for each in Path(folder).iterdir()}


class Store:
    """`Backend` over a database; certificates and keys come in by PKCS #12."""

    # An RSA key takes 30 ms a signature: the database is opened each time.
    key_types: ClassVar = ("ec-p256", "ec-p384", "ec-p521", "rsa-2048")
    extended: ClassVar = False
    for_children: ClassVar = {}

    @staticmethod
    def missing() -> list[str]:
        return absent(softokn(), "certutil", "pk12util", "cc")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "nssdb"
        (folder / "pin").write_text(PIN)
        for file, content in _empty_database().items():
            self.database.mkdir(exist_ok=True)
            (self.database / file).write_bytes(content)

    def certutil(self, *arguments: str) -> bytes:
        return run("certutil", "-d", f"sql:{self.database}", "-f", f"{self.folder}/pin", *arguments)

    def environment(self) -> Mapping[str, str]:
        return {
            "ADAPTER_MODULE": softokn(),
            "ADAPTER_LOG": str(self.folder / "log"),
            "ADAPTER_RESERVED": (
                f"configdir='sql:{self.database}' certPrefix='' keyPrefix='' secmod='' "
                "flags=noModDB"
            ),
        }

    def make(self, key_type: str, authority: CertificateAuthority) -> Place:
        leaf = authority.issue(key_type, key_type=key_type)
        self._import(key_type, leaf.private_key, leaf.certificate)
        return Place(
            f"pkcs11:token=NSS%20Certificate%20DB;object={key_type}?module-path={adapter('nss')}",
            passphrase=PIN,
        )

    def _import(self, label: str, key: object, certificate: x509.Certificate) -> None:
        file = self.folder / "import.p12"
        file.write_bytes(
            pkcs12.serialize_key_and_certificates(
                label.encode(),
                key,
                certificate,
                None,
                NoEncryption(),  # type: ignore[arg-type]
            )
        )
        run(
            "pk12util", "-i", str(file), "-d", f"sql:{self.database}",
            "-k", f"{self.folder}/pin", "-W", "",
        )  # fmt: skip

    def renew(self, place: Place, authority: CertificateAuthority) -> int:
        label = _label(place)
        old = x509.load_pem_x509_certificate(self.certutil("-L", "-n", label, "-a"))
        info = old.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        leaf = authority.issue(label, public_key=load_der_public_key(info))
        new = self.folder / "new.pem"
        new.write_text(leaf.certificate_pem)
        self.certutil("-D", "-n", label)
        self.certutil("-A", "-n", label, "-t", ",,", "-i", str(new), "-a")
        return leaf.serial_number

    def remove_key(self, place: Place) -> None:
        self.certutil("-F", "-n", _label(place))

    def with_wrong_secret(self, place: Place) -> Place:
        return place._replace(passphrase="914285")

    def refusals(self, place: Place) -> int | None:
        log = self.folder / "log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def restart(self) -> None:
        away = self.database.rename(self.folder / "away")
        away.rename(self.database)

    def stop(self) -> None:
        stop_modules()
        os.environ.pop("ADAPTER_FAIL", None)


def _label(place: Place) -> str:
    return place.certificate.partition("object=")[2].partition("?")[0]

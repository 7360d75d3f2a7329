"""SoftHSM 2, unprivileged, by its own module."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.serialization import Encoding

from backends import Place, absent, run, stop_modules
from rolesanywhere_auth.testing import CertificateAuthority

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN, SO_PIN = "739182", "12345678"


_CREATE = """
import ast, sys, pkcs11
module, token, pin, attributes = sys.argv[1:]
enums = {"CLASS": pkcs11.ObjectClass, "KEY_TYPE": pkcs11.KeyType,
         "CERTIFICATE_TYPE": pkcs11.CertificateType}
with pkcs11.lib(module).get_token(token_label=token).open(rw=True, user_pin=pin) as session:
    session.create_object({
        pkcs11.Attribute[name]: enums[name][value] if name in enums else value
        for name, value in ast.literal_eval(attributes).items()
    })
"""


class SoftHSM:
    """A folder of tokens, and the tools that fill them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configuration = folder / "softhsm2.conf"
        self.tokens = folder / "tokens"
        self.tokens.mkdir()
        self.configuration.write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\n"
            "log.level = ERROR\nslots.removable = true\n"
        )

    def environment(self) -> dict[str, str]:
        return {"SOFTHSM2_CONF": str(self.configuration)}

    def run(self, *command: str, stdin: bytes = b"") -> bytes:
        return run(*command, stdin=stdin, **self.environment())

    def new_token(self, label: str) -> None:
        self.run(
            "softhsm2-util", "--init-token", "--free", "--label", label,
            "--so-pin", SO_PIN, "--pin", PIN,
        )  # fmt: skip

    def tool(self, token: str, *arguments: str) -> bytes:
        """pkcs11-tool, logged in."""
        return self.run(
            "pkcs11-tool", "--module", MODULE, "--token-label", token,
            "--login", "--pin", PIN, *arguments,
        )  # fmt: skip

    def add_key(self, token: str, label: str, key_id: str, pem: str) -> None:
        file = self.folder / "import.pem"
        file.write_text(pem)
        self.run(
            "softhsm2-util", "--import", str(file), "--token", token,
            "--label", label, "--id", key_id, "--pin", PIN,
        )  # fmt: skip

    def add_certificate(self, token: str, label: str, key_id: str, der: bytes) -> None:
        file = self.folder / "import.der"
        file.write_bytes(der)
        self.tool(
            token, "--write-object", str(file), "--type", "cert", "--label", label, "--id", key_id
        )

    def create(self, token: str, **attributes: object) -> None:
        """Any object, by the names of its attributes."""
        self.run(sys.executable, "-c", _CREATE, MODULE, token, PIN, repr(attributes))

    def delete(self, token: str, kind: str, key_id: str) -> None:
        self.tool(token, "--delete-object", "--type", kind, "--id", key_id)


class Store:
    """`Backend` over it: one token; each key has its kind as label."""

    key_types: ClassVar = ("ec-p256", "ec-p384", "ec-p521", "rsa-2048", "rsa-4096")
    extended: ClassVar = False
    for_children: ClassVar = {}

    @staticmethod
    def missing() -> list[str]:
        return absent(MODULE, "softhsm2-util", "pkcs11-tool")

    def __init__(self, folder: Path) -> None:
        self.softhsm = SoftHSM(folder)
        self.softhsm.new_token("prod")

    def environment(self) -> dict[str, str]:
        return self.softhsm.environment()

    def make(self, key_type: str, authority: CertificateAuthority) -> Place:
        leaf = authority.issue(key_type, key_type=key_type)
        key_id = _id(key_type)
        self.softhsm.add_key("prod", key_type, key_id, leaf.private_key_pem)
        der = leaf.certificate.public_bytes(Encoding.DER)
        self.softhsm.add_certificate("prod", key_type, key_id, der)
        return Place(f"pkcs11:token=prod;object={key_type}?module-path={MODULE}", passphrase=PIN)

    def renew(self, place: Place, authority: CertificateAuthority) -> int:
        label = _label(place)
        old = self.softhsm.tool("prod", "--read-object", "--type", "pubkey", "--id", _id(label))
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        leaf = authority.issue(label, public_key=load_der_public_key(old))
        self.softhsm.delete("prod", "cert", _id(label))
        der = leaf.certificate.public_bytes(Encoding.DER)
        self.softhsm.add_certificate("prod", label, _id(label), der)
        return leaf.serial_number

    def remove_key(self, place: Place) -> None:
        self.softhsm.delete("prod", "privkey", _id(_label(place)))

    def with_wrong_secret(self, place: Place) -> Place:
        return place._replace(passphrase="914285")

    def refusals(self, place: Place) -> int | None:
        return None

    def restart(self) -> None:
        away = self.softhsm.tokens.rename(self.softhsm.folder / "away")
        away.rename(self.softhsm.tokens)

    def stop(self) -> None:
        stop_modules()


def _label(place: Place) -> str:
    return place.certificate.partition("object=")[2].partition("?")[0]


def _id(label: str) -> str:
    return hashlib.sha256(label.encode()).hexdigest()[:8]

"""NSS softokn 3.131, the first in Debian with ML-DSA; scripts/test-extended unpacks it.

It does not fit into a process that has the distribution's NSS loaded: `extended` tests run in one
of their own.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from backends import Place, absent, nss, run
from rolesanywhere_auth.keys._pkcs11_objects import load_info
from rolesanywhere_auth.testing import CertificateAuthority

_CREATE = """
import ast, sys, pkcs11
module, pin, objects = sys.argv[1:]
enums = {"CLASS": pkcs11.ObjectClass, "KEY_TYPE": pkcs11.KeyType,
         "CERTIFICATE_TYPE": pkcs11.CertificateType}
token = pkcs11.lib(module).get_token(token_label="NSS Certificate DB")
with token.open(rw=True, user_pin=pin) as session:
    for attributes in ast.literal_eval(objects):
        template = {
            pkcs11.Attribute[name]: enums[name][value] if name in enums else value
            for name, value in attributes.items()
        }
        if template.pop(pkcs11.Attribute.DESTROYABLE, None):
            for found in list(session.get_objects(template)):
                found.destroy()
        else:
            session.create_object(template)
"""


def library() -> str:
    """The module, in the folder that scripts/test-extended names."""
    return f"{os.environ.get('NSS_MLDSA', '/nowhere')}/libsoftokn3.so"


class Store(nss.Store):
    """As `nss.Store`; objects come in by the module itself."""

    key_types: ClassVar = ("ml-dsa-65", "ml-dsa-44", "ml-dsa-87", "ec-p256")
    extended: ClassVar = True
    for_children: ClassVar = {"LD_LIBRARY_PATH": str(Path(library()).parent)}

    @staticmethod
    def missing() -> list[str]:
        return absent(library(), "certutil")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # else the one of the system, of the same name, is found first
        ctypes.CDLL(library().replace("softokn3", "nssutil3"), mode=ctypes.RTLD_GLOBAL)
        self.keys: dict[str, tuple[bytes, Any]] = {}

    def environment(self) -> Mapping[str, str]:
        reserved = super().environment()["ADAPTER_RESERVED"]
        return {**super().environment(), "ADAPTER_MODULE": library(), "NSS_LIB_PARAMS": reserved}

    def change(self, *objects: dict[str, object]) -> None:
        run(
            sys.executable, "-c", _CREATE, library(), nss.PIN, repr(objects),
            **self.environment(), **self.for_children,
        )  # fmt: skip

    def make(self, key_type: str, authority: CertificateAuthority) -> Place:
        if not key_type.startswith("ml-dsa"):
            return super().make(key_type, authority)
        leaf = authority.issue(key_type, key_type=key_type)  # type: ignore[arg-type]
        common = {"KEY_TYPE": "ML_DSA", "TOKEN": True, "LABEL": key_type, "ID": key_type.encode()}
        common["PARAMETER_SET"] = {"44": 1, "65": 2, "87": 3}[key_type[-2:]]
        self.change(
            {
                "CLASS": "PRIVATE_KEY", "SIGN": True, "PRIVATE": True, "SENSITIVE": True,
                "SEED": leaf.private_key.private_bytes_raw(), **common,
            },
            self._certificate(key_type, leaf),
        )  # fmt: skip
        return Place(
            f"pkcs11:token=NSS%20Certificate%20DB;object={key_type}"
            f"?module-path={nss.adapter('nss-mldsa')}",
            passphrase=nss.PIN,
        )

    def _certificate(self, label: str, leaf: Any) -> dict[str, object]:
        certificate = leaf.certificate
        info = certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        self.keys[label] = info, certificate
        return {
            "CLASS": "CERTIFICATE", "CERTIFICATE_TYPE": "X_509", "TOKEN": True, "LABEL": label,
            "ID": label.encode(), "VALUE": certificate.public_bytes(Encoding.DER),
            "SUBJECT": certificate.subject.public_bytes(),
            "ISSUER": certificate.issuer.public_bytes(),
            "SERIAL_NUMBER": _integer(certificate.serial_number),
        }  # fmt: skip

    def renew(self, place: Place, authority: CertificateAuthority) -> int:
        label = nss._label(place)
        leaf = authority.issue(label, public_key=load_info(self.keys[label][0]))
        self.change(
            {"CLASS": "CERTIFICATE", "ID": label.encode(), "DESTROYABLE": True},
            self._certificate(label, leaf),
        )
        return leaf.serial_number

    def remove_key(self, place: Place) -> None:
        self.change({"CLASS": "PRIVATE_KEY", "ID": nss._label(place).encode(), "DESTROYABLE": True})


def _integer(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return bytes([2, len(data)]) + data

"""A software TPM on loopback, and the tools that make keys in it."""

from __future__ import annotations

import itertools
import os
import re
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from backends import Place, run
from rolesanywhere_auth.testing import CertificateAuthority

PARENT = ("-G", "ecc256:aes128cfb", "-a")
PARENT_ATTRIBUTES = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt"
ALGORITHMS = {
    "ec-p256": "ecc256",
    "ec-p384": "ecc384",
    "ec-p521": "ecc521",
    "rsa-2048": "rsa2048",
    "rsa-3072": "rsa3072",
}


class SoftTPM:
    """swtpm in a folder of its own; it keeps its state and its ports over a restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir()
        self.flags = "not-need-init,startup-clear"
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        while self._process is None:
            self._port = _two_free_ports()
            self.start()
        self.tcti = f"swtpm:host=127.0.0.1,port={self._port}"

    def start(self) -> None:
        """Start it; it is not there afterwards if another process took the ports meanwhile."""
        process = subprocess.Popen(
            [
                "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.state}",
                "--server", f"type=tcp,port={self._port},bindaddr=127.0.0.1",
                "--ctrl", f"type=tcp,port={self._port + 1},bindaddr=127.0.0.1",
                "--flags", self.flags,
            ],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while process.poll() is None:
            try:
                for port in (self._port, self._port + 1):
                    socket.create_connection(("127.0.0.1", port), 5).close()
            except OSError:
                time.sleep(0.005)
            else:
                self._process = process
                return

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """As if the power had failed."""
        self.stop()
        while self._process is None:
            self.start()

    def environment(self) -> dict[str, str]:
        return {
            "TPM2TOOLS_TCTI": self.tcti,
            "TPM2OPENSSL_TCTI": self.tcti,
            "TSS2_LOG": "all+NONE",
        }

    def run(self, *command: str) -> bytes:
        """A command that uses this TPM; what it leaves there is flushed."""
        output = run(*command, **self.environment())
        for kind in ("-t", "-l", "-s"):  # tpm2_encodeobject forgets a session
            run("tpm2_flushcontext", kind, **self.environment())
        return output

    def path(self, suffix: str) -> str:
        """A new name in the folder."""
        return str(self.folder / f"{next(self._numbers)}{suffix}")

    def loaded(self) -> tuple[bytes, bytes, bytes]:
        """What is in the TPM: transient objects, loaded sessions, saved sessions."""
        kinds = ("handles-transient", "handles-loaded-session", "handles-saved-session")
        first, second, third = (
            run("tpm2_getcap", kind, **self.environment()).strip() for kind in kinds
        )
        return first, second, third

    def refusals(self) -> int:
        """How many wrong passwords it has counted."""
        text = self.run("tpm2_getcap", "properties-variable").decode()
        found = re.search(r"TPM2_PT_LOCKOUT_COUNTER: (\w+)", text)
        assert found is not None
        return int(found[1], 0)

    def parent(self, *extra: str) -> str:
        """The primary key that key files hang on; its context file."""
        path = self.path(".parent")
        self.run("tpm2_createprimary", "-C", "o", *PARENT, PARENT_ATTRIBUTES, "-c", path, *extra)
        return path

    def create(
        self, algorithm: str, *extra: str, parent: str | None = None, parent_auth: str = ""
    ) -> tuple[str, str, str]:
        """A key: the files of its public part, its private part, and its parent."""
        parent = parent or self.parent()
        public, private = self.path(".pub"), self.path(".priv")
        auth = ("-P", parent_auth) if parent_auth else ()
        self.run(
            "tpm2_create", "-C", parent, "-G", algorithm, "-u", public, "-r", private,
            *auth, *extra,
        )  # fmt: skip
        return public, private, parent

    def persist(self, key: tuple[str, str, str], handle: int, *, parent_auth: str = "") -> str:
        """Load a key, and keep it at a handle; the reference to it."""
        public, private, parent = key
        loaded = self.path(".ctx")
        auth = ("-P", parent_auth) if parent_auth else ()
        self.run("tpm2_load", "-C", parent, "-u", public, "-r", private, "-c", loaded, *auth)
        self.run("tpm2_evictcontrol", "-C", "o", "-c", loaded, hex(handle))
        return f"tpm:{handle:#x}"

    def encode(self, key: tuple[str, str, str], *extra: str) -> str:
        """The key as a TSS2 key file of tpm2-tools."""
        public, private, parent = key
        path = self.path(".pem")
        self.run("tpm2_encodeobject", "-C", parent, "-u", public, "-r", private, "-o", path, *extra)
        return path

    def public_key(self, reference: str) -> Any:
        """Of the key at a persistent handle."""
        path = self.path(".public.pem")
        self.run("tpm2_readpublic", "-c", reference.removeprefix("tpm:"), "-f", "pem", "-o", path)
        return load_pem_public_key(Path(path).read_bytes())


def _two_free_ports() -> int:
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


class TPMStore:
    """What the back ends of a TPM have in common: the certificate stands in a file."""

    key_types: ClassVar[tuple[str, ...]] = ("ec-p256", "rsa-2048")
    extended: ClassVar = False
    for_children: ClassVar = {}

    @staticmethod
    def missing() -> tuple[str, ...]:
        """Nothing may be missing: scripts/test installs it all."""
        return ()

    def __init__(self, folder: Path) -> None:
        self.tpm = SoftTPM(folder)
        self._keys: dict[str, Any] = {}
        self._authority: CertificateAuthority | None = None

    def environment(self) -> Mapping[str, str]:
        return self.tpm.environment()

    def new_key(self, key_type: str, password: str) -> tuple[str, Any]:
        """The reference, and the public key as the tool itself tells it."""
        raise NotImplementedError

    def make(self, key_type: str, authority: CertificateAuthority, *, password: str = "") -> Place:
        reference, public_key = self.new_key(key_type, password)
        self._authority = authority
        certificate = self.tpm.path(".crt")
        self._keys[certificate] = public_key
        place = Place(certificate, reference, password or None)
        self.renew(place, authority)
        return place

    def renew(self, place: Place, authority: CertificateAuthority) -> int:
        leaf = authority.issue(public_key=self._keys[place.certificate])
        new = Path(place.certificate + ".new")
        new.write_text(leaf.certificate_pem)
        new.rename(place.certificate)
        return leaf.serial_number

    def remove_key(self, place: Place) -> None:
        """A wrapped key is gone once the TPM has another seed."""
        self.tpm.run("tpm2_clear")

    def with_wrong_secret(self, place: Place) -> Place:
        assert self._authority is not None
        protected = self.make(self.key_types[0], self._authority, password="the-right-one")
        return protected._replace(passphrase="not-that-one")

    def refusals(self, place: Place) -> int | None:
        return self.tpm.refusals()

    def restart(self) -> None:
        self.tpm.restart()

    def stop(self) -> None:
        self.tpm.stop()


def curve_of(key_type: str) -> ec.EllipticCurve | None:
    """None for RSA."""
    curves = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "521": ec.SECP521R1()}
    return curves.get(key_type.removeprefix("ec-p"))


def environ_with(tpm: SoftTPM) -> dict[str, str]:
    """For a process that uses this TPM."""
    return {**os.environ, **tpm.environment()}

"""tpm2-pkcs11 over a software TPM, with the user-space resource manager between them."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key

from backends import Place, absent, run, stop_modules
from rolesanywhere_auth.testing import CertificateAuthority

PIN = "739182"


def module() -> str:
    """Its path, in Debian and Ubuntu."""
    return next(
        (str(each) for each in sorted(Path("/usr/lib").glob("**/libtpm2_pkcs11.so*"))),
        "/usr/lib/libtpm2_pkcs11.so",
    )


class Store:
    """`Backend` over a token "prod" in a folder; the software TPM is this test's alone."""

    # No P-384: pkcs11-tool 0.23 cannot read its public key from here.
    key_types: ClassVar = ("ec-p256", "rsa-2048")
    extended: ClassVar = True
    for_children: ClassVar = {}

    @staticmethod
    def missing() -> list[str]:
        return absent(
            module(), "swtpm", "tpm2-abrmd", "tpm2_ptool", "pkcs11-tool", "dbus-daemon"
        )  # fmt: skip

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        for name in ("tpm", "store"):
            (folder / name).mkdir()
        self._start()
        self.ptool("init")
        self.ptool("addtoken", "--pid=1", "--label=prod", f"--userpin={PIN}", "--sopin=12345678")

    def _start(self) -> None:
        port = _two_free_ports()
        self._run(
            "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}/tpm",
            "--server", f"type=tcp,port={port},bindaddr=127.0.0.1",
            "--ctrl", f"type=tcp,port={port + 1},bindaddr=127.0.0.1",
            "--flags", "not-need-init,startup-clear",
        )  # fmt: skip
        _wait(lambda: socket.create_connection(("127.0.0.1", port + 1), 1).close())
        self.bus = f"unix:path={self.folder}/bus"
        configuration = self.folder / "bus.conf"
        configuration.write_text(_BUS.replace("ADDRESS", self.bus))
        (self.folder / "bus").unlink(missing_ok=True)
        self._run("dbus-daemon", f"--config-file={configuration}", "--nofork", "--nopidfile")
        _wait((self.folder / "bus").stat)
        self._run(
            "tpm2-abrmd", "--session", "--allow-root",
            f"--tcti=swtpm:host=127.0.0.1,port={port}",
            DBUS_SESSION_BUS_ADDRESS=self.bus,
        )  # fmt: skip
        _wait(lambda: run("tpm2_getcap", "properties-fixed", **self.environment()))

    def _run(self, *command: str, **environment: str) -> None:
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
            )

    def environment(self) -> Mapping[str, str]:
        return {
            "DBUS_SESSION_BUS_ADDRESS": self.bus,
            "TPM2TOOLS_TCTI": "tabrmd:bus_type=session",
            # by a process of its own, as GLib's D-Bus would not work in a forked child
            "TPM2_PKCS11_TCTI": "cmd:tpm2_send -T tabrmd:bus_type=session",
            "TPM2_PKCS11_STORE": f"{self.folder}/store",
            "TPM2_PKCS11_LOG_LEVEL": "0",
            "TSS2_LOG": "all+NONE",
        }

    def ptool(self, command: str, *arguments: str) -> bytes:
        return run(
            "tpm2_ptool", command, f"--path={self.folder}/store", *arguments, **self.environment()
        )

    def tool(self, *arguments: str) -> bytes:
        return run(
            "pkcs11-tool", "--module", module(), "--token-label", "prod", "--login", "--pin", PIN,
            *arguments, **self.environment(),
        )  # fmt: skip

    def make(self, key_type: str, authority: CertificateAuthority) -> Place:
        algorithm = {"ec-p256": "ecc256", "rsa-2048": "rsa2048"}[key_type]
        self.ptool(
            "addkey", "--label=prod", f"--algorithm={algorithm}", f"--key-label={key_type}",
            f"--userpin={PIN}", f"--id={_id(key_type)}",
        )  # fmt: skip
        self._certify(key_type, authority)
        return Place(f"pkcs11:token=prod;object={key_type}?module-path={module()}", passphrase=PIN)

    def _certify(self, label: str, authority: CertificateAuthority) -> int:
        info = self.tool("--read-object", "--type", "pubkey", "--label", label)
        leaf = authority.issue(label, public_key=load_der_public_key(info))
        file = self.folder / "new.der"
        file.write_bytes(leaf.certificate.public_bytes(Encoding.DER))
        key_id = _id(label).encode().hex()
        self.tool("-w", str(file), "--type", "cert", "--label", label, "--id", key_id)
        return leaf.serial_number

    def renew(self, place: Place, authority: CertificateAuthority) -> int:
        label = _label(place)
        self.tool("--delete-object", "--type", "cert", "--label", label)
        return self._certify(label, authority)

    def remove_key(self, place: Place) -> None:
        self.tool("--delete-object", "--type", "privkey", "--label", _label(place))

    def with_wrong_secret(self, place: Place) -> Place:
        return place._replace(passphrase="914285")

    def refusals(self, place: Place) -> int | None:
        text = run("tpm2_getcap", "properties-variable", **self.environment()).decode()
        return int(text.partition("TPM2_PT_LOCKOUT_COUNTER:")[2].split()[0], 16)

    def restart(self) -> None:
        away = (self.folder / "store").rename(self.folder / "away")
        away.rename(self.folder / "store")

    def stop(self) -> None:
        stop_modules()
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(10)


_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>ADDRESS</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/></policy></busconfig>
"""


def _two_free_ports() -> int:
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def _wait(ready: object) -> None:
    for _ in range(200):
        try:
            ready()  # type: ignore[operator]
        except (OSError, AssertionError):
            time.sleep(0.05)
        else:
            return
    raise AssertionError("it does not start")


def _label(place: Place) -> str:
    return place.certificate.partition("object=")[2].partition("?")[0]


def _id(label: str) -> str:
    return hashlib.sha256(label.encode()).hexdigest()[:8]

"""A SPIFFE agent: `workload_api_server.py` in a process of its own."""

from __future__ import annotations

import base64
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from backends import Place
from rolesanywhere_auth.testing import CertificateAuthority
from rolesanywhere_auth.testing.authority import Leaf

SERVER = Path(__file__).parents[1] / "workload_api_server.py"
LOGGER = "rolesanywhere_auth.keys.spiffe"


def spiffe_id(name: str) -> str:
    """In the tests' trust domain."""
    return f"spiffe://example.org/{name}"


class Agent:
    """Commands the server."""

    def __init__(self, address: str) -> None:
        self._child = subprocess.Popen(
            [sys.executable, str(SERVER), address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._answer()["port"])

    def _answer(self) -> dict[str, int]:
        assert self._child.stdout is not None
        answer: dict[str, int] = json.loads(self._child.stdout.readline())
        return answer

    def tell(self, **command: Any) -> dict[str, int]:
        """What it counted before it obeyed: the calls, and the streams that are open."""
        assert self._child.stdin is not None
        self._child.stdin.write(f"{json.dumps(command)}\n")
        self._child.stdin.flush()
        return self._answer()

    def grant(self, leaves: dict[str, Leaf], hints: dict[str, str] | None = None) -> dict[str, int]:
        """Grant these identities, by the last part of their SPIFFE IDs."""
        return self.tell(grant=[granted(n, each, hints or {}) for n, each in leaves.items()])

    def refuse(self, code: str = "PERMISSION_DENIED", text: str = "no identity issued") -> Any:
        return self.tell(refuse=code, text=text)

    def stop(self) -> None:
        """End the process."""
        self._child.communicate()
        assert self._child.returncode == 0


def granted(name: str, leaf: Leaf, hints: dict[str, str]) -> dict[str, str]:
    """What the server takes for an identity."""
    chain = [leaf.certificate, *leaf.chain]
    key = leaf.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return {
        "id": spiffe_id(name),
        "chain": text(b"".join(each.public_bytes(Encoding.DER) for each in chain)),
        "key": text(key),
        "bundle": text(chain[-1].public_bytes(Encoding.DER)),
        "hint": hints.get(name, ""),
    }


def text(data: bytes) -> str:
    """For JSON."""
    return base64.b64encode(data).decode()


class Heard(logging.Handler):
    """Rings when the library says something of which *wanted* is part."""

    def __init__(self, wanted: str) -> None:
        super().__init__()
        self.wanted = wanted
        self.rung = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.wanted in record.getMessage():
            self.rung.set()


@contextmanager
def until_heard(wanted: str) -> Iterator[Callable[[], None]]:
    """Listen to the store's log within; what is yielded waits for a record with *wanted*."""
    logger, handler = logging.getLogger(LOGGER), Heard(wanted)
    before = logger.level

    def wait() -> None:
        assert handler.rung.wait(20), f"nothing was said of {wanted}"

    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield wait
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class Store:
    """`Backend`: an agent that grants one identity for each key type."""

    key_types: ClassVar = ("ec-p256", "rsa-2048", "ec-p384")
    extended: ClassVar = False
    for_children: ClassVar = {}

    @staticmethod
    def missing() -> list[str]:
        return []

    def __init__(self, folder: Path) -> None:
        del folder  # its path may be too long for a socket
        self._folder = Path(tempfile.mkdtemp(prefix="spiffe"))
        self._leaves: dict[str, Leaf] = {}
        self._agent = Agent(f"unix:{self._folder}/agent.sock")

    def environment(self) -> dict[str, str]:
        return {"SPIFFE_ENDPOINT_SOCKET": f"unix://{self._folder}/agent.sock"}

    def make(self, key_type: str, authority: CertificateAuthority) -> Place:
        self._issue(key_type, authority)
        self._agent.grant(self._leaves)
        return Place(f"spiffe:?id={spiffe_id(key_type)}")

    def _issue(self, key_type: str, authority: CertificateAuthority) -> int:
        leaf = authority.issue(key_type, key_type=key_type, uris=[spiffe_id(key_type)])
        self._leaves[key_type] = leaf
        return leaf.serial_number

    def renew(self, place: Place, authority: CertificateAuthority) -> int:
        serial_number = self._issue(place.certificate.rpartition("/")[2], authority)
        with until_heard(f"serial number {serial_number:x}") as wait:
            if self._agent.grant(self._leaves)["streams"]:
                wait()
        return serial_number

    def remove_key(self, place: Place) -> None:
        with until_heard("no identity issued") as wait:
            if self._agent.refuse()["streams"]:
                wait()

    def restart(self) -> None:
        self._agent.tell(down=True)
        self._agent.tell(up=True)

    def stop(self) -> None:
        self._agent.stop()
        shutil.rmtree(self._folder)

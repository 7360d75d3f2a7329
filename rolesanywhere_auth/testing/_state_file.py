# SPDX-License-Identifier: Apache-2.0
"""An emulator's resources in a file, so that they outlive the process.

JSON: certificates, CRLs and policies as the service was given them, nothing secret. Private
keys and session credentials are nowhere in the service's state. The file is written whole
and then renamed, with mode 0600.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.testing.service.directory import MemoryDirectory, Role
from rolesanywhere_auth.testing.service.state import KINDS, Resource, Shelf, State

_FORMAT = "rolesanywhere-emulator-state"
_VERSION = 1


class StateFile:
    """Reads and writes *path*; *directory* None leaves the roles to somebody else."""

    def __init__(
        self, path: str | os.PathLike[str], state: State, directory: MemoryDirectory | None
    ) -> None:
        self.path = Path(path)
        self._state = state
        self._directory = directory
        self._written = ""

    def load(self) -> None:
        """Put what the file holds into the service; a file that is not there is an empty one.

        Raises:
            ConfigurationError: It is not such a file, or of a newer version.
            OSError: It cannot be read.
        """
        self._written = ""
        if not self.path.exists():
            return
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content["format"] != _FORMAT or content["version"] != _VERSION:
                raise ValueError("its format or version is another")
            self._restore(content)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            self._state.clear()
            raise ConfigurationError(
                f"{self.path} is no state of this version of the emulator "
                f"({type(error).__name__}: {error}); move it away to start empty"
            ) from error

    def save(self) -> None:
        """Write the present state, if it is not what was written last.

        Raises:
            OSError: The file cannot be written; the old one is still whole.
        """
        with self._state.lock:
            text = json.dumps(self._content(), indent=1)
            if text == self._written:
                return
            _replace(self.path, text)
            self._written = text

    def _content(self) -> dict[str, Any]:
        roles = self._directory.roles() if self._directory else []
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "shelves": [_shelf(shelf) for shelf in self._state.shelves()],
            "roles": [
                {
                    "arn": role.arn,
                    "trust_policy": role.trust_policy,
                    "max_session_duration": role.max_session_duration,
                }
                for role in roles
            ],
        }

    def _restore(self, content: dict[str, Any]) -> None:
        for stored in content["shelves"]:
            shelf = self._state.shelf(stored["account_id"], stored["region"])
            for item in stored["resources"]:
                shelf.put(_resource(item))
            shelf.tags.update(stored["tags"])
        if self._directory is not None:
            for role in content["roles"]:
                self._directory.add(Role(**role))


def _replace(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _shelf(shelf: Shelf) -> dict[str, Any]:
    return {
        "account_id": shelf.account_id,
        "region": shelf.region,
        "resources": [
            {
                "kind": KINDS[type(item)],
                **{each.name: _plain(getattr(item, each.name)) for each in fields(item)},
            }
            for item in shelf.resources.values()
        ],
        "tags": shelf.tags,
    }


def _plain(value: Any) -> Any:
    """*value* in JSON; what JSON does not have is an object with one member that names it."""
    for kind, name, write in _WRITERS:
        if isinstance(value, kind):
            return {name: write(value)}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        members = {key: _plain(item) for key, item in value.items()}
        return {"$object": members} if _is_marked(value) else members
    return value


_WRITERS: tuple[tuple[type[Any], str, Callable[[Any], Any]], ...] = (
    (datetime, "$time", datetime.isoformat),
    (bytes, "$bytes", lambda value: base64.b64encode(value).decode()),
    (x509.Certificate, "$certificate", lambda value: value.public_bytes(Encoding.PEM).decode()),
    (
        x509.CertificateRevocationList,
        "$crl",
        lambda value: value.public_bytes(Encoding.PEM).decode(),
    ),
    (tuple, "$tuple", lambda value: [_plain(item) for item in value]),
)
_READERS: dict[str, Callable[[Any], Any]] = {
    "$time": datetime.fromisoformat,
    "$bytes": base64.b64decode,
    "$certificate": lambda pem: x509.load_pem_x509_certificate(pem.encode()),
    "$crl": lambda pem: x509.load_pem_x509_crl(pem.encode()),
    "$tuple": lambda items: tuple(_value(item) for item in items),
    "$object": lambda members: {key: _value(item) for key, item in members.items()},
}


def _is_marked(value: dict[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)) in _READERS


def _value(plain: Any) -> Any:
    if isinstance(plain, list):
        return [_value(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if _is_marked(plain):
        [(name, content)] = plain.items()
        return _READERS[name](content)
    return {key: _value(item) for key, item in plain.items()}


def _resource(stored: dict[str, Any]) -> Resource:
    kinds = {name: kind for kind, name in KINDS.items()}
    kind = kinds[stored.pop("kind")]
    item: Resource = kind(**{name: _value(plain) for name, plain in stored.items()})
    return item

# SPDX-License-Identifier: Apache-2.0
"""Notice that certificate and key files were replaced, and that a certificate runs out.

Files are compared by ``stat``, symbolic links followed: that sees a rename over
the file, a rewrite in place, and the swap of ``..data`` by which Kubernetes
replaces all files of a secret at once. Only where that differs are they read
again, all of them between two equal rounds of ``stat``, and only other bytes count
as a change. What can be read only once, such as a pipe, is read once.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

from rolesanywhere_auth._containers import Material, may_name_store, read_material
from rolesanywhere_auth.certificates import Certificate
from rolesanywhere_auth.errors import CertificateLoadError, RolesAnywhereError
from rolesanywhere_auth.log_fields import log_fields

logger = logging.getLogger("rolesanywhere_auth.identity")

EXPIRY_THRESHOLDS = (30, 15, 7)
"""Days left at which a certificate is warned of."""

_ATTEMPTS = 5
_TICK = timedelta(seconds=2)
"""The coarsest times of a file system: FAT's. Within it, two writes may look like one."""

Stamp: TypeAlias = "tuple[int, int, int, int, int] | None"
"""What tells one state of a file from another; ``None`` for a file that cannot be found."""
_STREAM: Stamp = (0, 0, 0, 0, 0)
"""Of a pipe, as the shell's ``<(command)`` makes one, or a terminal."""


class Reading(Protocol):
    """How a parameter's bytes are come by; ``read_material`` is one."""

    def __call__(self, value: object, *, role: str) -> Material:
        """The material given as parameter *role*."""
        ...


class Reads(NamedTuple):
    """All files as they were at one moment."""

    stamps: tuple[Stamp, ...]
    found: Mapping[str, Material | RolesAnywhereError]
    """By parameter; the error, where a file cannot be read."""

    def material(self, value: object, *, role: str) -> Material:
        """As ``read_material``, but files come from this moment."""
        found = self.found.get(role)
        if found is None:
            return read_material(value, role=role)
        if isinstance(found, RolesAnywhereError):
            raise found
        return found

    def digest(self) -> bytes:
        """SHA-256 over all content."""
        digest = hashlib.sha256()
        for role, found in self.found.items():
            content = (
                found.data if isinstance(found, Material) else str(found).encode(errors="replace")
            )
            digest.update(f"{role} {type(found).__name__} {len(content)} ".encode() + content)
        return digest.digest()


class Files:
    """Those parameters of an identity that name files. Made without I/O.

    Args: What was given; bytes, PEM texts and signers are left out.
    """

    def __init__(
        self, *, certificate: object, private_key: object, certificate_chain: object
    ) -> None:
        values = {
            "certificate": certificate,
            "private_key": private_key,
            "certificate_chain": certificate_chain,
        }
        self._paths = {role: value for role, value in values.items() if _names_file(value)}
        self._streams: dict[str, Material] = {}

    def include(self, role: str) -> bool:
        """Whether this parameter names a file."""
        return role in self._paths

    def pin(self) -> None:
        """Keep to these files when the process changes its folder; after they could be read."""
        self._paths = {role: _path(value).absolute() for role, value in self._paths.items()}

    def stamps(self) -> tuple[Stamp, ...]:
        """One per file; equal ones mean: most likely unchanged."""
        return tuple(_stamp(value) for value in self._paths.values())

    def read(self) -> Reads:
        """Read all files as of one moment.

        Raises:
            CertificateLoadError: They change faster than they can be read.
        """
        for _ in range(_ATTEMPTS):
            before = self.stamps()
            found = {role: self._read(value, role) for role, value in self._paths.items()}
            if self.stamps() == before:
                return Reads(before, found)
        sources = [getattr(each, "source", None) for each in found.values()]
        names = ", ".join(each for each in sources if each)
        raise CertificateLoadError(
            f"{names}: changed {_ATTEMPTS} times while being read. Let whatever writes them write "
            "new files and rename them.",
            source=names,
        )

    def _read(self, value: object, role: str) -> Material | RolesAnywhereError:
        if role in self._streams:
            return self._streams[role]
        try:
            found = read_material(value, role=role)
        except RolesAnywhereError as error:
            return error
        if _stamp(value) == _STREAM:
            self._streams[role] = found
        return found


def _names_file(value: object) -> bool:
    if may_name_store(value):
        from rolesanywhere_auth.keys.stores import scheme_of

        if scheme_of(value) is not None:
            return False
    if isinstance(value, str):
        return "-----BEGIN" not in value
    return isinstance(value, os.PathLike)


def _path(value: object) -> Path:
    assert isinstance(value, (str, os.PathLike))
    return Path(value).expanduser()


def _stamp(value: object) -> Stamp:
    try:
        found = _path(value).stat()
    except (OSError, RuntimeError, TypeError, ValueError):  # reading it will tell
        return None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return _STREAM
    # The time of the last change (ctime) also tells apart what `cp -p` writes in place.
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class Seen(NamedTuple):
    """The state of the files from which an identity was made.

    Two writes within one tick of the file system's clock leave the same ``stat``
    when the size is the same. So stamps are believed only once the bytes were found
    unchanged 2 seconds after these stamps were first seen; until then each check
    reads the files and compares. Both times are the caller's ``now``: the clock of a
    file server may differ from it.
    """

    stamps: tuple[Stamp, ...]
    content: bytes
    """``Reads.digest``."""
    since: datetime
    settled: bool

    @classmethod
    def first(cls, reads: Reads, *, now: datetime) -> Seen:
        """After the first reading; settled only if there are no files at all."""
        return cls(reads.stamps, reads.digest(), since=now, settled=not reads.stamps)

    def again(self, reads: Reads, *, now: datetime) -> Seen:
        """After another reading of the same bytes."""
        if reads.stamps != self.stamps:
            return self._replace(stamps=reads.stamps, since=now, settled=False)
        return self._replace(settled=abs(now - self.since) >= _TICK)


class ExpiryWarnings:
    """Warns once per certificate and threshold.

    Args:
        is_file: Whether the certificate comes from a file, for the advice.
    """

    def __init__(self, *, is_file: bool) -> None:
        self._advice = (
            "put the new one in its place: no restart is needed" if is_file else "pass the new one"
        )
        self._given: dict[tuple[int, int], object] = {}

    def check(self, leaf: Certificate, *, source: str, now: datetime) -> None:
        """Log a warning if *leaf* has 30, 15 or 7 days left, or fewer, for the first time.

        It is not warned of at a threshold that it was issued below: certificates that
        live for hours or days are replaced in time.
        """
        serial = leaf.serial_number
        left = leaf.not_valid_after - now
        lifetime = leaf.not_valid_after - leaf.not_valid_before
        reached = [days for days in EXPIRY_THRESHOLDS if left <= timedelta(days=days) < lifetime]
        token = object()  # setdefault is atomic: of several threads, one warns
        new = [d for d in reached if self._given.setdefault((serial, d), token) is token]
        if not new:
            return
        logger.warning(
            "%s: the certificate with serial number %x expires at %s; days left: %d. Have it "
            "renewed, and %s.",
            source,
            serial,
            f"{leaf.not_valid_after:%Y-%m-%dT%H:%M:%SZ}",
            left.days,
            self._advice,
            extra=log_fields(
                source=source,
                serial_number=serial,
                certificate_expires_at=leaf.not_valid_after,
                days_left=left.days,
            ),
        )

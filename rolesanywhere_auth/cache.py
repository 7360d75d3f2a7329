# SPDX-License-Identifier: Apache-2.0
"""`HostCache`: one session for all processes of a host, in a private folder.

Off unless asked for. It serves many short-lived processes of one user, such as
``credential_process`` calls or a pre-forking server: the first signs in, the others
read what it got.

What protects an entry: the folder is the user's own, mode 0700, no symbolic link; an
entry is the user's own regular file, mode 0600, with one name. Everything else is
foreign: it is not read, and the next sign-in replaces it. A checksum finds entries
that are torn or were edited by hand, and role, lifetime and file name must be what
was asked for.

What does not: a process of the same user, and root, can read the secrets and can
write an entry with a right checksum. A secret key for the checksum would not change
that, because every process that shares the cache would have to be able to find it;
one made by signing with the private key would cost a key store an operation (and
perhaps a PIN) per start, and exists for RSA alone, whose signatures repeat.

The text is plain. By default it is in memory (tmpfs, which may be swapped out); a
folder on disk, taken only when its path is given, has it at rest. The folder belongs
to one host: its processes share a clock, which a network file system does not promise.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth._private_folder import (
    default_folder,
    open_folder,
    read_own,
    remove_foreign,
    sweep,
    write,
)
from rolesanywhere_auth.errors import ConfigurationError, MissingExtraError
from rolesanywhere_auth.events import Labels
from rolesanywhere_auth.exchange import MALFORMED, MAX_SKEW, SECRET, Clock, SessionCredentials
from rolesanywhere_auth.forking import local_work
from rolesanywhere_auth.log_fields import log_fields

if TYPE_CHECKING:
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.identity import Identity

logger = logging.getLogger("rolesanywhere_auth.cache")

_VERSION = 1
_POLL = 0.02  # seconds between two looks at the lock
_MAX_OFFSET = 2**33  # seconds; further from our time a clock cannot be shown as a date
_KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)

Entry = tuple[SessionCredentials, float]
"""A session, and by how many seconds its writer knew the host's clock to be behind."""


def cache_key(config: RolesAnywhereConfig, identity: Identity, *, endpoint: str) -> str:
    """The name of the entry: equal for two sign-ins whose sessions are interchangeable.

    64 hexadecimal digits, from which nothing can be read back. A renewed certificate
    has another key. So has a sign-in with ``verify=False``: what came over an
    unverified line is not given to those who verify.

    Args:
        config: What is asked for.
        identity: Who asks.
        endpoint: The service's URL, as resolved from the configuration, the
            environment and the profile.
    """
    parts = [
        _VERSION,
        config.trust_anchor_arn,
        config.profile_arn,
        config.role_arn,
        config.session_duration,
        config.role_session_name,
        sorted((config.instance_properties or {}).items()),
        endpoint.rstrip("/"),
        config.verify is False,
        hashlib.sha256(identity.leaf.der).hexdigest(),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class HostCache:
    """Sessions that the processes of one user on one host share.

    Nothing is read or made before the first `fetch`. Between two calls it holds no
    lock and no open file, so it may be inherited by ``fork()`` and shared by threads.

    Args:
        directory: A folder that is or will be private to this user; what holds it
            must be there. Credentials are in it in plain text. By default it is
            ``$XDG_RUNTIME_DIR/rolesanywhere-auth``, if that variable names a folder
            of ours, mode 0700, in memory; else ``/dev/shm/rolesanywhere-auth-<uid>``.
        environ: Where ``XDG_RUNTIME_DIR`` is looked up.

    Raises:
        ConfigurationError: *directory* is no path, or this is no POSIX system.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        if not hasattr(os, "geteuid"):
            raise ConfigurationError("the host cache needs a POSIX system; leave out cache")
        if directory is not None and (
            not isinstance(directory, str | os.PathLike) or not os.fspath(directory)
        ):
            raise ConfigurationError(
                "the cache must be the path of a folder, or None for one in memory, "
                f"not {directory!r}"
            )
        self._directory = None if directory is None else Path(directory).absolute()
        self._runtime = environ.get("XDG_RUNTIME_DIR", "")
        self._proved = False
        self._warned = False

    def __repr__(self) -> str:
        return f"HostCache({str(self._directory) if self._directory else ''!r})"

    def fetch(
        self,
        key: str,
        *,
        config: RolesAnywhereConfig,
        sign_in: Callable[[], SessionCredentials],
        clock: Clock,
        acceptable: Callable[[SessionCredentials], bool],
        timeout: float,
    ) -> SessionCredentials:
        """The shared session, or a new one that is then shared.

        Of all callers of a host that find no acceptable entry, one signs in; the
        others wait for it and read. Its error is its own: each of the others tries
        as well, one after the other, until its own *timeout*.

        Args:
            key: Of `cache_key`.
            config: An entry must be of its role, and last no longer than it asks for.
            sign_in: Makes one CreateSession call.
            clock: The service's time. With an entry it gets its writer's correction:
                a process that never spoke to the service cannot know its own.
            acceptable: Whether an entry will do: far enough from expiry, newer than
                what the caller has. It may be called twice.
            timeout: Seconds to wait for another process's sign-in; after that, and
                whenever the folder fails while running (full, read-only, changed),
                this process signs in by itself, and the first time warns.

        Raises:
            ConfigurationError: At the first use there is no fit folder.
            MissingExtraError: filelock is not installed.
            RolesAnywhereError: Of *sign_in*.
        """
        if not _KEY.fullmatch(key):
            raise ValueError("the key of a cache entry must be one of cache_key()")
        _require_filelock()
        accept = partial(_accept, config=config, clock=clock, acceptable=acceptable)
        try:
            found = accept(self._read(key))
        except (ConfigurationError, OSError) as error:
            if isinstance(error, ConfigurationError) and not self._proved:
                raise
            self._warn(error)
            return sign_in()
        return found or self._replace(key, accept, sign_in, clock=clock, timeout=timeout)

    def _replace(
        self,
        key: str,
        accept: Callable[[Entry | None], SessionCredentials | None],
        sign_in: Callable[[], SessionCredentials],
        *,
        clock: Clock,
        timeout: float,
    ) -> SessionCredentials:
        """What another process got while this one waited for its turn, or a new session."""
        with self._flight(key, timeout=timeout):
            found = accept(self._read_again(key))
            if found is None:
                found = sign_in()
                self._store(key, found, offset=clock.offset)
        return found

    def _read(self, key: str) -> Entry | None:
        with self._opened() as folder:
            self._proved = True
            data = read_own(f"{key}.json", folder=folder)
        return None if data is None else _parse(data, key=key)

    def _read_again(self, key: str) -> Entry | None:
        try:
            return self._read(key)
        except (ConfigurationError, OSError) as error:
            self._warn(error)
            return None

    def _store(self, key: str, found: SessionCredentials, *, offset: float) -> None:
        try:
            with self._opened() as folder:
                write(f"{key}.json", _format(found, key=key, offset=offset), folder=folder)
                sweep(folder, key=key)
        except (ConfigurationError, OSError) as error:
            self._warn(error)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """A descriptor of the folder, checked just now; what is done by it cannot be diverted."""
        if self._directory is None:
            self._directory = default_folder(self._runtime)
        folder = open_folder(self._directory)
        try:
            yield folder
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _flight(self, key: str, *, timeout: float) -> Iterator[None]:
        """Hold the lock of *key*; without it after *timeout* seconds, or where locking fails.

        The lock is filelock's ``flock``: it ends with its process, however that ends,
        and a forked child closes its copy, so that it neither holds nor releases it.
        """
        with local_work():
            import filelock

        assert self._directory is not None
        wait = max(0.0, timeout)  # filelock takes a negative one for "without end"
        lock = filelock.FileLock(self._directory / f"{key}.lock", mode=0o600)
        try:
            with self._opened() as folder:
                remove_foreign(f"{key}.lock", folder=folder)
            lock.acquire(timeout=wait, poll_interval=_POLL)
        except filelock.Timeout:
            self._warn(f"another process has held its lock for {wait:g} s")
        except (ConfigurationError, OSError, RuntimeError) as error:
            self._warn(error)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # the lock goes with its descriptor then
                lock.release()

    def _warn(self, reason: object) -> None:
        level = logging.DEBUG if self._warned else logging.WARNING
        self._warned = True
        logger.log(
            level,
            "the host cache %s is of no use now: %s; signing in without it",
            self._directory,
            reason,
        )


def _require_filelock() -> None:
    """Say at once what is missing, not when the lock is first needed; importing can wait."""
    if importlib.util.find_spec("filelock") is None:
        raise MissingExtraError(
            "the host cache needs filelock; install it with: "
            "pip install 'rolesanywhere-auth[cache]'",
            extra="cache",
        )


def _format(found: SessionCredentials, *, key: str, offset: float) -> bytes:
    entry = {
        "version": _VERSION,
        "key": key,
        "clock_offset": offset,
        "credentials": {**found._asdict(), "expiration": found.expiration.isoformat()},
    }
    payload = json.dumps(entry).encode()
    return hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def _parse(data: bytes, *, key: str) -> Entry | None:
    """The entry, or None for one that is torn, edited, or not of this key."""
    digest, _, payload = data.partition(b"\n")
    if digest == hashlib.sha256(payload).hexdigest().encode():
        with contextlib.suppress(*MALFORMED):  # never logged: they may hold the entry
            return _entry(json.loads(payload), key=key)
    logger.debug("the cache entry %s is damaged or not of this version: ignored", key)
    return None


def _entry(entry: Any, *, key: str) -> Entry:
    kept, offset = entry["credentials"], entry["clock_offset"]
    expiration = datetime.fromisoformat(kept["expiration"])
    informing = [
        kept[name] is None or isinstance(kept[name], str)
        for name in ("assumed_role_arn", "subject_arn", "source_identity")
    ]
    size = kept["packed_policy_size"]
    if not (
        (entry["version"], entry["key"]) == (_VERSION, key)
        and expiration.utcoffset() == timedelta(0)
        and all(SECRET.fullmatch(kept[name]) for name in ("access_key", "secret_key", "token"))
        and all(informing)
        and (size is None or isinstance(size, int))
        and math.fabs(offset) <= _MAX_OFFSET
    ):
        raise ValueError("not an entry of ours")
    return SessionCredentials(**{**kept, "expiration": expiration}), float(offset)


def _accept(
    entry: Entry | None,
    *,
    config: RolesAnywhereConfig,
    clock: Clock,
    acceptable: Callable[[SessionCredentials], bool],
) -> SessionCredentials | None:
    """The session, if it is what was asked for and the caller takes it; *clock* is corrected."""
    if entry is None:
        return None
    found, offset = entry
    before, clock.offset = clock.offset, offset
    left = found.expiration - clock.utcnow()
    # MAX_SKEW is what our clock may differ from the service's without being corrected
    longest = timedelta(seconds=float(config.session_duration)) + MAX_SKEW  # type: ignore[arg-type]
    fits = found.role_arn == config.role_arn and timedelta(0) < left <= longest
    if fits and acceptable(found):
        logger.debug(
            "took the session until %s from the host cache",
            found.expiration,
            extra=log_fields(
                labels=Labels(config.role_arn, config.profile_arn), expires_at=found.expiration
            ),
        )
        return found
    clock.offset = before
    return None

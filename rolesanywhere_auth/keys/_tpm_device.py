# SPDX-License-Identifier: Apache-2.0
"""The connection to one TPM: one for all its keys, used by one thread at a time."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from rolesanywhere_auth.errors import MissingExtraError, SigningError
from rolesanywhere_auth.forking import Guard, local_work
from rolesanywhere_auth.keys._tpm_errors import is_connection, is_full
from rolesanywhere_auth.keys._tpm_policy import Step, take

if TYPE_CHECKING:
    from tpm2_pytss import ESAPI

T = TypeVar("T")

_PAUSES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, *(0.1,) * 30)
"""Seconds to wait for another process that fills the TPM's three places for objects."""

_NO_FORK = (
    "{}: a forked process cannot reach it, as its parent did so before, and GLib's connection to "
    "D-Bus does not survive that. Use the kernel's resource manager (device:/dev/tpmrm0), have a "
    "process of its own reach this one (cmd:tpm2_send -T {}), or sign in after the fork only."
)
_HIERARCHIES = {
    0x40000001: "OWNER",
    0x40000007: "NULL",
    0x4000000B: "ENDORSEMENT",
    0x4000000C: "PLATFORM",
}


def require_pytss(*, source: str) -> None:
    """Import tpm2-pytss.

    Raises:
        MissingExtraError: it is not installed, or the libraries it stands on are not.
    """
    try:
        with local_work():
            import tpm2_pytss  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"{source}: a key in a TPM needs tpm2-pytss ({error}). Install it: pip install "
            "'rolesanywhere-auth[tpm]'. It is built on this machine, and wants a C compiler, "
            "pkg-config, and the headers of Python and of the TPM 2.0 software stack (on Debian "
            "and Ubuntu: apt install gcc pkgconf python3-dev libtss2-dev).",
            extra="tpm",
        ) from error


class Context:
    """What is open: an ESAPI context, and what it has of keys."""

    def __init__(self, esapi: ESAPI, *, keeps: bool) -> None:
        self.esapi = esapi
        self._keeps = keeps
        self._persistent: dict[int, tuple[Any, bytes]] = {}
        self._resident: tuple[object, Any] | None = None

    def persistent(self, handle: int, *, name: bytes | None = None) -> Any:
        """The object at a persistent handle, known to this context.

        Args:
            handle: As the TPM has it.
            name: Of the object that is there now, where that was read.
        """
        known = self._persistent.get(handle)
        if known is not None and name in (None, known[1]):
            return known[0]
        if known is not None:  # another key is there now
            del self._persistent[handle]
            self.esapi.tr_close(known[0])
        from tpm2_pytss.types import TPM2_HANDLE

        found = self.esapi.tr_from_tpmpublic(TPM2_HANDLE(handle))
        self._persistent[handle] = found, bytes(self.esapi.tr_get_name(found))
        return found

    def hierarchy(self, handle: int) -> Any:
        """One of the hierarchies; None if *handle* is none."""
        from tpm2_pytss.constants import ESYS_TR

        name = _HIERARCHIES.get(handle)
        return None if name is None else getattr(ESYS_TR, name)

    @contextlib.contextmanager
    def loaded(self, owner: object, load: Callable[[], Any]) -> Iterator[Any]:
        """A key that *load* brings into the TPM, and out of it again afterwards.

        Under a resource manager the one used last stays, as it takes no place from others.
        """
        if self._resident is None or self._resident[0] is not owner:
            self.evict()
            self._resident = owner, load()
        try:
            yield self._resident[1]
        finally:
            if not self._keeps:
                self.evict()

    def evict(self) -> None:
        """Flush the key that stayed."""
        resident, self._resident = self._resident, None
        if resident is not None:
            self.flush(resident[1])

    def flush(self, handle: Any) -> None:
        """Flush an object or a session, as well as that goes."""
        from tpm2_pytss import TSS2_Exception

        with contextlib.suppress(TSS2_Exception):  # it is gone, or the TPM is
            self.esapi.flush_context(handle)

    @contextlib.contextmanager
    def authorized(
        self, handle: Any, auth: bytes, *, steps: tuple[Step, ...] = ()
    ) -> Iterator[Any]:
        """The session that shows that *handle* may be used.

        A password goes as the key of an HMAC, so that it is not seen between here and the TPM.
        """
        from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_SE
        from tpm2_pytss.types import TPMT_SYM_DEF

        if auth:
            self.esapi.tr_set_auth(handle, auth)
        try:
            if not auth and not steps:
                yield ESYS_TR.PASSWORD
                return
            session = self.esapi.start_auth_session(
                ESYS_TR.NONE,
                ESYS_TR.NONE,
                TPM2_SE.POLICY if steps else TPM2_SE.HMAC,
                TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL),
                TPM2_ALG.SHA256,
            )
            try:
                take(self.esapi, session, steps)
                yield session
            finally:
                self.flush(session)
        finally:
            if auth:
                self.esapi.tr_set_auth(handle, None)

    def close(self) -> None:
        """Flush what stayed, and disconnect."""
        self.evict()
        self.esapi.close()


class Device:
    """One TPM of this process.

    Args:
        tcti: How to reach it; None for the TSS's own choice.
        sleep: Waits some seconds.
    """

    def __init__(self, tcti: str | None, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.name = f"the TPM ({tcti or 'the default TCTI'})"
        self._tcti = tcti
        self._managed_by_dbus = (tcti or "").startswith("tabrmd")
        self._keeps = self._managed_by_dbus or (tcti or "").startswith("device:/dev/tpmrm")
        self._sleep = sleep
        self._guard = Guard()
        self._generation = 0
        self._context: Context | None = None
        self._salt = os.urandom(16)
        self._known: dict[bytes, bool] = {}

    def run(self, work: Callable[[Context], T], *, again: bool) -> T:
        """Do *work*, alone.

        Args:
            work: What sends commands. It is done anew while other processes fill the TPM.
            again: Whether it may be done once more if the connection was lost meanwhile,
                as when the TPM was restarted.

        Raises:
            TSS2_Exception: as *work* does.
            SigningError: the connection cannot be had in a forked process.
        """
        from tpm2_pytss import TSS2_Exception

        with self._guard:
            pauses = iter(_PAUSES)
            while True:
                try:
                    return work(self._open())
                except TSS2_Exception as error:
                    pause = next(pauses, None) if is_full(error) else None
                    if is_connection(error):
                        self._close()
                        if again:
                            again, pause = False, 0.0
                    if pause is None:
                        raise
                    self._sleep(pause)

    def _open(self) -> Context:
        if self._context is not None and self._generation != self._guard.generation:
            if self._managed_by_dbus:
                raise SigningError(_NO_FORK.format(self.name, self._tcti), source=self.name)
            self._context = None  # the parent's, to be neither used nor closed
        if self._context is None:
            from tpm2_pytss import ESAPI

            self._generation = self._guard.generation
            self._context = Context(ESAPI(self._tcti), keeps=self._keeps)
        return self._context

    def _close(self) -> None:
        context, self._context = self._context, None
        if context is not None:
            context.close()

    def accepted(self, key: bytes, auth: bytes) -> bool | None:
        """Whether this password was taken or refused when it was used last; None at first."""
        return self._known.get(self._digest(key, auth))

    def remember(self, key: bytes, auth: bytes, *, accepted: bool) -> None:
        """Keep in mind what the TPM said, for as long as this process lives."""
        self._known[self._digest(key, auth)] = accepted

    def _digest(self, key: bytes, auth: bytes) -> bytes:
        return hmac.digest(self._salt, hashlib.sha256(key).digest() + auth, "sha256")


_devices: dict[str | None, Device] = {}


def device(tcti: str | None) -> Device:
    """The one for this TCTI: keys share the connection and its lock."""
    if tcti is not None and tcti.startswith("abrmd"):  # as tpm2-tools also call it
        tcti = f"t{tcti}"
    return _devices.setdefault(tcti, Device(tcti))

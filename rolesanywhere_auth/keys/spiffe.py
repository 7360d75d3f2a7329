"""X.509-SVIDs of a SPIFFE agent (SPIRE, say): ``certificate="spiffe:"``.

The agent gives certificate, intermediates and key over its Workload API, and sends new ones long
before the old ones expire. They stay in this process's memory.

=====================================  ====================================================
``spiffe:``                            the agent of ``SPIFFE_ENDPOINT_SOCKET``
``spiffe:unix:///run/spire/a.sock``    the agent that listens there
``spiffe:tcp://127.0.0.1:8081``        the same
``spiffe://example.org/app``           of several identities, this one
``spiffe:…?id=…``, ``…?hint=…``        the same, also together with an address
=====================================  ====================================================

A thread follows the agent's stream. A forked child has its own, from its first look on.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl

from rolesanywhere_auth._containers import Contents, KeyBlock, Material
from rolesanywhere_auth.certificates import Certificate
from rolesanywhere_auth.errors import (
    CertificateLoadError,
    ConfigurationError,
    MissingExtraError,
    SigningError,
)
from rolesanywhere_auth.forking import local_work
from rolesanywhere_auth.keys.files import FileSigner

if TYPE_CHECKING:
    from rolesanywhere_auth.keys import PublicKey
    from rolesanywhere_auth.keys._workload_api import SVID, Address, Ended, Stream
    from rolesanywhere_auth.secrets import Passphrase

logger = logging.getLogger("rolesanywhere_auth.keys.spiffe")

VARIABLE = "SPIFFE_ENDPOINT_SOCKET"
TIME_LIMIT = 10.0
"""Seconds for connecting to the agent and its first answer."""


def open_store(reference: str, *, passphrase: Passphrase | None) -> SPIFFEStore:
    """Understand *reference*; see `rolesanywhere_auth.keys.stores.OpenStore`.

    Args:
        reference: As the table above has it.
        passphrase: Of no use here.

    Raises:
        ConfigurationError: it makes no sense, or names no agent while the environment
            does not either.
        MissingExtraError: the extra ``spiffe`` is not installed.
    """
    del passphrase
    rest, _, query = reference.partition(":")[2].partition("?")
    wanted = _wanted(query, reference)
    if rest.startswith("//"):
        wanted["id"] = f"spiffe:{rest}"
        rest = ""
    with local_work():
        try:
            from rolesanywhere_auth.keys._workload_api import Address
        except ImportError as error:
            raise MissingExtraError(
                f"{reference}: speaking to a SPIFFE agent needs h2 ({error}); install it with: "
                "pip install 'rolesanywhere-auth[spiffe]'",
                extra="spiffe",
            ) from None
    address, name = (rest, reference) if rest else (os.environ.get(VARIABLE, ""), VARIABLE)
    if not address:
        raise ConfigurationError(
            f"{reference}: {VARIABLE} is not set; set it, or name the agent's socket: "
            "spiffe:unix:///run/spire/agent.sock"
        )
    return SPIFFEStore(
        Address.parse(address, name=name),
        source=reference if rest else f"{reference} ({VARIABLE}={address})",
        spiffe_id=wanted.get("id"),
        hint=wanted.get("hint"),
    )


def _wanted(query: str, reference: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        pairs = [("", "")]
    found = dict(pairs)
    if len(found) < len(pairs) or not set(found) <= {"id", "hint"} or not all(found.values()):
        raise ConfigurationError(
            f"{reference}: after ? may stand id=spiffe://… and hint=…, each once, joined by &"
        )
    return found


class _State(NamedTuple):
    """What is known of the agent's answers."""

    svids: tuple[SVID, ...] = ()
    """Granted by the last one."""
    failure: str = ""
    """Why there is none now."""
    refused: bool = False
    """Whether the agent itself takes back what it granted."""


class SPIFFEStore:
    """A `KeyStore` of what an agent grants.

    Args:
        address: Of the agent.
        source: How messages name it.
        spiffe_id: Of the identity to use; by default it is the first (SPIFFE Workload
            API, 5.3).
        hint: The operator's hint of the identity to use.
        time_limit: Seconds for connecting and the first answer.
    """

    def __init__(
        self,
        address: Address,
        *,
        source: str,
        spiffe_id: str | None = None,
        hint: str | None = None,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        self.address = address
        self.time_limit = time_limit
        self._source = source
        self._spiffe_id = spiffe_id
        self._hint = hint
        self._state = _State()
        self._before: tuple[SVID, ...] = ()
        self._changed: list[Callable[[], None]] = []
        self._follower: _Follower | None = None
        self._locks: dict[int, threading.Lock] = {}

    @property
    def source(self) -> str:
        """The reference, and the agent's address."""
        return self._source

    def certificates(self) -> Sequence[bytes]:
        """The leaf and its intermediates.

        Raises:
            CertificateLoadError: there is no agent, or it grants no such identity.
        """
        return self._svid().chain

    def signer(self, public_keys: Sequence[bytes]) -> SPIFFESigner:
        """The key of the certificate that was given out last, or of the one before.

        Raises:
            CertificateLoadError: as `certificates` does.
            PrivateKeyLoadError, UnsupportedKeyError: the agent's key is none that can be used.
        """
        newest = self._svid()
        candidates = [newest, *self._before, *self._state.svids]
        fits = (svid for svid in candidates if self._leaf(svid).public_key_info in public_keys)
        return SPIFFESigner(self, next(fits, newest))

    def stamp(self) -> object:
        """The present certificates.

        Raises:
            CertificateLoadError: the agent cannot be reached, or refuses; what it granted
                before may still be used, unless it refuses.
        """
        self._follow()
        if self._state.failure:
            raise self._error()
        return self._svid().chain

    def watch(self, changed: Callable[[], None]) -> None:
        """Call *changed* when the agent sent another certificate."""
        self._changed.append(changed)

    def check_granted(self, spiffe_id: str) -> None:
        """Check that the agent has not taken this identity back (SPIFFE Workload API, 5.2.1).

        Raises:
            SigningError: it has.
        """
        state = self._state
        if any(svid.spiffe_id == spiffe_id for svid in state.svids):
            return
        why = state.failure or "its last answer does not have it"
        raise SigningError(
            f"{self._source}: the agent no longer grants {spiffe_id}: {why}.", source=self._source
        )

    def _svid(self) -> SVID:
        self._follow()
        svids = self._state.svids
        if not svids:
            raise self._error()
        for svid in svids:
            if self._spiffe_id in (None, svid.spiffe_id) and self._hint in (None, svid.hint):
                return svid
        known = ", ".join(f"{svid.spiffe_id} (hint {svid.hint!r})" for svid in svids)
        raise CertificateLoadError(
            f"{self._source}: the agent grants this process no such identity, but {known}. Use one "
            "of these, or register the other for this workload.",
            source=self._source,
        )

    def _leaf(self, svid: SVID) -> Certificate:
        return Certificate.from_der(svid.chain[0], source=self._source)

    def _error(self) -> CertificateLoadError:
        state = self._state
        if state.refused:
            cure = (
                "Register this workload at the SPIFFE server (spire-server entry create), with "
                "selectors that fit this process, and wait until the agent knows it."
            )
        else:
            cure = "See that the agent runs, and that this process may use its socket."
        error = CertificateLoadError(
            f"{self._source}: {state.failure}. {cure}", source=self._source
        )
        error.retryable = not state.refused
        return error

    # what the agent says

    def _follow(self) -> None:
        """See that this process follows the agent; the first time, wait for its answer."""
        if self._follower is not None and self._follower.runs():
            return
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            old = self._follower
            if old is not None and old.runs():
                return
            if old is not None:
                old.close()
            follower = _Follower(self)
            waits = not self._state.svids
            if waits and not follower.ask():
                return
            if not follower.start() and not waits:
                follower.ask()
            self._follower = follower

    def received(self, svids: tuple[SVID, ...]) -> None:
        """Take the agent's answer."""
        if not svids:
            self.failed("the agent's answer has no identity", refused=True)
            return
        before = self._state
        self._before = before.svids or self._before
        self._state = _State(svids)
        if [svid.chain for svid in svids] == [svid.chain for svid in before.svids]:
            return
        for svid in svids:
            leaf = self._leaf(svid)
            logger.info(
                "%s: the agent sent %s with serial number %x, valid until %s",
                self._source,
                svid.spiffe_id,
                leaf.serial_number,
                leaf.not_valid_after,
            )
        for changed in list(self._changed):
            changed()

    def failed(self, why: str, *, refused: bool) -> None:
        """Take that there is no answer: what was granted stays, unless it is *refused*."""
        svids = () if refused else self._state.svids
        new = _State(svids, why, refused)
        if new != self._state:
            self._state = new
            logger.info("%s: %s", self._source, why)

    def __repr__(self) -> str:
        return f"<SPIFFEStore {self._source}>"


class SPIFFESigner:
    """The key of one SVID, for as long as the agent grants that identity. A `Signer`."""

    def __init__(self, store: SPIFFEStore, svid: SVID) -> None:
        material = Material(svid.key, source=store.source, role="private_key")
        with local_work():
            self._signer = FileSigner.from_contents(
                Contents(material, (), (KeyBlock("PRIVATE KEY", svid.key),)), passphrase=None
            )
        self._store = store
        self._spiffe_id = svid.spiffe_id

    def public_key(self) -> PublicKey:
        """The public half."""
        return self._signer.public_key()

    def sign(self, data: bytes) -> bytes:
        """Sign, as `Signer.sign` says.

        Raises:
            SigningError: the agent has taken the identity back.
        """
        self._store.check_granted(self._spiffe_id)
        return self._signer.sign(data)

    def __repr__(self) -> str:
        return f"<SPIFFESigner {self._spiffe_id}>"


class _Follower:
    """Reads one agent's answers for one store, which it does not keep alive, in one process."""

    def __init__(self, store: SPIFFEStore) -> None:
        with local_work():
            from rolesanywhere_auth.keeper import Bell
            from rolesanywhere_auth.keys import _workload_api

        self._api = _workload_api
        self._address = store.address
        self._time_limit = store.time_limit
        self._process = os.getpid()
        self._bell = bell = Bell()
        self._stream: Stream | None = None
        self._thread: threading.Thread | None = None
        me = weakref.ref(self)

        def gone(_: object) -> None:
            bell.ring()
            follower = me()
            if follower is not None and follower._stream is not None:
                follower._stream.interrupt()

        self._store = weakref.ref(store, gone)

    def runs(self) -> bool:
        """Whether its thread is there, in this process."""
        thread = self._thread
        return self._process == os.getpid() and thread is not None and thread.is_alive()

    def close(self) -> None:
        """Let go of the connection, of a parent, say."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def ask(self) -> bool:
        """Connect and wait for an answer, which the store gets, as it gets a failure."""
        try:
            self._next()
        except self._api.Ended as ended:
            self._report(ended)
            return False
        return True

    def start(self) -> bool:
        """Go on in a thread; False where there can be none."""
        try:
            self._thread = threading.Thread(
                target=self._run, name="rolesanywhere-auth-spiffe", daemon=True
            )
            self._thread.start()
        except RuntimeError as error:
            self._thread = None
            self.close()
            logger.debug("no thread follows the SPIFFE agent, it is asked each time: %s", error)
            return False
        return True

    def _next(self) -> None:
        """One answer, for which a new connection is given so long, and one in use for ever."""
        if self._stream is None:
            deadline = time.monotonic() + self._time_limit
            self._stream = self._api.Stream(self._address, deadline=deadline)
            svids = self._stream.read(deadline=deadline)
        else:
            svids = self._stream.read(deadline=None)
        store = self._store()
        if store is not None:
            store.received(svids)

    def _report(self, ended: Ended) -> None:
        self.close()
        store = self._store()
        if store is not None:
            store.failed(str(ended), refused=ended.status == self._api.PERMISSION_DENIED)

    def _run(self) -> None:
        failures = 0
        while self._store() is not None:
            try:
                self._next()
                failures = 0
            except self._api.Ended as ended:
                # an agent may end a stream at any time, and be there again at once
                if failures or ended.status is not None:
                    self._report(ended)
                self.close()
                self._bell.wait(_pause(failures))
                failures += 1
            except Exception:
                logger.exception("following the SPIFFE agent failed, and goes on")
                self.close()
                failures += 1
                self._bell.wait(_pause(failures))
        self.close()


def _pause(failures: int) -> float:
    """Seconds before the next connection: short at first, then up to 15, spread."""
    longest = min(15.0, 0.05 * 2.0**failures)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads, no secret

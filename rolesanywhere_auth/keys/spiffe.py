# SPDX-License-Identifier: Apache-2.0
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
import threading
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
    from rolesanywhere_auth.keys._svid_follower import Follower
    from rolesanywhere_auth.keys._workload_api import SVID, Address
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
        self._follower: Follower | None = None
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
            follower = self._follower = _new_follower(self)
            waits = not self._state.svids  # else this is a child, or where there are no threads
            if waits:
                follower.ask(self)
            if self._state.svids and follower.start():
                return
            if not waits:
                follower.ask(self)
            follower.close()

    def received(self, svids: tuple[SVID, ...]) -> None:
        """Take the agent's answer."""
        if not svids:
            self.failed("the agent's answer has no identity", refused=True)
            return
        try:
            leaves = [(svid, self._leaf(svid)) for svid in svids]
        except CertificateLoadError as error:
            self.failed(f"the agent sent a certificate that cannot be read: {error}", refused=False)
            return
        before = self._state.svids
        self._before = before or self._before
        self._state = _State(svids)
        if [svid.chain for svid in svids] == [svid.chain for svid in before]:
            return
        for svid, leaf in leaves:
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


def _new_follower(store: SPIFFEStore) -> Follower:
    with local_work():
        from rolesanywhere_auth.keys._svid_follower import Follower

    return Follower(store)


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

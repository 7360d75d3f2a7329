# SPDX-License-Identifier: Apache-2.0
"""The two ways in which a TPM holds a key: at a persistent handle, or wrapped in a file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from rolesanywhere_auth.errors import PrivateKeyLoadError
from rolesanywhere_auth.keys._tpm_device import Context
from rolesanywhere_auth.keys._tpm_errors import Stage, is_full
from rolesanywhere_auth.keys._tpm_policy import Step
from rolesanywhere_auth.keys._tss2 import TSS2Key


class HeldKey(Protocol):
    """A key in a TPM. It is used by one thread at a time."""

    stage: Stage
    """What it is doing: an error belongs to that."""
    policy: tuple[Step, ...]
    """What the key's own file says of its policy."""

    @property
    def parent(self) -> str:
        """What it hangs on, for messages."""
        ...

    def public(self, context: Context, /) -> tuple[Any, bytes]:
        """Its TPMT_PUBLIC as it is now, and what tells it from other keys. No password needed."""
        ...

    def parent_identity(self) -> bytes:
        """What tells the parent from others."""
        ...

    def at_hand(self, context: Context, parent_auth: bytes, /) -> AbstractContextManager[Any]:
        """The object in the TPM, while it is used."""
        ...

    def forget(self, context: Context, /) -> None:
        """The TPM does not know what it had of this key any more: begin anew."""
        ...


class PersistentKey:
    """A key at a persistent handle."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._name = b""
        self.stage = Stage.KEY
        self.policy: tuple[Step, ...] = ()

    @property
    def parent(self) -> str:
        """It needs none."""
        return f"0x{self._handle:x}"

    def public(self, context: Context) -> tuple[Any, bytes]:
        """Asked of the TPM, so that another key at the handle is noticed."""
        self.stage = Stage.KEY
        public, name, _ = context.esapi.read_public(context.persistent(self._handle))
        self._name = bytes(name)
        context.persistent(self._handle, name=self._name)
        return public.publicArea, self._name

    def parent_identity(self) -> bytes:
        """Never asked for: the TPM needs no parent."""
        return b""

    @contextlib.contextmanager
    def at_hand(self, context: Context, _parent_auth: bytes) -> Iterator[Any]:
        """It is in the TPM for good."""
        self.stage = Stage.KEY
        handle = context.persistent(self._handle)
        self.stage = Stage.USE
        yield handle

    def forget(self, context: Context) -> None:
        """Ask for its name again."""
        context.persistent(self._handle, name=b"")


class WrappedKey:
    """A key of a file, which is loaded under its parent to be used."""

    def __init__(self, key: TSS2Key, *, source: str) -> None:
        from tpm2_pytss import TSS2_Exception
        from tpm2_pytss.types import TPM2B_PRIVATE, TPM2B_PUBLIC

        self._key = key
        try:
            self._public, rest = TPM2B_PUBLIC.unmarshal(key.public)
            self._private, more = TPM2B_PRIVATE.unmarshal(key.private)
        except TSS2_Exception as error:
            rest = more = 1
            cause: Exception | None = error
        else:
            cause = None
        if rest != len(key.public) or more != len(key.private):
            raise PrivateKeyLoadError(
                f"{source}: what the file holds of the TPM's is damaged. Write it anew.",
                source=source,
            ) from cause
        self._saved: Any = None
        self.stage = Stage.KEY
        self.policy = tuple(Step(code, parameters) for code, parameters in key.policy)

    @property
    def parent(self) -> str:
        """A handle, or a hierarchy."""
        names = {0x40000001: "the owner hierarchy", 0x40000007: "the null hierarchy"}
        parent = self._key.parent
        kind = "hierarchy" if parent >> 24 == 0x40 else "key"
        return names.get(parent, f"the parent {kind} 0x{parent:x}")

    def public(self, _context: Context) -> tuple[Any, bytes]:
        """It stands in the file."""
        return self._public.publicArea, self._key.public + self._key.private

    def parent_identity(self) -> bytes:
        """The parent's handle."""
        return b"parent" + self._key.parent.to_bytes(4, "big")

    @contextlib.contextmanager
    def at_hand(self, context: Context, parent_auth: bytes) -> Iterator[Any]:
        """Loaded, and flushed again."""
        self.stage = Stage.KEY
        with context.loaded(self, lambda: self._load(context, parent_auth)) as handle:
            if self._saved is None:
                self._saved = context.esapi.context_save(handle)
            self.stage = Stage.USE
            yield handle

    def forget(self, context: Context) -> None:
        """Load it from the file next time."""
        self._saved = None
        context.evict()

    def _load(self, context: Context, parent_auth: bytes) -> Any:
        """From its saved context if there is one, which takes a fraction of the time."""
        from tpm2_pytss import TSS2_Exception

        if self._saved is not None:
            try:
                return context.esapi.context_load(self._saved)
            except TSS2_Exception as error:
                if is_full(error):
                    raise
                self._saved = None  # of before a reset
        return self._load_under_parent(context, parent_auth)

    def _load_under_parent(self, context: Context, parent_auth: bytes) -> Any:
        self.stage = Stage.PARENT
        hierarchy = context.hierarchy(self._key.parent)
        if hierarchy is None:
            parent = context.persistent(self._key.parent)
            with context.authorized(parent, parent_auth) as session:
                return context.esapi.load(parent, self._private, self._public, session1=session)
        parent = self._make_parent(context, hierarchy, parent_auth)
        try:
            self.stage = Stage.KEY
            return context.esapi.load(parent, self._private, self._public)
        finally:
            context.flush(parent)

    def _make_parent(self, context: Context, hierarchy: Any, auth: bytes) -> Any:
        """The primary key of the template that all writers use, which is the same each time."""
        from tpm2_pytss.types import (
            TPM2B_DATA,
            TPM2B_PUBLIC,
            TPM2B_SENSITIVE_CREATE,
            TPML_PCR_SELECTION,
        )

        algorithm = "rsa2048:aes128cfb" if self._key.rsa_parent else "ecc256:aes128cfb"
        template = TPM2B_PUBLIC.parse(
            algorithm,
            "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt",
        )
        with context.authorized(hierarchy, auth) as session:
            made = context.esapi.create_primary(
                TPM2B_SENSITIVE_CREATE(),
                template,
                hierarchy,
                TPM2B_DATA(),
                TPML_PCR_SELECTION(),
                session1=session,
            )
        return made[0]

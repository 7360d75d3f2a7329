# SPDX-License-Identifier: Apache-2.0
"""What the response codes of a TPM and of the software before it mean (TPM 2.0 Part 2, 6.6)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from rolesanywhere_auth.errors import (
    PassphraseError,
    PrivateKeyError,
    PrivateKeyLoadError,
    SigningError,
)

if TYPE_CHECKING:
    from tpm2_pytss import TSS2_Exception

_LAYERS_OF_TPM = (0, 11, 12)
"""The TPM itself, or a resource manager that answers like one."""
_FORMAT_ONE = 0x80

VALUE, AUTH_FAIL, HANDLE, POLICY_FAIL, INTEGRITY, BAD_AUTH = 0x84, 0x8E, 0x8B, 0x9D, 0x9F, 0xA2
INITIALIZE, PCR_CHANGED, AUTH_UNAVAILABLE, LOCKOUT = 0x100, 0x128, 0x12F, 0x921
_FULL = (0x902, 0x903, 0x904, 0x905, 0x906)
_REFERENCES = range(0x910, 0x920)
"""TPM_RC_REFERENCE_H0 and on: a handle or session that is no longer loaded."""


class Stage(Enum):
    """What was going on when it failed."""

    PARENT = "parent"
    """The key's parent was made or used."""
    KEY = "key"
    """The key was read or loaded."""
    USE = "use"
    """It was to sign."""


def code_of(error: TSS2_Exception) -> int | None:
    """The TPM's response code without the numbers of parameters; None if it is not the TPM's."""
    layer, code = int(error.rc) >> 16, int(error.rc) & 0xFFFF
    if layer not in _LAYERS_OF_TPM:
        return None
    return _FORMAT_ONE | code & 0x3F if code & _FORMAT_ONE else code


def is_full(error: TSS2_Exception) -> bool:
    """Whether there is no place in the TPM for another object or session."""
    return code_of(error) in _FULL


def is_connection(error: TSS2_Exception) -> bool:
    """Whether the connection is of no use any more, or the software before the TPM is stuck."""
    return code_of(error) is None


def is_refusal(error: TSS2_Exception) -> bool:
    """Whether the TPM compared a password, and it was another."""
    return code_of(error) in (AUTH_FAIL, BAD_AUTH)


def is_gone(error: TSS2_Exception) -> bool:
    """Whether something that was loaded, or saved, is not valid any more: the TPM was reset."""
    code = code_of(error)
    return code in (HANDLE, INTEGRITY) or code in _REFERENCES


def explain(
    error: TSS2_Exception, *, stage: Stage, source: str, device: str, secret: bool, parent: str
) -> PrivateKeyError:
    """The error to raise, with cause and fix.

    Args:
        error: What tpm2-pytss raised.
        stage: What was going on.
        source: The key.
        device: The TPM.
        secret: Whether there was a password.
        parent: What the key hangs on.
    """
    code = code_of(error)
    if code in (AUTH_FAIL, BAD_AUTH, LOCKOUT):
        why = _password(code, stage, secret=secret, parent=parent)
        return PassphraseError(f"{source}: {why}", source=source)
    kind = SigningError if stage is Stage.USE else PrivateKeyLoadError
    text = _USES.get(code or 0) if stage is Stage.USE else None
    if code == HANDLE and stage is not Stage.USE:
        text = "there is no key at {what} in {device}. tpm2_getcap handles-persistent lists all."
    if code == INTEGRITY:
        text = (
            "it was wrapped by another TPM, or under another parent than {what} is now. A parent "
            "made by hand must be of the common template, with noda: tpm2_createprimary -G "
            "ecc256:aes128cfb -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|"
            "restricted|decrypt'."
        )
    if text is None:
        text = _ANY.get(code) or _other(code)
    what = parent if stage is Stage.PARENT or code == INTEGRITY else source
    text = text.format(device=device, what=what)
    return kind(f"{source}: {text} ({error}, 0x{int(error.rc):x})", source=source)


def refused(stage: Stage, *, source: str, secret: bool, parent: str) -> PassphraseError:
    """The error for a password that the TPM refused earlier, and was not asked about again."""
    text = _password(BAD_AUTH, stage, secret=secret, parent=parent)
    return PassphraseError(f"{source}: {text}", source=source)


def _password(code: int | None, stage: Stage, *, secret: bool, parent: str) -> str:
    if code == LOCKOUT:
        return (
            "the TPM is locked after too many wrong passwords, and refuses right ones too. Wait, "
            "or have its owner run: tpm2_dictionarylockout --clear-lockout."
        )
    whose, option = "the key", "passphrase"
    if stage is Stage.PARENT:
        whose, option = parent, "parent-auth"
    if not secret:
        return f"the TPM wants a password for {whose}: pass {option}."
    return (
        f"the TPM refused the password of {whose}. It is not tried again until it changes, as "
        f"some wrong ones lock the TPM. Correct {option}, or leave it out if there is none."
    )


_POLICY = (
    "its policy does not hold: the PCRs have other values than it wants, or the steps given as "
    "policy= are not those it was made with, in their order."
)
_USES = {
    POLICY_FAIL: _POLICY,
    PCR_CHANGED: _POLICY,
    VALUE: _POLICY,
    HANDLE: "there is no key at {what} in {device} any more.",
    AUTH_UNAVAILABLE: (
        "no password opens this key, only its policy. Say which: tpm:…;policy=pcr:sha256:0,7, "
        "with one policy= for each step."
    ),
}
_ANY = {
    INITIALIZE: "{device} was not started. Start it: tpm2_startup --clear.",
    None: (
        "{device} cannot be reached. See that it is there, that this user may open it (group tss "
        "for /dev/tpmrm0), and that TPM2TOOLS_TCTI or the option tcti is right."
    ),
}


def _other(code: int | None) -> str:
    if code in _FULL:
        return (
            "{device} has no place for another key or session. Others leave theirs loaded: use a "
            "resource manager (/dev/tpmrm0), or run tpm2_flushcontext -t and -l."
        )
    return "{device} failed."

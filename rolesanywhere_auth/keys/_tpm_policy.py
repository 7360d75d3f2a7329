# SPDX-License-Identifier: Apache-2.0
"""Policies of TPM keys: what has to hold before the TPM uses a key (TPM 2.0 Part 1, 19.7)."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from rolesanywhere_auth.errors import ConfigurationError, UnsupportedKeyError

_AUTH_VALUE = 0x16B
_COMMAND_CODE = 0x16C
_PCR = 0x17F
_PASSWORD = 0x18C
_SIGN = 0x15D

_PCRS = re.compile(r"sha\d{1,3}:\d\d?(,\d\d?)*(\+sha\d{1,3}:\d\d?(,\d\d?)*)*")
_KNOWN = "known are pcr:BANK:LIST (as of tpm2_pcrread: pcr:sha256:0,7), authvalue, password, sign"


class Step(NamedTuple):
    """One policy command."""

    command: int
    parameters: bytes = b""
    pcrs: str = ""
    """As tpm2-tools write them; then there are no parameters."""


def parse_step(text: str) -> Step:
    """One step as a reference has it.

    Raises:
        ConfigurationError: there is no such step.
    """
    name, _, rest = text.strip().lower().partition(":")
    if name == "pcr" and _PCRS.fullmatch(rest):
        return Step(_PCR, pcrs=rest)
    simple = {
        "authvalue": Step(_AUTH_VALUE),
        "password": Step(_PASSWORD),
        "sign": Step(_COMMAND_CODE, _SIGN.to_bytes(4, "big")),
    }
    if rest or name not in simple:
        raise ConfigurationError(f"policy={text} is no step of a TPM policy; {_KNOWN}.")
    return simple[name]


def check_steps(steps: tuple[Step, ...], *, source: str) -> None:
    """Check that all can be taken here.

    Raises:
        UnsupportedKeyError: one cannot.
    """
    for step in steps:
        if step.command not in (_AUTH_VALUE, _COMMAND_CODE, _PASSWORD, _PCR):
            raise UnsupportedKeyError(
                f"{source}: its policy has the TPM command 0x{step.command:x}, which is not known "
                "here. Known are PolicyPCR, PolicyAuthValue, PolicyPassword and "
                "PolicyCommandCode: make a key with one of these.",
                source=source,
            )


def take(esapi: Any, session: Any, steps: tuple[Step, ...]) -> None:
    """Take all steps in a policy session; raises what the TPM says."""
    for step in steps:
        if step.command == _PCR:
            digest, pcrs = _pcr_parameters(step)
            esapi.policy_pcr(session, digest, pcrs)
        elif step.command == _AUTH_VALUE:
            esapi.policy_auth_value(session)
        elif step.command == _PASSWORD:
            esapi.policy_password(session)
        else:
            from tpm2_pytss.constants import TPM2_CC

            esapi.policy_command_code(session, TPM2_CC(int.from_bytes(step.parameters, "big")))


def _pcr_parameters(step: Step) -> tuple[Any, Any]:
    """The digest expected, if any is, and the selection."""
    from tpm2_pytss.types import TPM2B_DIGEST, TPML_PCR_SELECTION

    if step.pcrs:
        return TPM2B_DIGEST(), TPML_PCR_SELECTION.parse(step.pcrs)
    # openssl_tpm2_engine writes the selection and the bare digest, as the policy hashes them;
    # GRUB's tools write the command's own parameters, a sized digest before the selection.
    data = step.parameters
    size = _selection_size(data)
    if size:
        selection, digest = data[:size], data[size:]
    else:
        size = 2 + int.from_bytes(data[:2], "big")
        selection, digest = data[size:], data[2:size]
    return TPM2B_DIGEST(digest), TPML_PCR_SELECTION.unmarshal(selection)[0]


def _selection_size(data: bytes) -> int:
    """Bytes of the TPML_PCR_SELECTION that *data* begins with; 0 if that is something else."""
    count, position = int.from_bytes(data[:4], "big"), 4
    for _ in range(min(count, 16)):
        position += 3 + int.from_bytes(data[position + 2 : position + 3], "big")
    return position if 1 <= count <= 16 and position <= len(data) else 0

# SPDX-License-Identifier: Apache-2.0
"""What is on this machine: the settings, the files, the certificates and the key."""

from __future__ import annotations

import difflib
import functools
import os
import stat
from pathlib import Path

from rolesanywhere_auth._containers import read_material
from rolesanywhere_auth._loading import Parts
from rolesanywhere_auth._matching import match_leaf
from rolesanywhere_auth.arns import check_arns
from rolesanywhere_auth.diagnosis.case import (
    Case,
    Finding,
    Step,
    failure,
    not_needed,
    passed,
    told,
    warning,
)
from rolesanywhere_auth.errors import ARNError, ConfigurationError, RolesAnywhereError
from rolesanywhere_auth.keys import ProvedSigner, describe_public_key
from rolesanywhere_auth.keys.stores import Stores, scheme_of
from rolesanywhere_auth.rotation import Files

_LOOSE = 0o037
"""What nobody but the owner may do with a key; its group may read, as Debian's ssl-cert does."""
_WEAK_RSA_BITS = 2048
_TEST_DATA = b"rolesanywhere-auth doctor: a signature to see that the key signs"


def look_at_configuration(case: Case) -> Finding:
    """Whether the settings make a configuration; what is wrong with ARNs is said by the next."""
    try:
        config = case.config = case.make_config()
    except ARNError as error:
        case.arn_error = error
        return passed(f"from {case.origin}")
    except ConfigurationError as error:
        return told(error)
    return passed(f"from {case.origin}: the role {config.role_arn}")


def look_at_arns(case: Case) -> Finding:
    """Whether the three ARNs are of one account, partition and Region (UG/trust-model)."""
    if case.arn_error is not None:
        return told(case.arn_error)
    config = case.config
    arn = check_arns(
        trust_anchor_arn=config.trust_anchor_arn,
        profile_arn=config.profile_arn,
        role_arn=config.role_arn,
    )
    return passed(f"account {arn.account_id}, Region {arn.region}, partition {arn.partition}")


# Files


def look_at_file(case: Case, *, role: str) -> Finding:
    """Whether the file given as *role* is there, can be read, and is not open to others."""
    value = getattr(case.config, role)
    config = case.config
    files = Files(
        certificate=config.certificate,
        private_key=config.private_key,
        certificate_chain=config.certificate_chain,
    )
    if value is None:
        return not_needed(f"no {role} is given")
    if not files.include(role):
        scheme = scheme_of(value)
        kind = f"a key store ({scheme}:)" if scheme else f"{type(value).__name__} given in code"
        return not_needed(f"{role} is no file but {kind}")
    try:
        path = Path(value).expanduser()
        return _file(path, role=role, secret=_holds_key(case, role))
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, PermissionError):
            return _not_entered(path, role)
        reason = getattr(error, "strerror", None) or type(error).__name__
        return failure(f"{role} is no usable path: {reason}", f"give the path of a file as {role}")


def _holds_key(case: Case, role: str) -> bool:
    return role == "private_key" or (role == "certificate" and case.config.private_key is None)


def _file(path: Path, *, role: str, secret: bool) -> Finding:
    try:
        info = path.stat()
    except FileNotFoundError:
        return _missing(path, role)
    shown = f"{path} ({_permissions(path, info)})"
    if stat.S_ISDIR(info.st_mode):
        return failure(f"{path}, given as {role}, is a folder", f"give a file in it as {role}")
    if not stat.S_ISREG(info.st_mode):
        return passed(f"{path} is a pipe or device, which is read once")
    if not info.st_size:
        return failure(f"{path}, given as {role}, is empty", "see what was to write it")
    return _readable(path, role=role, shown=shown, loose=secret and info.st_mode & _LOOSE)


def _readable(path: Path, *, role: str, shown: str, loose: int | bool) -> Finding:
    try:
        with path.open("rb"):
            pass
    except PermissionError:
        return failure(
            f"{shown}, given as {role}, cannot be read by this process ({_process()})",
            f"run it as the owner, or let this user read it: setfacl -m u:{_user()}:r {path}",
        )
    if loose and os.name == "posix":
        return warning(
            f"{shown} holds the private key, and others than its owner may read or change it",
            f"chmod 600 {path}; if others had access to this machine, have a new key certified",
        )
    return passed(shown)


def _missing(path: Path, role: str) -> Finding:
    try:
        names = [each.name for each in path.parent.iterdir()]
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, n=1)
    where = f"; the folder has {near[0]}" if near else ""
    if not path.parent.is_dir():
        where = f"; there is no folder {path.parent} either"
    return failure(
        f"{path}, given as {role}, does not exist{where}",
        "correct the path; a relative one counts from the working directory "
        "(in a profile, from the folder of its file)",
    )


def _not_entered(path: Path, role: str) -> Finding:
    """The path leads through a folder that this process may not enter."""
    folder = next(each for each in path.absolute().parents if os.access(each, os.F_OK))
    return failure(
        f"{path}, given as {role}, is below a folder that this process ({_process()}) may not "
        f"enter: {folder} ({_permissions(folder, folder.stat())})",
        f"let this user pass: setfacl -m u:{_user()}:x {folder}",
    )


def _permissions(path: Path, info: os.stat_result) -> str:
    try:
        owner = path.owner()
    except (KeyError, NotImplementedError, OSError):
        owner = str(info.st_uid)
    return f"mode {stat.S_IMODE(info.st_mode):04o}, owner {owner}"


def _user() -> str:
    return str(os.geteuid()) if hasattr(os, "geteuid") else "USER"


def _process() -> str:
    return f"user {_user()}"


# Certificates and key


def look_at_certificate(case: Case) -> Finding:
    """Whether there is a certificate; the leaf is the one that is no CA's, until the key tells."""
    config = case.config
    stores = Stores(passphrase=config.passphrase)
    named = any(
        scheme_of(each) is not None
        for each in (config.certificate, config.private_key, config.certificate_chain)
    )
    case.parts = Parts(config.passphrase, read_material, stores if named else None)
    case.found, case.place = case.parts.certificates(config.certificate, role="certificate")
    case.leaf = next((each for each in case.found if not each.is_ca), case.found[0])
    leaf = case.leaf
    others = f", and {len(case.found) - 1} more" if len(case.found) > 1 else ""
    return passed(
        f"{leaf.subject_text}, serial number 0x{leaf.serial_number:x}, issued by "
        f"{leaf.issuer_text}{others}, in {case.place.source}"
    )


def look_at_chain_file(case: Case) -> Finding:
    """Whether there are certificates in what was given as certificate_chain."""
    value = case.config.certificate_chain
    if value is None:
        return not_needed("no certificate_chain is given")
    case.extra, place = case.parts.certificates(value, role="certificate_chain")
    names = ", ".join(each.subject_text for each in case.extra)
    return passed(f"{names}, in {place.source}")


def look_at_private_key(case: Case) -> Finding:
    """Whether the key can be opened, and is of a kind that the service takes."""
    case.signer, case.key_source = case.parts.signer(
        case.config.private_key, case.place, case.found
    )
    kind = describe_public_key(case.signer.public_key(), source=case.key_source)
    return _judged(kind, f"{kind}, in {case.key_source}")


def _judged(kind: str, evidence: str) -> Finding:
    family, _, size = kind.partition(" ")
    if family == "RSA" and int(size) < _WEAK_RSA_BITS:
        return warning(
            f"{evidence}: short for an RSA key",
            f"have one of {_WEAK_RSA_BITS} bits or more certified (NIST SP 800-131A)",
        )
    return passed(evidence)


def look_at_match(case: Case) -> Finding:
    """Whether the key belongs to one of the certificates: that one is the leaf."""
    case.leaf = match_leaf(
        case.found,
        case.signer,
        now=case.clock.utcnow(),
        source=case.place.source,
        key_source=case.key_source,
    )
    return passed(f"the key is that of {case.leaf.subject_text}")


def look_at_signature(case: Case) -> Finding:
    """Whether the key signs, and the certificate verifies that."""
    signer = ProvedSigner(case.signer, source=case.key_source)
    try:
        signer.sign(_TEST_DATA)
    except RolesAnywhereError:
        raise
    except Exception as error:  # noqa: BLE001 - of the caller's own signer; its text may say much
        return failure(
            f"sign() of {type(case.signer).__name__} raised {type(error).__name__}",
            "mend the signer, or have it raise SigningError with the reason",
        )
    case.signer = signer
    return passed("a test signature verifies with the certificate")


SETTINGS = (
    Step("configuration", look_at_configuration),
    Step("arns", look_at_arns, ("configuration",)),
)
MATERIAL = (
    Step(
        "certificate-file",
        functools.partial(look_at_file, role="certificate"),
        ("configuration", "arns"),
    ),
    Step(
        "chain-file",
        functools.partial(look_at_file, role="certificate_chain"),
        ("configuration", "arns"),
    ),
    Step(
        "key-file",
        functools.partial(look_at_file, role="private_key"),
        ("configuration", "arns"),
    ),
    Step("certificate", look_at_certificate, ("certificate-file",)),
    Step("certificate-chain", look_at_chain_file, ("chain-file", "certificate")),
    Step("private-key", look_at_private_key, ("key-file", "certificate")),
    Step("key-match", look_at_match, ("private-key",)),
    Step("test-signature", look_at_signature, ("key-match",)),
)

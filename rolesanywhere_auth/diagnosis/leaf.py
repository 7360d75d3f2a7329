# SPDX-License-Identifier: Apache-2.0
"""The service's demands on the certificate, its chain, and how long they last.

The rules are those of "Trust model" in the user guide of IAM Roles Anywhere ("Signature
verification"); for CAs in between those of RFC 5280, section 6.1.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from rolesanywhere_auth._matching import order_chain
from rolesanywhere_auth.certificates import Certificate
from rolesanywhere_auth.diagnosis.case import (
    Case,
    Finding,
    Step,
    failure,
    not_needed,
    passed,
    warning,
)
from rolesanywhere_auth.diagnosis.report import Facts
from rolesanywhere_auth.diagnosis.trust import NoPathError, is_self_signed, parsed, path_to
from rolesanywhere_auth.keys import describe_public_key

_USAGES = (
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
)
_EMPTY_NAME = b"\x30\x00"
_DAY = timedelta(days=1)
_REISSUE = "have the certificate issued again"


def look_at_version(case: Case) -> Finding:
    """X.509 version 3."""
    if case.leaf.version != 3:
        return failure(
            f"the certificate is X.509 v{case.leaf.version}, the service takes v3 only",
            f"{_REISSUE} with extensions: a CA that writes any makes it v3",
        )
    return passed("X.509 v3")


def look_at_constraints(case: Case) -> Finding:
    """Not a CA's."""
    if case.leaf.is_ca:
        return failure(
            "the certificate is a CA's (basicConstraints CA:TRUE), which cannot sign in",
            "give the end-entity certificate that this CA issued, with its key",
        )
    return passed("no CA certificate")


def look_at_key_usage(case: Case) -> Finding:
    """The keyUsage digitalSignature; extended key usage is not asked for."""
    usage = case.leaf.key_usage
    fix = f"{_REISSUE} with keyUsage=digitalSignature"
    if usage is None:
        return failure("the certificate has no keyUsage; digitalSignature is demanded", fix)
    bits = usage[0] if usage else 0
    named = [name for place, name in enumerate(_USAGES) if bits & 0x80 >> place]
    if not case.leaf.digital_signature:
        return failure(f"keyUsage lacks digitalSignature; it has {', '.join(named)}", fix)
    return passed(f"keyUsage {', '.join(named)}")


def look_at_hash(case: Case) -> Finding:
    """SHA-256 or stronger under the issuer's signature."""
    if case.leaf.weak_digest is not None:
        return failure(
            f"the issuer signed the certificate with {case.leaf.weak_digest}; the service takes "
            "SHA-256 or stronger",
            f"{_REISSUE} with SHA-256",
        )
    return passed("SHA-256 or stronger under the issuer's signature")


def look_at_subject(case: Case) -> Finding:
    """Not empty."""
    if case.leaf.subject == _EMPTY_NAME:
        return failure(
            "the certificate's subject is empty, which the service refuses",
            f"{_REISSUE} with a subject, such as CN=app",
        )
    return passed(case.leaf.subject_text)


def look_at_key_type(case: Case) -> Finding:
    """RSA, EC or ML-DSA."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    source = case.place.source
    try:
        key = load_der_public_key(case.leaf.public_key_info)
    except (UnsupportedAlgorithm, ValueError) as error:
        return warning(
            f"the installed cryptography cannot read the certificate's key: {error}",
            "use an RSA key, or an EC key on P-256, P-384 or P-521",
        )
    return passed(
        f"a key of a kind that the service takes: {describe_public_key(key, source=source)}"
    )


# The chain


def look_at_chain(case: Case) -> Finding:
    """Which certificates lead upwards, and what else was given."""
    if is_self_signed(case.leaf):
        return failure(
            f"{case.leaf.subject_text} signed itself: no CA issued it, so that it leads to no "
            "trust anchor",
            "have a CA issue it, whose certificate is a trust anchor's or below one",
        )
    given = _unique([*case.found, *case.extra])
    chain = case.intermediates = order_chain(case.leaf, given, source=case.place.source)
    top = (case.leaf, *chain)[-1]
    namesake = [each for each in given if each.subject == top.issuer and each.der != top.der]
    case.namesake = any(each.is_ca and not each.is_self_signed for each in namesake)
    if namesake and not any(each.is_ca for each in namesake):
        return failure(
            f"{top.issuer_text} issued {top.subject_text}, but the certificate of that name is no "
            "CA's (basicConstraints CA:TRUE is missing)",
            "give the CA's own certificate as certificate_chain",
        )
    if case.namesake:
        return warning(
            f"the certificate of {top.issuer_text} that was given has another key than the one "
            f"that issued {top.subject_text}, and is not sent",
            "give the CA's certificate of that key: the CA has been renewed, perhaps",
        )
    line = " < ".join(each.subject_text for each in (case.leaf, *chain))
    evidence = f"sent: {line}; {top.issuer_text}, above it, is to be the trust anchor's"
    strangers = [each for each in given if each not in (case.leaf, *chain, *namesake)]
    if strangers:
        names = ", ".join(each.subject_text for each in strangers)
        return warning(
            f"{names} did not issue any of this chain and is not sent. {evidence}",
            f"give the certificate of {top.issuer_text} instead, unless that is the trust anchor's",
        )
    if [each for each in given if each in (case.leaf, *chain)] != [case.leaf, *chain]:
        return warning(
            f"the certificates stand in another order than that of the chain. {evidence}",
            "this library sorts them; for programs that do not, put the leaf first and each "
            "issuer behind what it issued",
        )
    return passed(evidence)


def _unique(given: list[Certificate]) -> list[Certificate]:
    return list({each.der: each for each in given}.values())


# Time


def look_at_validity(case: Case) -> Finding:
    """Whether the certificate is valid now, by the service's clock where that is known."""
    leaf, now = case.leaf, case.clock.utcnow()
    left = leaf.not_valid_after - now
    facts: Facts = {"not_after": _text(leaf.not_valid_after), "days_left": left.days}
    if now > leaf.not_valid_after:
        return failure(
            f"the certificate expired at {_text(leaf.not_valid_after)}; it is {_text(now)}",
            "renew it",
            facts,
        )
    if now < leaf.not_valid_before:
        return failure(
            f"the certificate is valid only from {_text(leaf.not_valid_before)}; it is "
            f"{_text(now)}",
            "wait, or set this machine's clock if that is wrong",
            facts,
        )
    evidence = f"valid until {_text(leaf.not_valid_after)}; days left: {left.days}"
    lifetime = leaf.not_valid_after - leaf.not_valid_before
    if left / _DAY <= case.expiry_days < lifetime / _DAY:
        return warning(evidence, "have the certificate renewed: files are noticed", facts)
    return passed(evidence, facts)


def look_at_chain_rules(case: Case) -> Finding:
    """Whether the CAs in between are valid now and issued what stands below them.

    By the path validation of the emulator, which is compared with that of OpenSSL and others:
    the topmost certificate that is sent is taken for the trust anchor.
    """
    if not case.intermediates:
        return not_needed("no intermediate is sent")
    now = case.clock.utcnow()
    for each in case.intermediates:
        if not each.not_valid_before <= now <= each.not_valid_after:
            return failure(
                f"the intermediate {each.subject_text} is valid from "
                f"{_text(each.not_valid_before)} to {_text(each.not_valid_after)}; it is "
                f"{_text(now)}",
                "give the CA's renewed certificate as certificate_chain",
            )
    try:
        path_to(
            case.leaf,
            intermediates=case.intermediates,
            anchors=[parsed(case.intermediates[-1])],
            at=now,
        )
    except NoPathError as error:
        return failure(
            f"the chain is not valid: {error}",
            "give the certificate of the CA that really issued it as certificate_chain, or have "
            "the one that this names issued again",
        )
    first = min(case.intermediates, key=lambda each: each.not_valid_after)
    left = (first.not_valid_after - now).days
    lifetime = (first.not_valid_after - first.not_valid_before).days
    evidence = (
        f"of the intermediates the first to end is {first.subject_text}, at "
        f"{_text(first.not_valid_after)}; days left: {left}"
    )
    facts: Facts = {"not_after": _text(first.not_valid_after), "days_left": left}
    if left <= case.expiry_days < lifetime:
        return warning(evidence, "have the CA's certificate renewed", facts)
    return passed(evidence, facts)


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


RULES = (
    Step("x509-version", look_at_version, ("certificate",)),
    Step("end-entity", look_at_constraints, ("certificate",)),
    Step("key-usage", look_at_key_usage, ("certificate",)),
    Step("signature-hash", look_at_hash, ("certificate",)),
    Step("key-type", look_at_key_type, ("certificate",)),
    Step("subject", look_at_subject, ("certificate",)),
    Step("chain", look_at_chain, ("certificate", "certificate-chain")),
)
TIMES = (
    Step("validity", look_at_validity, ("certificate",)),
    Step("chain-validity", look_at_chain_rules, ("chain", "validity")),
)

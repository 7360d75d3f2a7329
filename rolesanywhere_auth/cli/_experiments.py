# SPDX-License-Identifier: Apache-2.0
"""What to ask a Roles Anywhere endpoint, and which open question each answer settles.

The questions are those that no source answers (docs/emulator.md lists the emulator's
choices). An experiment is a sign-in with something special about it, or one call of the
control plane. What it needs is made by `_stage.Stage` and named here by words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from rolesanywhere_auth.signing import HTTPRequest

Change = Callable[[HTTPRequest], HTTPRequest]


def _same(request: HTTPRequest) -> HTTPRequest:
    return request


@dataclass(frozen=True)
class SignIn:
    """One CreateSession.

    Args:
        name: Of the experiment; it stands in records.
        question: What its answer settles.
        leaf: Which certificate signs; see `_stage.LEAVES`.
        anchor: Which trust anchor is named.
        profile: Which profile is named.
        role: ``given``, or ``missing`` for one that does not exist.
        parameters: Further members of the body.
        skew: Seconds that the clock of the request is ahead.
        prepare: Changes the request before it is signed.
        spoil: Changes it afterwards.
        algorithm: Declare this one, whatever the key is.
        unsigned: Names of headers, in lower case, that the signature leaves out.
        repeat: Send it so many times; the first answer that differs from the first of
            all counts.
    """

    name: str
    question: str
    leaf: str = "sound"
    anchor: str = "own"
    profile: str = "open"
    role: str = "given"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    skew: float = 0
    prepare: Change = _same
    spoil: Change = _same
    algorithm: str | None = None
    unsigned: tuple[str, ...] = ()
    repeat: int = 1


@dataclass(frozen=True)
class Call:
    """One call of the control plane by boto3; ``{anchor:own}`` and the like are filled in."""

    name: str
    question: str
    operation: str
    members: Mapping[str, Any]


Experiment = SignIn | Call


def without(*names: str) -> Change:
    """Take headers away."""

    def change(request: HTTPRequest) -> HTTPRequest:
        kept = {key: value for key, value in request.headers.items() if key not in names}
        return request._replace(headers=kept)

    return change


def header(name: str, value: Callable[[str], str]) -> Change:
    """Put another value into a header, made from the present one."""

    def change(request: HTTPRequest) -> HTTPRequest:
        headers = dict(request.headers)
        headers[name] = value(headers.get(name, ""))
        return request._replace(headers=headers)

    return change


def _other_signature(authorization: str) -> str:
    digit = "1" if authorization.endswith("0") else "0"
    return authorization[:-1] + digit


def _both_places(request: HTTPRequest) -> HTTPRequest:
    """A role in the query that is not the one in the body."""
    role = "arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Fquery"
    return request._replace(url=f"{request.url}?roleArn={role}")


def _as_query(request: HTTPRequest) -> HTTPRequest:
    """The body's members in the query string, and no body."""
    query = urlencode(json.loads(request.body), quote_via=quote, safe="")
    return request._replace(url=f"{request.url}?{query}", body=b"")


_SPOILT = header("Authorization", _other_signature)
_TEXT = "text and code of "
_ORDER = "order of checks"
_NAME = "case and leading zeros of the session name"
_WHO = "source identity"

EXPERIMENTS: tuple[Experiment, ...] = (
    SignIn("sound", "that all is set up as it should be, and what a session looks like"),
    # Texts
    SignIn("expired-leaf", _TEXT + "an expired leaf", leaf="expired"),
    SignIn("not-yet-valid-leaf", _TEXT + "a leaf that is not valid yet", leaf="not-yet-valid"),
    SignIn("expired-anchor", _TEXT + "an expired anchor", leaf="of-expired", anchor="expired"),
    SignIn("no-such-anchor", _TEXT + "a trust anchor that does not exist", anchor="missing"),
    SignIn("no-such-profile", _TEXT + "a profile that does not exist", profile="missing"),
    SignIn("no-such-role", _TEXT + "a role that does not exist", role="missing"),
    SignIn("alias-anchor", "whether CreateSession takes an alias ARN", anchor="alias"),
    SignIn("disabled-anchor", _TEXT + "a disabled trust anchor", anchor="disabled"),
    SignIn("disabled-profile", _TEXT + "a disabled profile", profile="disabled"),
    SignIn("role-not-listed", _TEXT + "a role that is not in the profile", profile="elsewhere"),
    SignIn(
        "session-name-refused",
        _TEXT + "a role session name that the profile does not take",
        profile="closed",
        parameters={"roleSessionName": "experiment"},
    ),
    SignIn(
        "session-name-malformed",
        _TEXT + "a role session name that STS would refuse",
        parameters={"roleSessionName": "a b"},
    ),
    SignIn(
        "too-long",
        _TEXT + "a duration beyond the role's maximum",
        profile="long",
        parameters={"durationSeconds": 43200},
    ),
    SignIn("duration-out-of-bounds", _TEXT + "899 seconds", parameters={"durationSeconds": 899}),
    SignIn("foreign-leaf", _TEXT + "a leaf of another CA", leaf="foreign"),
    SignIn("ca-leaf", _TEXT + "a leaf that is a CA", leaf="ca-true"),
    SignIn("no-signing-leaf", _TEXT + "a leaf without digitalSignature", leaf="no-signing"),
    SignIn("empty-subject", _TEXT + "a leaf without a subject", leaf="empty-subject"),
    SignIn("critical-extension", _TEXT + "an unknown critical extension", leaf="critical"),
    SignIn("revoked-leaf", _TEXT + "a revoked leaf", leaf="revoked", anchor="crl"),
    # Authorization
    SignIn("unsigned", _TEXT + "a request without Authorization", spoil=without("Authorization")),
    SignIn("bad-signature", _TEXT + "a wrong signature", spoil=_SPOILT),
    SignIn(
        "malformed-authorization",
        _TEXT + "an Authorization that cannot be read",
        spoil=header("Authorization", lambda _: "AWS4-X509-ECDSA-SHA256 nonsense"),
    ),
    SignIn(
        "short-credential",
        _TEXT + "a Credential with a part too few",
        spoil=header("Authorization", lambda text: text.replace("/aws4_request", "")),
    ),
    SignIn(
        "other-serial",
        _TEXT + "a serial number that is not the certificate's",
        spoil=header("Authorization", lambda text: text.replace("Credential=", "Credential=9")),
    ),
    SignIn("no-date", _TEXT + "a request without X-Amz-Date", spoil=without("X-Amz-Date")),
    SignIn("no-certificate", _TEXT + "a request without X-Amz-X509", spoil=without("X-Amz-X509")),
    SignIn(
        "wrong-algorithm",
        "whether an algorithm that is not the key's is refused",
        algorithm="AWS4-X509-RSA-SHA256",
    ),
    *(
        SignIn(f"unsigned-{name}", f"whether {name} may be unsigned", unsigned=(name,))
        for name in ("host", "x-amz-date", "content-type", "x-amz-x509")
    ),
    SignIn(
        "empty-body",
        "what a POST with all in the query is answered",
        prepare=_as_query,
    ),
    SignIn("both-places", "whether query or body wins", prepare=_both_places),
    # Clocks
    *(
        SignIn(f"skew-{minutes:+d}-minutes", "how far the clocks may differ", skew=60 * minutes)
        for minutes in (-16, -14, -6, -4, 4, 6, 14, 16)
    ),
    # Order
    SignIn(
        "order-signature-anchor",
        f"{_ORDER}: signature, or trust anchor exists",
        anchor="missing",
        spoil=_SPOILT,
    ),
    SignIn(
        "order-signature-duration",
        f"{_ORDER}: signature, or limits of parameters",
        parameters={"durationSeconds": 899},
        spoil=_SPOILT,
    ),
    SignIn("order-signature-date", f"{_ORDER}: signature, or date", skew=-3600, spoil=_SPOILT),
    SignIn(
        "order-anchor-profile",
        f"{_ORDER}: trust anchor exists, or profile exists",
        anchor="missing",
        profile="missing",
    ),
    SignIn(
        "order-disabled-trust",
        f"{_ORDER}: anchor enabled, or certificate trusted",
        leaf="foreign",
        anchor="disabled",
    ),
    SignIn(
        "order-disabled-both",
        f"{_ORDER}: anchor enabled, or profile enabled",
        anchor="disabled",
        profile="disabled",
    ),
    SignIn(
        "order-trust-role",
        f"{_ORDER}: certificate trusted, or role in the profile",
        leaf="foreign",
        profile="elsewhere",
    ),
    SignIn(
        "order-revoked-role",
        f"{_ORDER}: revocation, or role in the profile",
        leaf="revoked",
        anchor="crl",
        profile="elsewhere",
    ),
    SignIn(
        "order-role-name",
        f"{_ORDER}: role in the profile, or role session name",
        profile="closed-elsewhere",
        parameters={"roleSessionName": "experiment"},
    ),
    # What a session is called
    SignIn("serial-of-one-digit", _NAME, leaf="serial-1"),
    SignIn("serial-of-odd-length", _NAME, leaf="serial-odd"),
    SignIn("serial-with-high-bit", _NAME, leaf="serial-high"),
    SignIn("several-common-names", f"{_WHO} of several common names", leaf="two-names"),
    SignIn("common-name-with-space", f"{_WHO} of a name that STS would refuse", leaf="space"),
    SignIn("common-name-with-brackets", f"{_WHO} of a name that STS would refuse", leaf="brackets"),
    SignIn("common-name-of-64", f"{_WHO} of 64 characters", leaf="long-name"),
    SignIn(
        "names-of-attributes",
        "names of attributes beyond CN, C, O, OU, ST, L and UID, as a refusal lists them",
        leaf="attributes",
        role="missing",
    ),
    SignIn("san-names", "names of SAN entries in that list", leaf="san", role="missing"),
    SignIn("packed-size", "packed size, and what too much of it is answered", profile="heavy"),
    # Keys and chains
    SignIn("rsa-1024", "least size of an RSA key", leaf="rsa-1024"),
    SignIn("p-521", "elliptic curves", leaf="p-521"),
    SignIn("secp256k1", "elliptic curves", leaf="secp256k1"),
    SignIn("six-intermediates", "more than five intermediates", leaf="deep"),
    # CRLs
    SignIn("stale-crl", "a CRL past its nextUpdate", leaf="of-stale", anchor="stale-crl"),
    SignIn("foreign-crl", "a CRL that another CA signed", leaf="of-foreign", anchor="foreign-crl"),
    # Throttling comes last: it may outlast the experiment.
    SignIn("throttling", "code and text of throttling", repeat=40),
    Call("get-no-anchor", _TEXT + "a missing resource", "get_trust_anchor",
         {"trustAnchorId": "{missing}"}),
    Call("get-no-profile", _TEXT + "a missing resource", "get_profile",
         {"profileId": "{missing}"}),
    Call("get-no-crl", _TEXT + "a missing resource", "get_crl", {"crlId": "{missing}"}),
    Call("get-no-subject", _TEXT + "a missing resource", "get_subject",
         {"subjectId": "{missing}"}),
    Call("delta-crl", "import of a delta CRL", "import_crl",
         {"name": "{name}", "crlData": "{delta-crl}", "trustAnchorArn": "{anchor:own}",
          "enabled": False}),
    Call("mapping-beside-star", "PutAttributeMapping of CN beside *", "put_attribute_mapping",
         {"profileId": "{profile:closed}", "certificateField": "x509Subject",
          "mappingRules": [{"specifier": "CN"}]}),
    Call("mapping-unknown", "PutAttributeMapping of an unknown specifier",
         "put_attribute_mapping",
         {"profileId": "{profile:closed}", "certificateField": "x509Subject",
          "mappingRules": [{"specifier": "NoSuchThing"}]}),
    Call("delete-mapping-unknown", "DeleteAttributeMapping of an unknown specifier",
         "delete_attribute_mapping",
         {"profileId": "{profile:closed}", "certificateField": "x509Issuer",
          "specifiers": ["NotThere"]}),
)  # fmt: skip
"""All experiments, in the order in which they are made."""


def chosen(names: list[str]) -> tuple[Experiment, ...]:
    """The experiments of these names; all for none.

    Raises:
        ValueError: There is no such experiment.
    """
    known = {experiment.name: experiment for experiment in EXPERIMENTS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"there is no experiment {', '.join(unknown)}; there are {', '.join(known)}"
        )
    return tuple(known[name] for name in known if not names or name in names)

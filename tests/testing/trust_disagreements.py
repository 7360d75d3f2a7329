"""Where this package and its peers differ on a `Chain`, and why; every row is read by a test.

A row holds for the peers, our verdicts and their verdicts that match its patterns, and, where
variations are named, only for chains with one of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from chains import Chain

OK = "accepted$"
OPENSSL, PYHANKO, BOTH = "openssl", "pyhanko", "openssl|pyhanko"


@dataclass(frozen=True)
class Row:
    """Our verdict, theirs, and the reason why ours stands."""

    peers: str
    ours: str
    theirs: str
    why: str
    variations: frozenset[str] = frozenset()

    def explains(self, peer: str, ours: str, theirs: str, chain: Chain) -> bool:
        """Whether this row is about this disagreement."""
        return (
            re.match(self.peers, peer) is not None
            and re.match(self.ours, ours) is not None
            and re.match(self.theirs, theirs) is not None
            and (not self.variations or not self.variations.isdisjoint(chain.variations))
        )


def row(peers: str, ours: str, theirs: str, why: str, *variations: str) -> Row:
    """A `Row`."""
    return Row(peers, ours, theirs, why, frozenset(variations))


_LEAF = r"Untrusted certificate\. Insufficient certificate: .*"
_PATH = r"Untrusted signing certificate: .*"
_IMPORT = "the control plane refuses the list, before any certificate is judged by it; "
_OPTIONAL = (
    "AWS lets a certificate pass if no imported list has it; a list that is missing, of another "
    "CA or not in force is no list here, and both peers were asked to insist on lists"
)
_NO_LIST = (
    "missing_crl",
    "expired_crl",
    "revoked_on_expired_crl",
    "revoked_on_future_crl",
    "revoked_on_crl_of_other_name",
    "revoked_on_crl_of_other_key",
    "revoked_on_partial_crl",
    "crl_for_a_part",
    "intermediate_as_anchor",
    "reached_by_cross_certificate",
    "self_issued_outside_constraints",
    "self_issued_rollover",
    "ca_may_only_sign_certificates",
    "loop_beside",
    "four_intermediates",
    "removed_from_crl",
)

ROWS = [
    # AWS's rules for trust anchors (user guide, "trust-model"), which the peers do not have
    row(BOTH, "CA certificate must be X.509 version 3", OK, "AWS: anchors are version 3"),
    row(
        OPENSSL,
        "Incorrect basic constraints for CA certificate",
        OK,
        "AWS: anchors have CA:TRUE; OpenSSL lets a self-signed certificate without any pass",
        "ca_without_basic_constraints",
    ),
    row(
        BOTH,
        "CA certificate must have the key usage Certificate Sign",
        OK,
        "AWS: anchors have keyCertSign; OpenSSL needs no keyUsage, pyHanko does not read it",
    ),
    row(
        BOTH,
        "CA certificate must be signed with SHA-256",
        OK,
        "AWS: anchors too are signed with SHA-256 or stronger, by an algorithm of its list",
    ),
    row(
        BOTH,
        "x509CertificateData has 3 certificates",
        OK,
        "AWS: at most two certificates in a trust anchor",
        "two_anchors",
    ),
    # AWS's rules for end entities (the same page)
    row(BOTH, _LEAF + "not X.509 version 3", OK, "AWS: leaves are version 3"),
    row(BOTH, _LEAF + "basicConstraints is CA:TRUE", OK, "AWS: leaves are no CAs"),
    row(BOTH, _LEAF + "the subject is empty", OK, "AWS: a leaf has a subject"),
    row(
        OPENSSL,
        _LEAF + "keyUsage lacks digitalSignature",
        OK,
        "AWS: leaves have digitalSignature; OpenSSL was not asked about a purpose",
    ),
    row(BOTH, _LEAF + "the key is not RSA", OK, "AWS: RSA, EC and ML-DSA; the curves are ours"),
    row(
        OPENSSL,
        f"({_PATH}|{_LEAF})weaker than SHA-256",
        OK,
        "AWS: SHA-256 or stronger; OpenSSL's library has no such rule at its default level",
    ),
    row(
        PYHANKO,
        f"({_PATH}|{_LEAF})weaker than SHA-256",
        OK,
        "AWS: RSA, EC and ML-DSA; Ed25519 has no hash that could be named",
        "ca_with_odd_key",
    ),
    row(BOTH, _PATH + "the key is not RSA", OK, "AWS: no other keys, for CAs as for leaves"),
    # RFC 5280, to the letter
    row(
        OPENSSL,
        OK,
        "unable to get local issuer certificate",
        "RFC 5280, 7.1, folds the case of all letters, OpenSSL that of ASCII's",
        "umlaut_in_other_case",
    ),
    row(
        OPENSSL,
        OK,
        "no explicit policy",
        "RFC 5280, 6.1.1 (c): nobody asked for a policy, so any will do; this interface of "
        "OpenSSL cannot say that (the command line can, see the test)",
        "explicit_policy_satisfied",
        "policies",
    ),
    row(
        BOTH,
        OK,
        "permitted subtree violation|PathValidationError: .*not all names of the end-entity",
        "RFC 5280, 4.2.1.10: a constraint on hosts is not about the CN, and one on mail about the "
        "subject's address only if there is no alternative name; the peers are stricter",
        "mail_in_subject",
        "host_in_common_name",
    ),
    row(
        BOTH,
        _PATH + "has no host name, but URIs are constrained",
        OK,
        "RFC 5280, 4.2.1.10: under a constraint on URIs, those without a host name are refused; "
        "OpenSSL takes an IPv4 address for a name, pyHanko one of IPv6",
        "uri_without_host",
    ),
    row(
        PYHANKO,
        _PATH + "is outside the name constraints",
        OK,
        "OpenSSL too: a DNS base may begin with a dot; RFC 5280 does not say, pyHanko never "
        "matches it",
        "names_excluded",
    ),
    row(
        PYHANKO,
        _PATH + "has the critical extension",
        OK,
        "OpenSSL too: an anchor's critical extensions count; pyHanko does not read them",
        "unknown_critical_extension",
    ),
    row(
        OPENSSL,
        OK,
        "self-signed certificate in certificate chain|unable to get local issuer certificate",
        "there is a path; OpenSSL does not try them all",
        "cross_signed",
        "reached_by_cross_certificate",
        "self_issued_rollover",
        "self_issued_outside_constraints",
    ),
    # What pyHanko's validator does not know
    row(
        PYHANKO,
        OK,
        "NotImplementedError: No containment checker available for .*IP_ADDRESS",
        "it has no constraints on addresses; OpenSSL judges these",
    ),
    row(
        PYHANKO,
        OK,
        "AttributeError: 'NoneType' object has no attribute 'lower'|PathValidationError: .*"
        "the signature of .* could not be verified",
        "it does not know ECDSA and RSA with SHA-3; OpenSSL judges these",
        "sha_512",
    ),
    row(
        PYHANKO,
        OK,
        "AssertionError",
        "it tries the keys of all CAs of one name, and fails at a key of another kind",
        "revoked_on_crl_of_other_key",
        "self_issued_rollover",
    ),
    row(
        PYHANKO,
        OK,
        "PathBuildingError: .*no issuer matching",
        "it compares the issuer in the authority key identifier byte by byte; RFC 5280, 7.1",
        "authority_serial_number",
    ),
    # Revocation
    row(
        OPENSSL,
        OK,
        "unable to get certificate CRL|CRL has expired|CRL is not yet valid|different CRL scope"
        "|key usage does not include CRL signing|CRL signature failure",
        _OPTIONAL,
        *_NO_LIST,
    ),
    row(PYHANKO, OK, "(Insufficient|Stale)RevinfoError", _OPTIONAL, *_NO_LIST),
    row(
        PYHANKO,
        OK,
        "RevokedError",
        "OpenSSL too: a list that none of the CA's keys signed is nothing; pyHanko takes its entry "
        "if the CA has two keys",
        "revoked_on_crl_of_other_key",
    ),
    row(
        BOTH,
        "Certificate revoked",
        OK,
        "AWS takes two lists per anchor and does not say that one of them goes before the other: "
        "each revokes; the peers take the newest one, or one that is in force",
        "revoked_on_the_older_of_two_crls",
        "self_issued_rollover",
        "self_issued_outside_constraints",
    ),
    row(
        PYHANKO,
        "Certificate revoked",
        OK,
        "OpenSSL too: a certificate on the list is revoked, whatever the date beside it",
        "revoked_from_tomorrow",
    ),
    row(
        BOTH,
        "crlData must be signed with SHA-256",
        OK,
        _IMPORT + "AWS: SHA-256 or stronger, by an algorithm of its list",
        "revoked_on_weak_crl",
        "ca_with_odd_key",
    ),
    row(
        BOTH,
        "crlData (is a delta CRL|is indirect|has critical extensions unknown)",
        OK,
        _IMPORT + "the peers did not need it, or found its entry of no consequence",
    ),
]

OLD_ROWS = [
    row(
        PYHANKO,
        OK,
        "PathValidationError: .*of type rfc822_name is not allowed",
        "RFC 5280, 7.5, and newer releases: the host of a mailbox has no case",
        "names_permitted",
    ),
]
"""Only for older releases of the peers."""

"""What OpenSSL, pyHanko's validator and this package say about a `Chain`."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import replace
from datetime import timedelta
from typing import Any

from asn1crypto import crl as asn1_crl
from asn1crypto import x509 as asn1
from chains import Chain
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import crypto
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.authority import CertTrustAnchor, TrustQualifiers, derive_quals_from_cert
from pyhanko_certvalidator.name_trees import (
    default_excluded_subtrees,
    default_permitted_subtrees,
)
from pyhanko_certvalidator.policy_decl import (
    DEFAULT_WEAK_HASH_ALGOS,
    CertRevTrustPolicy,
    DisallowWeakAlgorithmsPolicy,
    RevocationCheckingPolicy,
    RevocationCheckingRule,
)

from rolesanywhere_auth._x509 import read_certificate
from rolesanywhere_auth.testing.service import revocation, trust
from rolesanywhere_auth.testing.service.wire import Refusal

ACCEPTED = "accepted"


def ours(chain: Chain) -> str:
    """The verdict of the emulator: imports of anchors and CRLs, then CreateSession's checks."""
    try:
        bundle = "".join(c.public_bytes(Encoding.PEM).decode() for c in chain.anchors)
        anchors = trust.load_anchor_bundle(bundle)
        crls = [revocation.load_crl(crl.public_bytes(Encoding.DER)) for crl in chain.crls]
        for certificate in (chain.leaf, *chain.sent):
            read_certificate(certificate.public_bytes(Encoding.DER), extensions=True)
        path = trust.find_path(chain.leaf, chain.sent, anchors, at=chain.at)
        trust.check_leaf(chain.leaf, at=chain.at)
        revocation.check_revocation(path, crls, at=chain.at, anchors=anchors)
    except ValueError as error:
        return f"unreadable: {error}"
    except Refusal as refusal:
        return f"{refusal.message}: {refusal.__cause__}"
    return ACCEPTED


def openssl(chain: Chain) -> str:
    """OpenSSL's verdict; CRLs of all CAs are asked for if there is one."""
    store = crypto.X509Store()
    flags = crypto.X509StoreFlags.PARTIAL_CHAIN | crypto.X509StoreFlags.POLICY_CHECK
    if chain.crls:
        flags |= crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL
    # This replaces the parameters, the flags among them, so it comes first.
    store.set_time(chain.at)
    store.set_flags(flags)
    for anchor in chain.anchors:
        store.add_cert(crypto.X509.from_cryptography(anchor))
    for crl in chain.crls:
        store.add_crl(crl)
    sent = [crypto.X509.from_cryptography(certificate) for certificate in chain.sent]
    leaf = crypto.X509.from_cryptography(chain.leaf)
    try:
        crypto.X509StoreContext(store, leaf, sent).verify_certificate()
    except crypto.X509StoreContextError as error:
        return str(error)
    return ACCEPTED


def pyhanko(chain: Chain) -> str:
    """The verdict of pyHanko's validator, which also asks for CRLs if there is one."""
    rule = RevocationCheckingRule
    rules = (rule.CRL_REQUIRED if chain.crls else rule.NO_CHECK,) * 2
    try:
        context = ValidationContext(
            trust_roots=[
                CertTrustAnchor(_asn1(anchor), _qualifiers(_asn1(anchor)))
                for anchor in chain.anchors
            ],
            other_certs=[_asn1(certificate) for certificate in chain.sent],
            crls=[asn1_crl.CertificateList.load(c.public_bytes(Encoding.DER)) for c in chain.crls],
            moment=chain.at,
            revinfo_policy=CertRevTrustPolicy(RevocationCheckingPolicy(*rules)),
            algorithm_usage_policy=_ALGORITHMS,
            time_tolerance=timedelta(0),
        )
        validator = CertificateValidator(_asn1(chain.leaf), validation_context=context)
        _loop().run_until_complete(validator.async_validate_usage({"digital_signature"}))
    except Exception as error:  # noqa: BLE001 - its faults are verdicts too
        return f"{type(error).__name__}: {error}"
    return ACCEPTED


def _qualifiers(anchor: Any) -> TrustQualifiers:
    """The anchor's validity, pathLen and name constraints count; its policies do not."""
    qualifiers = derive_quals_from_cert(anchor)
    parameters = qualifiers.standard_parameters
    if parameters is not None:
        any_policy = frozenset({"any_policy"})
        permitted, excluded = default_permitted_subtrees(), default_excluded_subtrees()
        parameters = replace(
            parameters,
            user_initial_policy_set=any_policy,
            initial_explicit_policy=False,
            initial_permitted_subtrees=permitted | (parameters.initial_permitted_subtrees or {}),
            initial_excluded_subtrees=excluded | (parameters.initial_excluded_subtrees or {}),
        )
    # Its validator fails where only the first of the two lengths is given, or not all kinds of
    # names.
    length = qualifiers.max_path_length
    return replace(qualifiers, standard_parameters=parameters, max_aa_path_length=length)


def _asn1(certificate: x509.Certificate) -> Any:
    return asn1.Certificate.load(certificate.public_bytes(Encoding.DER))


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


# As AWS has it, as far as it can be told: nothing below SHA-256, RSA keys of 1024 bits.
_ALGORITHMS = DisallowWeakAlgorithmsPolicy(
    weak_hash_algos=DEFAULT_WEAK_HASH_ALGOS | {"sha224"}, rsa_key_size_threshold=1024
)
PEERS = {"openssl": openssl, "pyhanko": pyhanko}

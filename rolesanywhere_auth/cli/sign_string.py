# SPDX-License-Identifier: Apache-2.0
"""``rolesanywhere-auth sign-string``: a signature over a fixed text, to try a key with."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth import _flags

if TYPE_CHECKING:
    from rolesanywhere_auth.keys import PublicKey
    from rolesanywhere_auth.secrets import Passphrase

_TEXT = b"AWS Roles Anywhere Credential Helper Signing Test"
_VERSION = b"1"
_OWN = (
    _flags.Flag(
        "--format", "json (default), text or bin", "FORMAT", "json", ("json", "text", "bin")
    ),
    _flags.Flag(
        "--digest",
        "SHA256 (default), SHA384 or SHA512; the latter with key files alone",
        "DIGEST",
        "SHA256",
        ("SHA256", "SHA384", "SHA512"),
    ),
)


def add_to(verbs: Any) -> None:
    """Add the command and its flags, which are named as in ``aws_signing_helper``."""
    command = verbs.add_parser(
        "sign-string",
        help="sign a fixed text, to see whether a key works",
        description="Sign a fixed text, which is followed by a digest of the public key, and print "
        "the signature in hexadecimal. It is the text of AWS's aws_signing_helper.",
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    _flags.add_flags(command, _flags.CERTIFICATE, _flags.KEY, _flags.SECRETS, _OWN, _flags.DEBUG)


def run(options: argparse.Namespace) -> int:
    """Sign and print."""
    from botocore.exceptions import BotoCoreError

    from rolesanywhere_auth._flag_values import key_source, passphrase_of
    from rolesanywhere_auth.cli import fail
    from rolesanywhere_auth.cli._logging import log_to_stderr

    log_to_stderr(options)
    try:
        signature = _sign(key_source(options), passphrase_of(options), digest=options.digest)
    except BotoCoreError as error:  # ours are among them
        return fail(error)
    if options.format == "bin":
        sys.stdout.buffer.write(signature)
    else:
        text = signature.hex()
        sys.stdout.write(json.dumps(text) if options.format == "json" else text)
    sys.stdout.flush()
    return 0


def message(public_key: PublicKey) -> bytes:
    """What is signed: with RSA and EC keys, a digest of the public key belongs to it."""
    import hashlib

    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if isinstance(public_key, rsa.RSAPublicKey):
        public = public_key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    elif isinstance(public_key, ec.EllipticCurvePublicKey):
        public = public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    else:
        return _TEXT + _VERSION
    return _TEXT + _VERSION + hashlib.sha256(b"IAM RA" + public).digest()


def _sign(source: str, passphrase: Passphrase | None, *, digest: str) -> bytes:
    from rolesanywhere_auth._containers import open_contents, read_material
    from rolesanywhere_auth.errors import ConfigurationError
    from rolesanywhere_auth.keys.files import FileSigner, load_key
    from rolesanywhere_auth.keys.stores import open_store, scheme_of
    from rolesanywhere_auth.secrets import reveal

    if scheme_of(source) is not None:
        if digest != "SHA256":
            raise ConfigurationError(
                f"--digest {digest} is for key files: a key store signs as sign-ins need it, which "
                "is with SHA256"
            )
        signer = open_store(source, passphrase=passphrase).signer([])
        return signer.sign(message(signer.public_key()))
    secret = reveal(passphrase)
    contents = open_contents(read_material(source, role="private_key"), passphrase=secret)
    key: Any = load_key(contents, passphrase=secret)
    FileSigner(key, source=contents.material.source)  # refuses kinds that the service does
    return _with_digest(key, digest)


def _with_digest(key: Any, digest: str) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    data, algorithm = message(key.public_key()), getattr(hashes, digest)()
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), algorithm)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(algorithm))
    signature: bytes = key.sign(data)  # ML-DSA has no digest of ours
    return signature

"""The signature: canonical form, algorithms, and what other implementations say of it."""

from __future__ import annotations

import hashlib
import re
import subprocess
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest import mock

import iam_rolesanywhere_session.iam_rolesanywhere_session as peer_module
import pytest
from botocore.awsrequest import AWSRequest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from hypothesis import assume, given
from hypothesis import strategies as st

from rolesanywhere_auth import signing
from rolesanywhere_auth.errors import SigningError, UnsupportedKeyError
from rolesanywhere_auth.identity import Identity
from rolesanywhere_auth.signing import HTTPRequest, sign
from rolesanywhere_auth.testing import CertificateAuthority

WHEN = datetime(2026, 11, 22, 12, 34, 56, tzinfo=timezone.utc)
START = WHEN - timedelta(days=1)
URL = "https://rolesanywhere.eu-west-1.amazonaws.com/sessions"
REQUEST = HTTPRequest(
    method="POST",
    url=f"{URL}?roleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fapp&profileArn=p",
    headers={"Content-Type": "application/json", "User-Agent": "test"},
    body=b'{"durationSeconds":3600}',
)


@dataclass(frozen=True)
class Party:
    """One signer with the openssl-made key file behind it."""

    identity: Identity
    certificate: x509.Certificate
    key_file: Path
    certificate_file: Path
    chain_file: Path


def make_party(folder: Path, *, key_type: Any, root_hash: str = "ec-p256") -> Party:
    """A leaf below an intermediate, on disk and loaded."""
    root = CertificateAuthority(
        "Root", key_type="ec-p256", not_valid_before=START, now=lambda: WHEN
    )
    authority = root.intermediate("Intermediate", not_valid_before=START)
    leaf = authority.issue("app", key_type=key_type, not_valid_before=START)
    files = leaf.write_to(folder)
    identity = Identity.load(
        files.certificate,
        private_key=files.private_key,
        certificate_chain=files.chain,
        now=WHEN,
    )
    return Party(identity, leaf.certificate, files.private_key, files.certificate, files.chain)


def mldsa_available() -> bool:
    """Whether this cryptography knows ML-DSA."""
    from cryptography import __version__

    return int(__version__.split(".")[0]) >= 49


KINDS = ["rsa-2048", "ec-p256", "ec-p384", "ec-p521"]
KINDS += [f"ml-dsa-{n}" for n in (44, 65, 87)] if mldsa_available() else []


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Party]:
    """One party of every kind of key that the service takes."""
    return {
        kind: make_party(tmp_path_factory.mktemp(kind.replace("-", "")), key_type=kind)
        for kind in KINDS
    }


def authorization(request: HTTPRequest) -> tuple[str, str, str, bytes]:
    """Algorithm, credential, signed headers and signature of a signed request."""
    found = re.fullmatch(
        r"(\S+) Credential=(\S+), SignedHeaders=(\S+), Signature=([0-9a-f]+)",
        request.headers["Authorization"],
    )
    assert found
    return found[1], found[2], found[3], bytes.fromhex(found[4])


def expected_string(request: HTTPRequest, *, query: str, path: str = "/sessions") -> str:
    """The string to sign, written down here from the specification, without our code."""
    algorithm, credential, signed, _ = authorization(request)
    lower = {name.lower(): value for name, value in request.headers.items()}
    lines = [request.method, path, query]
    lines += [f"{name}:{lower[name]}" for name in signed.split(";")]
    lines += ["", signed, hashlib.sha256(request.body).hexdigest()]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return "\n".join([algorithm, lower["x-amz-date"], credential.split("/", 1)[1], digest])


def verify(public_key: Any, signature: bytes, data: bytes) -> None:
    """Verify with cryptography, by the kind of key."""
    if isinstance(public_key, rsa.RSAPublicKey):
        public_key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(public_key, ec.EllipticCurvePublicKey):
        public_key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    else:
        public_key.verify(signature, data)


CANONICAL = "profileArn=p&roleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fapp"


def test_everything_is_signed_and_verifies(parties: dict[str, Party]) -> None:
    """Every kind of key signs all headers, and cryptography verifies the specified string."""
    names = {"rsa": signing.RSA_SHA256, "ec": signing.ECDSA_SHA256, "ml": signing.MLDSA}
    for kind, party in parties.items():
        signed = sign(REQUEST, identity=party.identity, region="eu-west-1", when=WHEN)

        algorithm, credential, headers, signature = authorization(signed)
        assert algorithm == names[kind.split("-")[0]]
        assert headers == "content-type;host;x-amz-date;x-amz-x509;x-amz-x509-chain"
        serial = party.certificate.serial_number
        assert credential == f"{serial}/20261122/eu-west-1/rolesanywhere/aws4_request"
        assert signed.headers["Host"] == "rolesanywhere.eu-west-1.amazonaws.com"
        assert signed.headers["X-Amz-Date"] == "20261122T123456Z"
        data = expected_string(signed, query=CANONICAL).encode()
        verify(party.certificate.public_key(), signature, data)


def test_rsa_equals_openssl(parties: dict[str, Party]) -> None:
    """An RSA signature is, byte for byte, that of ``openssl dgst -sha256 -sign``."""
    party = parties["rsa-2048"]
    signed = sign(REQUEST, identity=party.identity, region="eu-west-1", when=WHEN)

    theirs = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", str(party.key_file)],
        input=expected_string(signed, query=CANONICAL).encode(),
        capture_output=True,
        check=True,
    ).stdout
    assert authorization(signed)[3] == theirs


def test_openssl_verifies_ecdsa(parties: dict[str, Party], tmp_path: Path) -> None:
    """openssl verifies the ECDSA signature of every curve, with SHA-256 on each."""
    for kind in ("ec-p256", "ec-p384", "ec-p521"):
        party = parties[kind]
        signed = sign(REQUEST, identity=party.identity, region="eu-west-1", when=WHEN)
        (tmp_path / "signature").write_bytes(authorization(signed)[3])
        public = tmp_path / "public.pem"
        public.write_bytes(
            party.certificate.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

        done = subprocess.run(
            ["openssl", "dgst", "-sha256", "-verify", public, "-signature", tmp_path / "signature"],
            input=expected_string(signed, query=CANONICAL).encode(),
            capture_output=True,
            check=False,
        )
        assert done.stdout == b"Verified OK\n", kind


class FixedTime(datetime):
    """A datetime class whose now() stands still, for the peer's module only."""

    @classmethod
    def now(cls, tz: Any = None) -> FixedTime:
        return cls(2026, 11, 22, 12, 34, 56, tzinfo=tz)


@pytest.mark.parametrize("kind", ["rsa-2048", "ec-p256"])
def test_peer_produces_the_same(parties: dict[str, Party], kind: str) -> None:
    """For one request and time iam-rolesanywhere-session 3.0.0 and we sign the same string.

    With RSA the whole Authorization header is equal; an ECDSA signature is random,
    so there ours must verify over the peer's string.
    """
    party = parties[kind]
    body = b'{"durationSeconds":3600,"profileArn":"p","roleArn":"r","trustAnchorArn":"t"}'
    theirs = AWSRequest(method="POST", url=URL, data=body)
    signer = peer_module.IAMRolesAnywhereSigner(
        certificate=str(party.certificate_file),
        private_key=str(party.key_file),
        certificate_chain=str(party.chain_file),
        region="eu-west-1",
    )
    with mock.patch.object(peer_module, "datetime", FixedTime):
        signer.add_auth(theirs)
    ours = sign(
        HTTPRequest("POST", URL, {"Content-Type": theirs.headers["Content-Type"]}, body),
        identity=party.identity,
        region="eu-west-1",
        when=WHEN,
    )

    assert {k.lower() for k in ours.headers} == {k.lower() for k in theirs.headers}
    for name, value in ours.headers.items():
        if name != "Authorization":
            assert value == theirs.headers[name], name
    if kind == "rsa-2048":
        assert ours.headers["Authorization"] == theirs.headers["Authorization"]
    else:
        prefix = ours.headers["Authorization"].partition("Signature=")[0]
        assert theirs.headers["Authorization"].startswith(prefix)
        del theirs.headers["Authorization"]  # or it would be taken for a header to sign
        string = signer.string_to_sign(theirs, signer.canonical_request(theirs))
        verify(party.certificate.public_key(), authorization(ours)[3], string.encode())


def test_algorithm_is_the_leafs_own(tmp_path: Path) -> None:
    """A leaf signed by its CA with SHA-384 still signs as …-SHA256: its own key decides."""
    authority = CertificateAuthority(
        "Root", key_type="rsa-2048", not_valid_before=START, now=lambda: WHEN
    )
    leaf = authority.issue(
        "app", key_type="ec-p384", hash_algorithm="sha384", not_valid_before=START
    )
    files = leaf.write_to(tmp_path)
    identity = Identity.load(files.certificate, private_key=files.private_key, now=WHEN)

    signed = sign(REQUEST, identity=identity, region="eu-west-1", when=WHEN)

    assert authorization(signed)[0] == "AWS4-X509-ECDSA-SHA256"
    assert "X-Amz-X509-Chain" not in signed.headers
    assert authorization(signed)[2] == "content-type;host;x-amz-date;x-amz-x509"


def test_requests_do_not_show_their_headers(parties: dict[str, Party]) -> None:
    """A signed request could be sent again for some minutes: its repr has no signature."""
    signed = sign(REQUEST, identity=parties["ec-p256"].identity, region="eu-west-1", when=WHEN)

    assert "Signature" not in repr(signed)
    assert "durationSeconds" in repr(signed)


@pytest.mark.parametrize("error", [RuntimeError("hsm pin 1234 wrong"), SigningError("locked")])
def test_signers_errors_are_typed(parties: dict[str, Party], error: Exception) -> None:
    """What a signer raises becomes a SigningError that does not repeat its text; ours passes."""

    class Broken:
        def public_key(self) -> Any:
            return parties["ec-p256"].certificate.public_key()

        def sign(self, data: bytes) -> bytes:
            raise error

    identity = parties["ec-p256"].identity._replace(signer=Broken())
    with pytest.raises(SigningError, match=r"raised RuntimeError|locked") as caught:
        sign(REQUEST, identity=identity, region="eu-west-1", when=WHEN)
    assert "1234" not in str(caught.value)


def test_unsupported_key_has_no_algorithm() -> None:
    """A key type without an algorithm is an error that names the ones with one."""
    with pytest.raises(UnsupportedKeyError, match="ML-DSA"):
        signing.algorithm_for(ed25519.Ed25519PrivateKey.generate().public_key())


def test_naive_time_is_refused() -> None:
    """A time without zone could be anyone's: it is refused."""
    with pytest.raises(ValueError, match="time zone"):
        signing.timestamp(datetime(2026, 11, 22))  # noqa: DTZ001


def test_other_zones_become_utc() -> None:
    """A time of another zone is written in UTC."""
    when = WHEN.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert signing.timestamp(when) == "20261122T123456Z"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ""),
        ("b=2&a=1", "a=1&b=2"),
        ("a=2&a=1", "a=1&a=2"),
        ("a", "a="),
        ("a=x+y%20z", "a=x%20y%20z"),
        ("a=b=c", "a=b%3Dc"),
        ("arn=arn:aws:iam::1:role/x~y", "arn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx~y"),
    ],
)
def test_canonical_query(query: str, expected: str) -> None:
    """Names and values are decoded, encoded as RFC 3986 has it, and sorted."""
    assert signing.canonical_query(query) == expected


def test_canonical_headers_are_collapsed_and_sorted() -> None:
    """Names go to lower case, blanks collapse, User-Agent and its like stay unsigned."""
    headers = {"X-B": "  two   words ", "A": "1", "User-Agent": "u", "X-Amzn-Trace-Id": "t"}

    assert list(signing.canonical_headers(headers).items()) == [("a", "1"), ("x-b", "two words")]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.com:443/sessions", "example.com"),
        ("http://example.com:80/", "example.com"),
        ("https://example.com:80/", "example.com:80"),
        ("http://[::1]:8080/x", "[::1]:8080"),
    ],
)
def test_host_header(url: str, host: str) -> None:
    """The port is named only where it is not the scheme's own."""
    assert signing.host_header(url) == host


def test_path_prefix_is_encoded_twice(parties: dict[str, Party]) -> None:
    """An endpoint with a path prefix signs the path it sends, encoded once more."""
    request = HTTPRequest("POST", "http://127.0.0.1:4566/a%20b/sessions", {}, b"")

    signed = sign(request, identity=parties["ec-p256"].identity, region="eu-west-1", when=WHEN)

    data = expected_string(signed, query="", path="/a%2520b/sessions").encode()
    key = parties["ec-p256"].certificate.public_key()
    verify(key, authorization(signed)[3], data)
    assert signing.canonical_request(HTTPRequest("GET", "http://h")).startswith("GET\n/\n")


HEADERS = ["Content-Type", "Host", "X-Amz-Date", "X-Amz-X509", "X-Amz-X509-Chain"]


@given(
    kind=st.sampled_from(KINDS),
    where=st.sampled_from(["query", "body", *HEADERS]),
    position=st.integers(0, 50_000),
    change=st.characters(min_codepoint=33, max_codepoint=126),
)
def test_any_change_breaks_the_signature(
    parties: dict[str, Party], kind: str, where: str, position: int, change: str
) -> None:
    """Changing one character of any header, the query or the body breaks verification."""
    party = parties[kind]
    signed = sign(REQUEST, identity=party.identity, region="eu-west-1", when=WHEN)
    assert sorted(signed.headers) == sorted(["Authorization", "User-Agent", *HEADERS])
    parts = {"query": CANONICAL, "body": signed.body.decode(), **signed.headers}
    old = parts[where]
    at = position % len(old)
    assume(old[at] != change)
    new = old[:at] + change + old[at + 1 :]
    headers = {**signed.headers, **({where: new} if where in signed.headers else {})}
    changed = HTTPRequest(
        "POST", signed.url, headers, new.encode() if where == "body" else signed.body
    )

    data = expected_string(changed, query=new if where == "query" else CANONICAL)

    with pytest.raises(InvalidSignature):
        verify(party.certificate.public_key(), authorization(signed)[3], data.encode())

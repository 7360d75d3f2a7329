"""The emulator's check of signatures, against signatures that our code did not make.

``data/helper-*.http`` are two requests of AWS's credential helper 1.1.1, captured
and published by Sal Rashid in https://github.com/salrashid123/aws_rolesanywhere_signer
(TESTING.md, commit d15b633bc65f). The body, which the capture leaves out, is the
helper's ``{"durationSeconds":3600}``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

import pytest
from botocore.awsrequest import AWSRequest
from cryptography.hazmat.primitives import serialization
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from iam_rolesanywhere_session.iam_rolesanywhere_session import IAMRolesAnywhereSigner

from rolesanywhere_auth.testing.authority import CertificateAuthority, Leaf
from rolesanywhere_auth.testing.service.signature import verify_signature
from rolesanywhere_auth.testing.service.wire import Refusal, Request

NOW = datetime(2026, 5, 4, 12, 30, 15, tzinfo=timezone.utc)
ARNS = "profileArn=arn%3Aaws%3Ax&roleArn=arn%3Aaws%3Ay"
MESSAGES = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    """One CA for the whole file."""
    return CertificateAuthority()


@pytest.fixture(scope="module")
def leaf(authority: CertificateAuthority) -> Leaf:
    """An ordinary leaf, directly below the root."""
    return authority.issue("app", serial_number=4711)


@pytest.fixture
def signed(leaf: Leaf, tmp_path: Path) -> Callable[..., Request]:
    """A function that makes a request signed by the openssl command line."""
    return OpenSSL(leaf, tmp_path).request


class OpenSSL:
    """Signs as the user guide says, with nothing of ours: string formatting and openssl."""

    def __init__(self, leaf: Leaf, folder: Path) -> None:
        self.leaf = leaf
        self.folder = folder
        self.certificate = encoded(leaf)

    def request(
        self,
        *,
        query: str = "",
        canonical_query: str | None = None,
        body: bytes = b'{"durationSeconds":900}',
        headers: dict[str, str] | None = None,
        unsigned: tuple[str, ...] = (),
        algorithm: str = "AWS4-X509-ECDSA-SHA256",
        digest: Literal["sha256", "sha384"] = "sha256",
        credential: str | None = None,
        scope: str = "20260504/eu-west-1/rolesanywhere/aws4_request",
        date: str = "20260504T123015Z",
        certificate: str | None = None,
    ) -> Request:
        """A POST to /sessions with its signature; every part can be bent."""
        sent = {
            "host": "rolesanywhere.eu-west-1.amazonaws.com",
            "content-type": "application/json",
            "x-amz-date": date,
            "x-amz-x509": self.certificate if certificate is None else certificate,
            **(headers or {}),
        }
        names = sorted(set(sent) - set(unsigned))
        canonical = "POST\n/sessions\n" + (query if canonical_query is None else canonical_query)
        canonical += "\n" + "".join(f"{name}:{sent[name]}\n" for name in names)
        canonical += "\n" + ";".join(names) + "\n" + hashlib.sha256(body).hexdigest()
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"{algorithm}\n{date}\n{scope}\n{hashed}"
        who = f"{self.leaf.serial_number}" if credential is None else credential
        sent["authorization"] = (
            f"{algorithm} Credential={who}/{scope}, SignedHeaders={';'.join(names)}, "
            f"Signature={self.sign(text.encode(), digest)}"
        )
        return Request("POST", "/sessions", query, tuple(sent.items()), body)

    def sign(self, data: bytes, digest: str) -> str:
        key = self.folder / "key.pem"
        key.write_text(self.leaf.private_key_pem)
        command = ["openssl", "dgst", f"-{digest}", "-sign", str(key), "-hex"]
        output = subprocess.run(command, input=data, capture_output=True, check=True).stdout
        return output.decode().split("= ")[1].strip()


def encoded(leaf: Leaf) -> str:
    """The leaf as in X-Amz-X509."""
    der = leaf.certificate.public_bytes(serialization.Encoding.DER)
    return base64.b64encode(der).decode()


def parsed(message: str) -> Request:
    """A Request from the text of an HTTP message."""
    head, _, body = message.partition("\n\n")
    first, *rest = head.split("\n")
    method, target, _ = first.split(" ")
    path, _, query = target.partition("?")
    headers = tuple((name, value) for name, _, value in (line.partition(": ") for line in rest))
    return Request(method, path, query, headers, body.encode())


def with_header(request: Request, name: str, value: str | None) -> Request:
    """The request with one header exchanged, added or (None) removed."""
    kept = tuple(pair for pair in request.headers if pair[0].lower() != name.lower())
    return replace(request, headers=kept if value is None else (*kept, (name, value)))


def refusal(request: Request, **options: Any) -> str:
    """The text with which the request is refused, always a 403."""
    with pytest.raises(Refusal) as raised:
        verify_signature(request, now=options.pop("now", NOW), **options)
    assert (raised.value.status, raised.value.code) == (403, "AccessDeniedException")
    return raised.value.message


# Signatures by others


@pytest.mark.conformance("CreateSession", source="observed", check="signature")
@pytest.mark.parametrize(
    ("name", "serial_number", "second"), [("rsa", 21, 2339), ("ecdsa", 3, 12604)]
)
def test_captured_requests_of_the_credential_helper_verify(
    name: str, serial_number: int, second: int
) -> None:
    """Requests that AWS's own helper signed verify, strictly, and say who, where and when."""
    request = parsed((MESSAGES / f"helper-{name}.http").read_text())
    date = datetime(2024, 7, 6, 11, 0, tzinfo=timezone.utc) + timedelta(seconds=second)
    verified = verify_signature(request, now=date, strict=True)
    assert verified.serial_number == verified.certificate.serial_number == serial_number
    assert verified.algorithm == f"AWS4-X509-{name.upper()}-SHA256"
    assert (verified.region, verified.date) == ("us-east-2", date)
    assert verified.signed_headers == ("content-type", "host", "x-amz-date", "x-amz-x509")
    assert verified.missing_signed_headers == ()
    assert not verified.post_empty_body
    assert not verified.algorithm_mismatch
    assert verified.intermediates == ()


@pytest.mark.conformance(
    "CreateSession",
    source="UG/authentication-sign-process",
    check="signature",
    text="Invalid signature",
)
@pytest.mark.parametrize("name", ["rsa", "ecdsa"])
def test_captured_requests_with_another_body_do_not_verify(name: str) -> None:
    """The body is covered by the helper's signature."""
    request = parsed((MESSAGES / f"helper-{name}.http").read_text())
    date = datetime(2024, 7, 6, 13, 0, tzinfo=timezone.utc)
    request = replace(request, body=request.body.replace(b"3600", b"3601"))
    assert refusal(request, now=date, max_skew=timedelta(hours=3)) == "Invalid signature"


@pytest.mark.conformance("CreateSession", source="helper", check="signature")
@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256", "ec-p384", "ec-p521"])
@pytest.mark.parametrize("depth", [0, 2])
def test_requests_of_awslabs_session_package_verify(
    authority: CertificateAuthority, key_type: Any, depth: int
) -> None:
    """iam-rolesanywhere-session, with its x-amz-json content type and no query, verifies."""
    issuer = authority
    for number in range(depth):
        issuer = issuer.intermediate(f"CA {number}")
    leaf = issuer.issue("app", key_type=key_type)
    signer = IAMRolesAnywhereSigner(
        certificate=leaf.certificate_pem.encode(),
        private_key=leaf.private_key_pem.encode(),
        certificate_chain=leaf.chain_pem.encode() or None,
        region="eu-west-1",
    )
    body = json.dumps({"durationSeconds": 900, "roleArn": "arn:aws:iam::1:role/a"})
    request = AWSRequest(
        method="POST", url="https://rolesanywhere.example:8443/sessions", data=body
    )
    signer.add_auth(request)
    prepared = request.prepare()
    headers = tuple((str(key), str(value)) for key, value in prepared.headers.items())
    verified = verify_signature(
        Request("POST", "/sessions", "", headers, body.encode()), now=datetime.now(timezone.utc)
    )
    assert verified.certificate == leaf.certificate
    assert verified.intermediates == leaf.chain
    assert ("x-amz-x509-chain" in verified.signed_headers) == bool(depth)
    assert not verified.algorithm_mismatch


@pytest.mark.conformance("CreateSession", source="UG/logging-using-cloudtrail", check="signature")
def test_declared_digest_of_awslabs_session_package_is_a_recorded_mismatch(
    leaf: Leaf,
) -> None:
    """A leaf signed with SHA-384 makes that package declare SHA384 over a SHA-256 signature."""
    leaf = CertificateAuthority(key_type="ec-p384").issue("app", hash_algorithm="sha384")
    signer = IAMRolesAnywhereSigner(leaf.certificate_pem.encode(), leaf.private_key_pem.encode())
    request = AWSRequest(method="POST", url="https://rolesanywhere.example/sessions", data="{}")
    signer.add_auth(request)
    headers = tuple((str(key), str(value)) for key, value in request.headers.items())
    sent = Request("POST", "/sessions", "", headers, b"{}")
    verified = verify_signature(sent, now=datetime.now(timezone.utc))
    assert verified.algorithm == "AWS4-X509-ECDSA-SHA384"
    assert verified.algorithm_mismatch
    assert "AWS4-X509-ECDSA-SHA384" in refusal(sent, now=datetime.now(timezone.utc), strict=True)


@pytest.mark.conformance("CreateSession", source="helper", check="signature")
@pytest.mark.parametrize("strength", ["44", "65", "87"])
def test_ml_dsa_signatures_over_the_plain_string_verify(strength: str) -> None:
    """ML-DSA signs the string to sign itself, and any other algorithm name is a mismatch."""
    leaf = ml_dsa_leaf(strength)
    for algorithm, mismatch in (("AWS4-X509-MLDSA", False), ("AWS4-X509-RSA-SHA256", True)):
        request = signed_by_key(leaf, algorithm)
        assert verify_signature(request, now=NOW).algorithm_mismatch is mismatch
        assert refusal(replace(request, body=b"?")) == "Invalid signature"


def ml_dsa_leaf(strength: str) -> Leaf:
    """A leaf with an ML-DSA key; skips where `cryptography` has none."""
    pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    return CertificateAuthority().issue("pq", key_type=f"ml-dsa-{strength}")  # type: ignore[arg-type]


def signed_by_key(leaf: Leaf, algorithm: str) -> Request:
    """A request whose signature is ``private_key.sign(string to sign)``, as for ML-DSA."""

    class ByKey(OpenSSL):
        def sign(self, data: bytes, digest: str) -> str:
            signature: bytes = self.leaf.private_key.sign(data)
            return signature.hex()

    return ByKey(leaf, Path()).request(algorithm=algorithm)


# What may vary


@pytest.mark.conformance("CreateSession", source="helper", check="signature")
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "127.0.0.1:8080"},
        {"content-type": "application/x-amz-json-1.0"},
        {"amz-sdk-invocation-id": "c0ffee", "amz-sdk-request": "attempt=1; max=3"},
        {"content-length": "23"},
    ],
)
def test_further_and_other_headers_may_be_signed(
    signed: Callable[..., Request], headers: dict[str, str]
) -> None:
    """A Host with port, other content types and the SDK's headers are as good as the usual ones."""
    verified = verify_signature(signed(headers=headers), now=NOW, strict=True)
    assert set(headers) <= set(verified.signed_headers)


@pytest.mark.conformance(
    "CreateSession", source="UG/authentication-sign-process", check="signature"
)
def test_spaces_in_a_signed_header_count_once(signed: Callable[..., Request]) -> None:
    """Header values are trimmed and runs of spaces squeezed before they are hashed."""
    request = signed(headers={"x-note": "a b"})
    verify_signature(with_header(request, "X-Note", "  a   b "), now=NOW)


@pytest.mark.conformance(
    "CreateSession", source="UG/authentication-sign-process", check="signature"
)
@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        ("b=2&a=1", "a=1&b=2"),
        ("a=x%2Fy", "a=x%2Fy"),
        ("a=x/y:z", "a=x%2Fy%3Az"),
        ("a=x%20y", "a=x%20y"),
        ("a=x+y", "a=x%20y"),
        ("a=x%2By", "a=x%2By"),
        ("a", "a="),
        ("a=2&a=1", "a=1&a=2"),
        ("a=~-._", "a=~-._"),
    ],
)
def test_the_query_is_made_canonical(
    signed: Callable[..., Request], sent: str, canonical: str
) -> None:
    """Parameters are sorted and percent-encoded as RFC 3986 says, however they came."""
    verify_signature(signed(query=sent, canonical_query=canonical), now=NOW)


def test_a_chain_is_read_from_the_leaf_upwards(tmp_path: Path) -> None:
    """The certificates of X-Amz-X509-Chain are given back in their order."""
    leaf = CertificateAuthority().intermediate("A").intermediate("B").issue("app")
    request = OpenSSL(leaf, tmp_path).request(headers={"x-amz-x509-chain": chain_header(leaf)})
    assert verify_signature(request, now=NOW).intermediates == leaf.chain


def chain_header(leaf: Leaf) -> str:
    """The chain as in X-Amz-X509-Chain."""
    ders = (c.public_bytes(serialization.Encoding.DER) for c in leaf.chain)
    return ",".join(base64.b64encode(der).decode() for der in ders)


# Deviations that AWS tolerates


@pytest.mark.conformance(
    "CreateSession", source="UG/logging-using-cloudtrail + choice", check="signature"
)
@pytest.mark.parametrize("name", ["host", "x-amz-date", "content-type"])
def test_an_unsigned_header_is_recorded_and_refused_strictly(
    signed: Callable[..., Request], name: str
) -> None:
    """Host, date and content type may be unsigned unless the check is strict."""
    request = signed(unsigned=(name,))
    assert verify_signature(request, now=NOW).missing_signed_headers == (name,)
    assert name in refusal(request, strict=True)


@pytest.mark.conformance("CreateSession", source="UG/logging-using-cloudtrail", check="signature")
def test_an_absent_content_type_is_not_missed(signed: Callable[..., Request]) -> None:
    """Content-Type need only be signed if it is there."""
    request = with_header(signed(unsigned=("content-type",)), "Content-Type", None)
    assert verify_signature(request, now=NOW, strict=True).missing_signed_headers == ()


@pytest.mark.conformance(
    "CreateSession", source="UG/logging-using-cloudtrail + choice", check="signature"
)
def test_everything_in_the_query_is_recorded_and_refused_strictly(
    signed: Callable[..., Request],
) -> None:
    """A POST with a query and no body is CloudTrail's postEmptyBody."""
    request = signed(query=ARNS, body=b"")
    assert verify_signature(request, now=NOW).post_empty_body
    assert "must have a body" in refusal(request, strict=True)
    assert not verify_signature(signed(body=b""), now=NOW).post_empty_body


@pytest.mark.conformance("CreateSession", source="UG/logging-using-cloudtrail", check="signature")
@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [
        ("AWS4-X509-RSA-SHA256", "sha256"),
        ("AWS4-X509-ECDSA-SHA384", "sha384"),
        ("AWS4-X509-ECDSA-SHA512", "sha256"),
        ("AWS4-X509-MLDSA", "sha256"),
    ],
)
def test_an_algorithm_that_does_not_fit_is_recorded(
    signed: Callable[..., Request], algorithm: str, digest: str
) -> None:
    """Another key type or digest in the algorithm's name is tolerated and recorded."""
    request = signed(algorithm=algorithm, digest=digest)
    assert verify_signature(request, now=NOW).algorithm_mismatch
    assert algorithm in refusal(request, strict=True)


# Refusals


@pytest.mark.conformance(
    "CreateSession", source="observed", check="signature", text="Invalid signature"
)
def test_a_signature_by_another_key_is_invalid(
    authority: CertificateAuthority, signed: Callable[..., Request]
) -> None:
    """The signature must be by the key of the certificate that is sent."""
    other = authority.issue("app", serial_number=4711)
    assert refusal(signed(certificate=encoded(other))) == "Invalid signature"


@pytest.mark.conformance(
    "CreateSession", source="UG/authentication-sign-process", check="signature"
)
def test_an_unlisted_digest_is_an_invalid_signature(signed: Callable[..., Request]) -> None:
    """A SHA-384 signature under a SHA-256 name does not verify."""
    assert refusal(signed(digest="sha384")) == "Invalid signature"
    assert refusal(signed(digest="sha384", algorithm="AWS4-X509-ECDSA-SHA512")) == (
        "Invalid signature"
    )


@pytest.mark.conformance(
    "CreateSession: Authorization, X-Amz-X509 and X-Amz-Date must be there; the text is ours.",
    source="UG/authentication-sign-process + choice",
    check="signature",
    text="Missing {header} header",
)
@pytest.mark.parametrize("name", ["Authorization", "X-Amz-X509", "X-Amz-Date"])
def test_a_missing_header_is_named(signed: Callable[..., Request], name: str) -> None:
    """Without one of these there is nothing to check."""
    assert refusal(with_header(signed(), name, None)) == f"Missing {name} header"


@pytest.mark.conformance(
    "CreateSession: Each part of the Authorization header is checked on its own; the texts are "
    "ours.",
    source="UG/authentication-sign-process + choice",
    check="signature",
)
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("AWS4-X509-ECDSA-SHA256 ", "AWS4-HMAC-SHA256 ", "Unsupported signature algorithm"),
        ("AWS4-X509-ECDSA-SHA256 ", "", "Unsupported signature algorithm"),
        ("SignedHeaders=", "Headers=", "Credential, SignedHeaders and Signature"),
        ("SignedHeaders=", "Credential=x, SignedHeaders=", "SignedHeaders and Signature, once"),
        ("SignedHeaders=content-type;", "SignedHeaders=", "Invalid signature"),
        ("content-type;host", "host;content-type", "lower-case, sorted"),
        ("content-type;host", "content-type;host;host", "lower-case, sorted"),
        ("content-type;host", "Content-Type;host", "lower-case, sorted"),
        ("SignedHeaders=", "SignedHeaders=;", "lower-case, sorted"),
        ("content-type;host", "content-type;foo;host", "no such header"),
        ("/aws4_request", "", "Credential must be serial/date/region"),
        ("/aws4_request", "/aws4_request/x", "Credential must be serial/date/region"),
        ("/aws4_request", "/aws5_request", "must be scoped to"),
        ("/rolesanywhere/", "/sts/", "must be scoped to"),
        ("/eu-west-1/", "//", "must be scoped to"),
        ("/20260504/", "/20260503/", "date in Credential"),
        ("Credential=4711/", "Credential=04711/", "serial number"),
        ("Credential=4711/", "Credential=1267/", "serial number"),
        ("Signature=", "Signature=x", "hexadecimal"),
        ("Signature=", "Signature=A0", "hexadecimal"),
        ("Signature=30", "Signature=31", "Invalid signature"),
        ("/eu-west-1/", "/eu-west-2/", "Invalid signature"),
    ],
)
def test_a_malformed_authorization_says_what_is_wrong(
    signed: Callable[..., Request], old: str, new: str, words: str
) -> None:
    """Each part of the Authorization header is checked on its own."""
    request = signed()
    value = request.header("authorization")
    assert value is not None
    assert old in value
    assert words in refusal(with_header(request, "Authorization", value.replace(old, new, 1)))


@pytest.mark.conformance(
    "CreateSession",
    source="UG/authentication + choice",
    check="signature",
    text="{header} is not a base64-encoded DER certificate",
)
@pytest.mark.parametrize("value", ["@@", "aGVsbG8=", "aGVs bG8=", "MAA", "-----BEGIN"])
def test_a_certificate_that_cannot_be_read_is_refused(
    signed: Callable[..., Request], value: str
) -> None:
    """X-Amz-X509 must be one line of base64 over DER."""
    message = "is not a base64-encoded DER certificate"
    assert refusal(signed(certificate=value)) == f"X-Amz-X509 {message}"
    chain = signed(headers={"x-amz-x509-chain": value})
    assert refusal(chain) == f"X-Amz-X509-Chain {message}"


@pytest.mark.conformance("CreateSession", source="UG/authentication + choice", check="signature")
def test_more_than_five_intermediates_are_refused(tmp_path: Path) -> None:
    """The chain may have five certificates (user guide, authentication), not six."""
    issuer = CertificateAuthority()
    for number in range(5):
        issuer = issuer.intermediate(f"CA {number}")
    leaf = issuer.issue("app")
    header = chain_header(leaf)
    five = OpenSSL(leaf, tmp_path).request(headers={"x-amz-x509-chain": header})
    assert len(verify_signature(five, now=NOW).intermediates) == 5
    six = OpenSSL(leaf, tmp_path).request(headers={"x-amz-x509-chain": f"{header},{header[:8]}"})
    assert "has 6 certificates; at most 5" in refusal(six)


@pytest.mark.conformance(
    "CreateSession: X-Amz-X509 and X-Amz-X509-Chain must be signed: who could exchange the "
    "certificates could lend a signature to another name.",
    source="UG/authentication",
    check="signature",
)
@pytest.mark.parametrize("name", ["X-Amz-X509", "X-Amz-X509-Chain"])
def test_certificates_must_be_signed(tmp_path: Path, name: str) -> None:
    """Who could exchange the certificates could lend a signature to another name."""
    leaf = CertificateAuthority().intermediate().issue("app")
    headers = {"x-amz-x509-chain": chain_header(leaf)}
    request = OpenSSL(leaf, tmp_path).request(headers=headers, unsigned=(name.lower(),))
    assert refusal(request) == f"{name} must be one of the SignedHeaders"


@pytest.mark.conformance(
    "CreateSession",
    source="UG/authentication-sign-process + choice",
    check="signature",
    text="X-Amz-Date must be YYYYMMDD'T'HHMMSS'Z'",
)
@pytest.mark.parametrize("value", ["2026-05-04T12:30:15Z", "20261304T123015Z", "20260504T123015"])
def test_a_malformed_date_is_refused(signed: Callable[..., Request], value: str) -> None:
    """X-Amz-Date has one form, and must be a day that exists."""
    assert "X-Amz-Date must be" in refusal(signed(date=value))


@pytest.mark.conformance("CreateSession", source="choice", check="signature")
@pytest.mark.parametrize("seconds", [-301, -300, 0, 300, 301])
def test_the_date_may_be_five_minutes_off(signed: Callable[..., Request], seconds: int) -> None:
    """Up to five minutes, either way, are forgiven."""
    now = NOW + timedelta(seconds=seconds)
    if abs(seconds) <= 300:
        assert verify_signature(signed(), now=now).date == NOW
    else:
        message = refusal(signed(), now=now)
        assert "2026-05-04T12:30:15Z" in message
        assert f"{now:%H:%M:%SZ}" in message


@pytest.mark.conformance("CreateSession", source="UG/authentication + choice", check="signature")
@pytest.mark.parametrize("key_type", ["ed25519", "ec-secp256k1"])
def test_keys_that_the_service_does_not_take_are_refused(
    authority: CertificateAuthority, signed: Callable[..., Request], key_type: Any
) -> None:
    """Ed25519 and the curves beyond NIST's are no keys for AWS4-X509."""
    other = authority.issue("app", key_type=key_type, serial_number=4711)
    assert "the key is not RSA, EC" in refusal(signed(certificate=encoded(other)))


@pytest.mark.conformance("CreateSession", source="choice", check="signature")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a003020102", "a003020105"),
        ("0603551d0e", "0603551d23"),
        ("0c03617070", "0003617070"),
        ("0c03617070", "0303007070"),
    ],
    ids=["version 6", "two extensions of one kind", "no string type", "bits as a name"],
)
def test_a_malformed_certificate_is_refused(
    leaf: Leaf, signed: Callable[..., Request], old: str, new: str
) -> None:
    """DER that `cryptography` reads late, or not at all, gives the same refusal."""
    der = leaf.certificate.public_bytes(serialization.Encoding.DER)
    assert der.count(bytes.fromhex(old)) == 1
    odd = der.replace(bytes.fromhex(old), bytes.fromhex(new))
    message = refusal(signed(certificate=base64.b64encode(odd).decode()))
    assert message == "X-Amz-X509 is not a base64-encoded DER certificate"


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@settings(deadline=None, max_examples=150)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_certificate_with_a_wrong_byte_is_refused(
    leaf: Leaf, sample: Request, place: int, value: int
) -> None:
    """Whatever byte of X-Amz-X509 is exchanged, the request is refused."""
    der = bytearray(leaf.certificate.public_bytes(serialization.Encoding.DER))
    place %= len(der)
    assume(der[place] != value)
    der[place] = value
    refusal(with_header(sample, "X-Amz-X509", base64.b64encode(der).decode()))


# Nothing that is signed can be changed


@pytest.fixture(scope="module")
def sample(leaf: Leaf, tmp_path_factory: pytest.TempPathFactory) -> Request:
    """A signed request with everything: query, body, an additional header."""
    folder = tmp_path_factory.mktemp("sample")
    return OpenSSL(leaf, folder).request(query=ARNS, headers={"x-note": "a note"})


@pytest.mark.conformance(
    "CreateSession", source="UG/authentication-sign-process", check="signature"
)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_change_of_what_is_signed_breaks_the_signature(
    sample: Request, data: st.DataObject
) -> None:
    """Method, path, query, headers and body: change a character anywhere, and it is refused."""
    part = data.draw(st.sampled_from(["body", "query", "path", "method", "header"]))
    printable = st.characters(min_codepoint=33, max_codepoint=126)
    letter = data.draw(printable)
    if part == "header":
        name, value = data.draw(st.sampled_from(sample.headers))
        changed = with_header(sample, name, exchanged(data, value, letter))
    elif part == "body":
        body = exchanged(data, sample.body.decode(), letter).encode()
        changed = replace(sample, body=body)
    else:
        changed = replace(sample, **{part: exchanged(data, getattr(sample, part), letter)})
    if part == "query" and same_parameters(changed.query, sample.query):
        return
    if changed == replace(sample, headers=changed.headers) and same_headers(changed, sample):
        return
    refusal(changed)


def exchanged(data: st.DataObject, text: str, letter: str) -> str:
    """*text* with one character exchanged for *letter*."""
    place = data.draw(st.integers(0, len(text) - 1))
    return text[:place] + letter + text[place + 1 :]


def same_parameters(one: str, other: str) -> bool:
    """Whether two queries say the same in another spelling."""
    from urllib.parse import parse_qsl

    return sorted(parse_qsl(one, keep_blank_values=True)) == sorted(
        parse_qsl(other, keep_blank_values=True)
    )


def same_headers(one: Request, other: Request) -> bool:
    """Whether the same headers are sent, in any order."""
    return sorted(one.headers) == sorted(other.headers)


@settings(deadline=None, max_examples=30)
@given(value=st.text(max_size=40))
def test_any_authorization_is_refused_and_never_crashes(sample: Request, value: str) -> None:
    """Whatever stands in Authorization, the answer is a refusal."""
    refusal(with_header(sample, "Authorization", value))
    refusal(with_header(sample, "Authorization", f"AWS4-X509-RSA-SHA256 {value}"))
    refusal(with_header(sample, "X-Amz-X509", value))
    refusal(with_header(sample, "X-Amz-Date", value))

"""Whatever comes in, the service answers as it should, and no forged request gets a session.

What goes in is made by hypothesis, from the service model, from real certificates and lists, and
from a request that is signed by `cryptography` alone. ``scripts/test`` runs a few hundred, the same
each time; ``scripts/test-extended`` many thousands.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolesanywhere_auth.testing import CertificateAuthority, Emulator
from rolesanywhere_auth.testing._setup import Setup
from rolesanywhere_auth.testing.service.faults import RawAnswer
from rolesanywhere_auth.testing.service.model import Codec
from rolesanywhere_auth.testing.service.wire import Request

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=timezone.utc)
MODEL = Codec().model
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class World:
    """An emulator with one of everything, and the requests that it takes."""

    emulator: Emulator
    spare: Emulator
    """For calls that make and break everything."""
    authority: CertificateAuthority
    setup: Setup

    def handle(self, request: Request) -> RawAnswer:
        """The core's answer, which must be one."""
        answer = self.emulator.service.handle(request)
        sound(answer.status, dict(answer.headers), answer.body)
        return answer

    def signed(
        self,
        *,
        query: tuple[tuple[str, str], ...] | None = None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Request:
        """A request to /sessions with a good signature, by the specification alone."""
        leaf = self.setup.leaf
        pairs = self.arns() if query is None else query
        encoded = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in pairs)
        text = "&".join(f"{key}={value}" for key, value in encoded)
        sent = {
            "content-type": "application/json",
            "host": urlsplit(self.emulator.endpoint_url).netloc,
            "x-amz-date": NOW.strftime("%Y%m%dT%H%M%SZ"),
            "x-amz-x509": base64.b64encode(der(leaf.certificate)).decode(),
            **(headers or {}),
        }
        body = b'{"durationSeconds":900}' if body is None else body
        names = sorted(sent)
        lines = ["POST", "/sessions", text, *[f"{name}:{sent[name]}" for name in names], ""]
        lines += [";".join(names), hashlib.sha256(body).hexdigest()]
        hashed = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        scope = f"{NOW:%Y%m%d}/eu-west-1/rolesanywhere/aws4_request"
        algorithm = "AWS4-X509-ECDSA-SHA256"
        to_sign = f"{algorithm}\n{sent['x-amz-date']}\n{scope}\n{hashed}".encode()
        assert isinstance(leaf.private_key, ec.EllipticCurvePrivateKey)
        signature = leaf.private_key.sign(to_sign, ec.ECDSA(hashes.SHA256()))
        sent["authorization"] = (
            f"{algorithm} Credential={leaf.certificate.serial_number}/{scope}, "
            f"SignedHeaders={';'.join(names)}, Signature={signature.hex()}"
        )
        return Request("POST", "/sessions", text, tuple(sent.items()), body)

    def arns(self) -> tuple[tuple[str, str], ...]:
        """The parameters that a call needs."""
        setup = self.setup
        return (
            ("profileArn", setup.profile_arn),
            ("roleArn", setup.role_arn),
            ("trustAnchorArn", setup.trust_anchor_arn),
        )


def sound(status: int, headers: dict[str, str], body: bytes) -> None:
    """An answer of the service: JSON, and no error but those that are meant."""
    found = {name.lower(): value for name, value in headers.items()}
    assert isinstance(json.loads(body), dict)
    if status >= 400:
        assert found["x-amzn-errortype"]
    if status >= 500:
        # What the emulator does not know, said by name; never "The emulator failed".
        assert (status, found["x-amzn-errortype"]) == (501, "NotImplementedException"), body


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One for the whole file."""
    authority = CertificateAuthority(now=lambda: NOW)
    with Emulator(clock=lambda: NOW) as emulator, Emulator(clock=lambda: NOW) as spare:
        intermediate = authority.intermediate()
        setup = emulator.set_up(authority=intermediate, anchor=authority)
        yield World(emulator, spare, intermediate, setup)


# The control plane


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
SURROGATES = st.text(st.characters(codec=None), max_size=6)
NAMES = (
    "{anchor}",
    "{anchor_id}",
    "{profile}",
    "{profile_id}",
    "{crl_id}",
    "{pem}",
    "{crl_data}",
    "arn:aws:iam::111122223333:role/app",
    "arn:aws:rolesanywhere:eu-west-1:111122223333:alias/profile/x",
    "00000000-0000-0000-0000-000000000000",
    "CERTIFICATE_BUNDLE",
    "AWS_ACM_PCA",
    "aws:x",
    "Name/CN",
    "*",
    '{"Version":"2012-10-17","Statement":[]}',
)
"""What means something; in braces what is made anew for each example."""


def value_of(shape: Any) -> st.SearchStrategy[Any]:
    """Values that mostly fit *shape*."""
    kind = shape.type_name
    if kind == "structure":
        optional = {name: value_of(member) for name, member in shape.members.items()}
        return st.fixed_dictionaries({}, optional=optional) | st.fixed_dictionaries(optional)
    if kind == "list":
        return st.lists(value_of(shape.member), max_size=3)
    if kind == "boolean":
        good: st.SearchStrategy[Any] = st.booleans()
    elif kind == "integer":
        good = st.sampled_from([0, 1, 30, 360, 900, 3600, 43200])
    else:
        words = st.sampled_from([*shape.metadata.get("enum", ()), *NAMES, "a", "b"])
        good = words | st.text(max_size=6) | SURROGATES
    return st.one_of(good, good, good, ANYTHING)


SHAPES = {name: value_of(MODEL.operation_model(name).input_shape) for name in MODEL.operation_names}


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, str, str, bytes]:
    """Method, raw path, raw query and body of a call of the control plane, or nearly of one."""
    name = draw(st.sampled_from(sorted(SHAPES)))
    operation = MODEL.operation_model(name)
    path = operation.http["requestUri"]
    for member in re.findall(r"{(\w+)}", path):
        value = draw(st.sampled_from([*NAMES[:5], *NAMES[:5], "x", "%ff", "%00", "..", "%2e%2f"]))
        path = path.replace(f"{{{member}}}", value)
    pairs = draw(st.lists(st.tuples(st.sampled_from(QUERY), st.text(max_size=6)), max_size=3))
    query = "&".join(
        f"{key}={draw(st.sampled_from([value, quote(value)]))}" for key, value in pairs
    )
    body = json.dumps(draw(SHAPES[name])).encode()
    if draw(st.integers(0, 9)) == 0:
        body = draw(st.binary(max_size=20))
    return operation.http["method"], path, query, body


QUERY = ("pageSize", "nextToken", "resourceArn", "certificateField", "specifiers", "x")


def administer(world: World, made: list[tuple[str, str, str, bytes]]) -> None:
    """Any calls in a row are answered, and leave a service that works."""
    world = replace(world, emulator=world.spare)
    emulator, shelter = world.emulator, world.authority
    emulator.clear()
    anchor = emulator.create_trust_anchor(shelter)
    role = emulator.create_role("app")
    create = json.dumps({"name": "p", "roleArns": [role], "enabled": True}).encode()
    answer = json.loads(world.handle(Request("POST", "/profiles", "", (), create)).body)
    crl = base64.b64encode(shelter.crl_pem().encode()).decode()
    importing = json.dumps({"name": "c", "crlData": crl, "trustAnchorArn": anchor}).encode()
    imported = json.loads(world.handle(Request("POST", "/crls", "", (), importing)).body)
    meaning = {
        "{anchor}": anchor,
        "{anchor_id}": anchor.rpartition("/")[2],
        "{profile}": answer["profile"]["profileArn"],
        "{profile_id}": answer["profile"]["profileId"],
        "{crl_id}": imported["crl"]["crlId"],
        "{pem}": shelter.certificate_pem.replace("\n", "\\n"),
        "{crl_data}": crl,
    }
    for method, path, query, body in made:
        for word, value in meaning.items():
            path = path.replace(word, quote(value, safe=""))  # noqa: PLW2901
            body = body.replace(word.encode(), value.encode())  # noqa: PLW2901
        world.handle(Request(method, path, query, (), body))
    for path in ("/trustanchors", "/profiles", "/crls", "/subjects"):
        assert world.handle(Request("GET", path, "", (), b"")).status == 200
    for event in emulator.cloudtrail():
        json.dumps(event)


# CreateSession


HEADERS = ("Authorization", "X-Amz-X509", "X-Amz-X509-Chain", "X-Amz-Date", "Host", "Content-Type")
PARAMETERS = (
    "trustAnchorArn",
    "profileArn",
    "roleArn",
    "durationSeconds",
    "roleSessionName",
    "instanceProperties",
)


@st.composite
def parameters(draw: st.DrawFn) -> tuple[list[tuple[str, str]], bytes]:
    """A query and a body with parameters of every kind."""
    values = st.sampled_from(["900", "3600", "ab", "{anchor}", "{profile}", "{role}"])
    name = st.sampled_from(PARAMETERS)
    query = []
    if draw(st.booleans()):
        query = draw(st.lists(st.tuples(name, values | st.text(max_size=8)), max_size=2))
    good = values | st.sampled_from([900, 3600]) | ANYTHING | SURROGATES
    right = {"trustAnchorArn": "{anchor}", "profileArn": "{profile}", "roleArn": "{role}"}
    # Mostly beside the ARNs, or hardly a call would come as far as the signature.
    some = name if draw(st.integers(0, 3)) == 0 else st.sampled_from(PARAMETERS[3:])
    body = {**right, **draw(st.dictionaries(some, good, max_size=2))}
    junk = draw(st.integers(0, 5)) == 0
    return query, draw(st.binary(max_size=30)) if junk else json.dumps(body).encode()


def ask(world: World, made: tuple[list[tuple[str, str]], bytes]) -> None:
    """A caller with a good key may ask for anything."""
    query, body = made
    meaning = dict(
        zip(("{profile}", "{role}", "{anchor}"), dict(world.arns()).values(), strict=True)
    )
    asked = tuple((key, meaning.get(value, value)) for key, value in query)
    for word, value in meaning.items():
        body = body.replace(word.encode(), value.encode())
    try:
        request = world.signed(query=asked, body=body, headers=chain(world))
    except UnicodeEncodeError:  # half a character has no place in a URL
        return
    world.handle(request)


def present(world: World, made: tuple[str, str]) -> None:
    """Any text may stand in a header, and no other signs in."""
    name, text = made
    request = world.signed(headers=chain(world))
    kept = tuple(pair for pair in request.headers if pair[0] != name.lower())
    changed = replace(request, headers=(*kept, (name.lower(), text)))
    admitted(world, changed, request)


# Certificates and lists


@dataclass(frozen=True)
class Edit:
    """One change of some bytes: at *place* drop so many, put *new*."""

    place: int
    dropped: int
    new: bytes

    def of(self, data: bytes) -> bytes:
        place = self.place % (len(data) + 1)
        return data[:place] + self.new + data[place + self.dropped :]


EDITS = st.lists(
    st.builds(Edit, st.integers(0, 2000), st.integers(0, 3), st.binary(max_size=3))
    | st.builds(Edit, st.integers(0, 2000), st.just(1), st.binary(min_size=1, max_size=1)),
    min_size=1,
    max_size=3,
)

# Around the certificates, which stand in the middle of a request.
GARBLES = st.lists(
    st.builds(
        Edit,
        st.integers(0, 450) | st.integers(-400, -1),
        st.integers(0, 2),
        st.sampled_from([b"", b" ", b"\r\n", b",", b"0", b"A", b"%", b"&"]) | st.binary(max_size=2),
    ),
    min_size=1,
    max_size=2,
)


def edited(data: bytes, edits: list[Edit]) -> bytes:
    for edit in edits:
        data = edit.of(data)
    return data


def lend(world: World, made: tuple[str, list[Edit]]) -> None:
    """Nobody signs in with a certificate that the CA did not make, though the key signs for it."""
    which, edits = made
    leaf = world.setup.leaf
    real = leaf.certificate if which == "leaf" else leaf.chain[0]
    odd = edited(der(real), edits)
    text = base64.b64encode(odd).decode()
    headers = {"x-amz-x509": text} if which == "leaf" else {"x-amz-x509-chain": text}
    if which == "leaf":
        headers["x-amz-x509-chain"] = base64.b64encode(der(leaf.chain[0])).decode()
    answer = world.handle(world.signed(headers=headers))
    if answer.status == 201:
        # Only the CA's signature may be another one, and then of the same content: of an ECDSA
        # signature (r, s) everybody can make (r, n - s).
        taken = x509.load_der_x509_certificate(odd)
        assert taken.tbs_certificate_bytes == real.tbs_certificate_bytes
        assert same_signature(taken.signature, real.signature)


def same_signature(one: bytes, other: bytes) -> bool:
    (r, s), (q, t) = utils.decode_dss_signature(one), utils.decode_dss_signature(other)
    return r == q and s in (t, P256_ORDER - t)


def bring(world: World, made: tuple[str, list[Edit], bool]) -> None:
    """CA certificates and revocation lists may be anything."""
    which, edits, pem = made
    authority = world.authority
    if which == "anchor":
        data = edited(der(authority.certificate), edits)
        text = armoured("CERTIFICATE", data) if pem else data.decode("latin-1")
        source = {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": text}}
        body = json.dumps({"name": "a", "source": source, "enabled": True})
        answer = world.handle(Request("POST", "/trustanchors", "", (), body.encode()))
        made_id = json.loads(answer.body).get("trustAnchor", {}).get("trustAnchorId")
        path = f"/trustanchor/{made_id}"
    else:
        real = x509.load_pem_x509_crl(authority.crl_pem().encode())
        data = edited(real.public_bytes(Encoding.DER), edits)
        data = armoured("X509 CRL", data).encode() if pem else data
        body = json.dumps(
            {
                "name": "c",
                "crlData": base64.b64encode(data).decode(),
                "trustAnchorArn": world.setup.trust_anchor_arn,
                "enabled": True,
            }
        )
        answer = world.handle(Request("POST", "/crls", "", (), body.encode()))
        made_id = json.loads(answer.body).get("crl", {}).get("crlId")
        path = f"/crl/{made_id}"
    world.handle(world.signed(headers=chain(world)))
    if made_id:  # the quota is two
        assert world.handle(Request("DELETE", path, "", (), b"")).status == 200


def armoured(what: str, data: bytes) -> str:
    text = base64.b64encode(data).decode()
    lines = [text[place : place + 64] for place in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {what}-----", *lines, f"-----END {what}-----", ""])


def chain(world: World) -> dict[str, str]:
    """The header that the leaf needs."""
    return {"x-amz-x509-chain": base64.b64encode(der(world.setup.leaf.chain[0])).decode()}


# Forgeries


def admitted(world: World, changed: Request, original: Request) -> None:
    """A changed request gets no session, unless it says the same by the specification."""
    answer = world.handle(changed)
    if answer.status == 201:
        assert meaning_of(changed) == meaning_of(original)


def meaning_of(request: Request) -> Any:
    """What a signed request says, by SigV4 and UG/authentication-sign-process.

    These changes change nothing:

    - parameters of the query in another order, in another percent-encoding (``+`` for a space
      too), ``a`` for ``a=``, and empty parts between two ``&``;
    - headers in another order or with names in another case; spaces around their values, and
      several for one within;
    - headers that are not signed, but ``X-Amz-X509…``;
    - in Authorization, which is not signed, the order of the three parts and spaces around them;
    - of an ECDSA signature (r, s) the other one, (r, n - s).
    """
    headers: dict[str, str] = {}
    for name, value in request.headers:
        text = " ".join(value.split())
        lower = name.lower()
        headers[lower] = f"{headers[lower]},{text}" if lower in headers else text
    algorithm, _, rest = headers.pop("authorization").partition(" ")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    r, s = utils.decode_dss_signature(bytes.fromhex(parts.pop("Signature")))
    signed = parts["SignedHeaders"].split(";")
    return (
        request.method,
        request.path,
        sorted(parse_qsl(request.query, keep_blank_values=True)),
        {name: headers[name] for name in signed},
        [name for name in headers if name.startswith("x-amz-x509") and name not in signed],
        request.body,
        algorithm,
        parts,
        (r, min(s, P256_ORDER - s)),
    )


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """Some changes of a request."""
    text_edits = st.builds(
        Edit,
        st.integers(0, 3000),
        st.integers(0, 2),
        st.sampled_from(list(b" =&%+;,/aA0\t")).map(lambda code: bytes([code]))
        | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=2).map(str.encode),
    )
    header = st.sampled_from([name.lower() for name in HEADERS])
    one = st.one_of(
        st.tuples(st.sampled_from(["method", "path", "query", "body"]), text_edits),
        st.tuples(st.just("header"), st.tuples(header, text_edits)),
        st.tuples(st.just("name"), header),
        st.tuples(st.just("drop"), header),
        st.tuples(st.just("double"), header),
        st.tuples(st.just("add"), st.tuples(st.text(max_size=6), st.text(max_size=6))),
        st.tuples(st.sampled_from(["shuffle", "reorder query", "other s"]), st.integers(1, 5)),
    )
    return draw(st.lists(one, min_size=1, max_size=2))


def forge(world: World, made: list[tuple[str, Any]]) -> None:
    """Whatever is changed after signing, there is no session, or it says the same."""
    original = request = world.signed(headers={**chain(world), "x-note": "a b"})
    for what, how in made:
        request = change(request, what, how)
    admitted(world, request, original)


def change(request: Request, what: str, how: Any) -> Request:
    headers = list(request.headers)
    if what == "body":
        return replace(request, body=how.of(request.body))
    if what in ("method", "path", "query"):
        return replace(request, **{what: how.of(getattr(request, what).encode()).decode()})
    if what == "header":
        name, edit = how
        headers = [(n, edit.of(v.encode()).decode() if n == name else v) for n, v in headers]
    elif what == "name":
        headers = [(n.upper() if n == how else n, v) for n, v in headers]
    elif what == "drop":
        headers = [pair for pair in headers if pair[0] != how]
    elif what == "double":
        headers += [pair for pair in headers if pair[0] == how]
    elif what == "add":
        headers.append(how)
    elif what == "shuffle":
        headers = headers[how:] + headers[:how]
    elif what == "reorder query":
        parts = request.query.split("&")
        return replace(request, query="&".join(parts[how % 3 :] + parts[: how % 3]))
    else:
        headers = [(n, other_signature(v) if n == "authorization" else v) for n, v in headers]
    return replace(request, headers=tuple(headers))


def other_signature(authorization: str) -> str:
    """The same Authorization with the other signature that verifies."""
    head, _, text = authorization.rpartition("=")
    try:
        r, s = utils.decode_dss_signature(bytes.fromhex(text))
    except ValueError:  # another change was here before
        return authorization
    return f"{head}={utils.encode_dss_signature(r, P256_ORDER - s).hex()}"


# Bytes on the socket


def exchange(world: World, data: bytes) -> bytes:
    """What the server says to *data*, until it hangs up; it may not hang."""
    url = urlsplit(world.emulator.endpoint_url)
    with socket.create_connection(
        (str(url.hostname), int(url.port or 0)), timeout=10
    ) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            found = b""
            while part := connection.recv(65536):
                found += part
        except (ConnectionResetError, BrokenPipeError):
            return b""
    return found


def spoken(request: Request) -> bytes:
    """The request as HTTP."""
    lines = [f"POST /sessions?{request.query} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    lines += [f"content-length: {len(request.body)}", "connection: close", "", ""]
    return "\r\n".join(lines).encode() + request.body


LINES = st.lists(
    st.sampled_from(
        [
            b"GET / HTTP/1.1",
            b"POST /sessions HTTP/1.1",
            b"PUT /profiles/%2e HTTP/1.0",
            b"GET /crls?pageSize=1 HTTP/2.0",
            b"BREW /pot HTTP/1.1",
            b"Host: x",
            b"Content-Length: 5",
            b"Content-Length: -1",
            b"Content-Length: 99999999999",
            b"Transfer-Encoding: chunked",
            b"Expect: 100-continue",
            b"Connection: keep-alive",
            b"5",
            b"abcde",
            b"0",
            b"{}",
            b"",
            b"",
        ]
    )
    | st.binary(max_size=12),
    max_size=10,
).map(b"\r\n".join)
MEANT = {"501", "505"}
"""A method or an HTTP version that there is not; http.server says so."""


def shout(world: World, data: bytes) -> None:
    """Any bytes get an answer or none, and the next caller is served."""
    found = exchange(world, data)
    for status in re.findall(rb"^HTTP/1\.1 (\d{3}) ", found, re.MULTILINE):
        assert status < b"500" or status.decode() in MEANT, found
    assert not found or found.startswith(b"HTTP/1.1 "), found


def garble(world: World, edits: list[Edit]) -> None:
    """Of a signed request some bytes go wrong on the way: no session, or it says the same."""
    original = world.signed(headers=chain(world))
    seen: list[Request] = []
    handle = world.emulator.service.handle

    def watched(request: Request, **options: Any) -> RawAnswer:
        seen.append(request)
        return handle(request, **options)

    world.emulator.service.handle = watched  # type: ignore[method-assign]
    try:
        found = exchange(world, edited(spoken(original), edits))
    finally:
        del world.emulator.service.handle
    for status in re.findall(rb"^HTTP/1\.1 (\d{3}) ", found, re.MULTILINE):
        assert status < b"500" or status.decode() in MEANT, found
    if b"HTTP/1.1 201 " in found:
        assert meaning_of(seen[0]) == meaning_of(original)


FUZZES: dict[str, tuple[Callable[[World, Any], None], st.SearchStrategy[Any], int]] = {
    "parameters": (ask, parameters(), 60),
    "headers": (present, st.tuples(st.sampled_from(HEADERS), st.text(max_size=30)), 40),
    "certificates": (lend, st.tuples(st.sampled_from(["leaf", "intermediate"]), EDITS), 80),
    "anchors and lists": (
        bring,
        st.tuples(st.sampled_from(["anchor", "crl"]), EDITS, st.booleans()),
        40,
    ),
    "forgeries": (forge, changes(), 120),
    "bytes": (shout, LINES, 50),
    "garbled bytes": (garble, GARBLES, 80),
    "control plane": (administer, st.lists(calls(), min_size=1, max_size=5), 40),
}
"""By name: the check, what goes in, and how many in a usual run."""


def run(world: World, name: str, *, examples: int, same: bool) -> None:
    """Let *examples* of what goes in be checked; *same* are those of every run."""
    check, strategy, _ = FUZZES[name]

    @settings(
        max_examples=examples,
        derandomize=same,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(made: Any) -> None:
        check(world, made)

    each()


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("name", FUZZES)
def test_nothing_crashes_and_nothing_is_forged(world: World, name: str) -> None:
    """Parameters, headers, certificates, lists, calls and bytes of every kind get their answer."""
    run(world, name, examples=FUZZES[name][2], same=True)


@pytest.mark.extended
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("name", FUZZES)
def test_the_same_at_length(world: World, name: str) -> None:
    """Eight times as many, others each time."""
    run(world, name, examples=8 * FUZZES[name][2], same=False)


def test_untouched_request_signs_in(world: World) -> None:
    """What is forged above is accepted as it was."""
    assert world.handle(world.signed(headers=chain(world))).status == 201

from __future__ import annotations

import base64
import hashlib
import html.parser
import http.client
import re
from urllib.parse import urlsplit

import pytest
from cryptography import x509

from rolesanywhere_auth.testing import CertificateAuthority, Emulator
from rolesanywhere_auth.testing.page import FRAGMENT, host_name
from rolesanywhere_auth.testing.service.wire import Refusal

NASTY = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;"
VOID = {"meta", "link", "br"}


class Page(html.parser.HTMLParser):
    """A page as its elements; every tag must be closed in order, every attribute be known."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            attributes
            for found, attributes in self.tags
            if found == tag and wanted.items() <= attributes.items()
        ]


def get(endpoint_url, path="/", headers=None, method="GET"):
    """One request, and the text of its answer."""
    url = urlsplit(endpoint_url)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer, answer.read().decode()
    finally:
        connection.close()


def page(emulator) -> Page:
    """The page as it is now."""
    answer, text = get(emulator.endpoint_url)
    assert answer.status == 200
    return Page(text)


def test_empty_emulator_has_a_page(emulator):
    """Nothing is there, and the page says so; it is HTML of one document with one main part."""
    answer, text = get(emulator.endpoint_url)
    found = Page(text)

    assert answer.getheader("Content-Type") == "text/html; charset=utf-8"
    assert text.startswith("<!DOCTYPE html>")
    assert found.all("html", lang="en")
    assert len(found.all("main")) == len(found.all("h1")) == len(found.all("nav")) == 1
    assert found.text.count("None.") == 5
    assert "0 sign-ins" in found.text


def test_everything_is_on_it(emulator, create_session, now):
    """Trust anchors, profiles, roles, revocation lists; their names, ARNs and states."""
    authority = CertificateAuthority("Page CA", now=lambda: now)
    setup = emulator.set_up(authority=authority, accept_role_session_name=True)
    client = emulator.control_plane()
    bundle = authority.certificate_pem + CertificateAuthority("Next CA").certificate_pem
    client.create_trust_anchor(
        name="rotation",
        source={"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": bundle}},
    )
    client.update_profile(
        profileId=setup.profile_arn.rpartition("/")[2],
        sessionPolicy='{"Version": "2012-10-17", "Statement": []}',
        managedPolicyArns=["arn:aws:iam::aws:policy/ReadOnlyAccess"],
    )
    emulator.revoke(setup.leaf)

    found = page(emulator)

    for text in (
        setup.trust_anchor_arn,
        setup.profile_arn,
        setup.role_arn,
        "rotation",
        "disabled",
        "CN=Page CA",
        "CN=Next CA",
        "at most 3,600 seconds",
        "the caller may choose",
        "arn:aws:iam::aws:policy/ReadOnlyAccess",
        "x509Subject (*)",
        "1 certificate",
        "Session policy",
        '"sts:SetSourceIdentity"',
        "2 trust anchors",
        "1 revocation list",
    ):
        assert text in found.text, text
    assert (found.texts.count("CA"), found.texts.count("CA 2")) == (2, 1)


def test_sign_ins_show_each_check_and_the_refusal(emulator, create_session):
    """The newest is first; the one that was refused names the check and the reason."""
    setup = emulator.set_up()
    create_session(setup)
    emulator.revoke(setup.leaf)
    create_session(setup)

    found = page(emulator)
    refused, allowed = found.all("details", **{"class": "event"})

    assert [event.request_id for event in emulator.events] == [
        allowed["id"].removeprefix("event-"),
        refused["id"].removeprefix("event-"),
    ]
    assert "revocation: Certificate revoked" in found.text
    first, second = (event.checks for event in emulator.events)
    assert found.texts.count("passed") == len(first) + len(second) - 1
    assert found.texts.count("refused") == 2  # the sign-in, and its check
    assert found.texts.count("allowed") == 1
    for check in (*first, *second):
        assert check.name in found.text
        assert " ".join(check.detail.split()) in found.text


def test_sign_in_of_an_unknown_caller_and_a_tolerated_one(emulator, create_session):
    """What cannot be read has a place too; what AWS would only record is shown."""
    setup = emulator.set_up()
    create_session(setup, body=b"{")
    create_session(setup, tamper=True)
    create_session(setup, query=f"roleArn={setup.role_arn.replace(':', '%3A').replace('/', '%2F')}")

    found = page(emulator)

    assert "unknown caller" in found.text
    assert [event.error_code is None for event in emulator.events] == [False, False, True]


@pytest.mark.parametrize("where", ["sign-in", "resources"])
def test_text_of_strangers_is_only_text(emulator, create_session, now, where):
    """Markup in certificates, names, policies and headers makes no element and no attribute."""
    authority = CertificateAuthority(NASTY[:64], now=lambda: now)
    before = {tag for tag, _ in page(emulator).tags}
    if where == "sign-in":
        setup = emulator.set_up(common_name=NASTY[:64], authority=authority)
        create_session(setup)
        create_session(setup, parameters={"roleSessionName": NASTY})
        create_session(setup, parameters={"trustAnchorArn": NASTY})
    else:
        emulator.create_trust_anchor(authority)
        arn = emulator.create_role(NASTY, trust_policy={"Sid": NASTY})
        emulator.control_plane().create_profile(
            name="nasty",
            roleArns=["arn:aws:iam::111122223333:role/app"],
            sessionPolicy=NASTY,
        )
        assert NASTY in arn

    found = page(emulator)

    known = before | {"details", "summary", "dl", "dt", "dd", "code", "br", "pre", "ol", "li"}
    known |= {"ul", "h3", "time", "strong", "div", "span"}
    assert {tag for tag, _ in found.tags} <= known
    assert len(found.all("script")) == 1
    assert not [name for _, attributes in found.tags for name in attributes if name[:2] == "on"]
    assert "<script>alert(1)</script>" in found.text


@pytest.mark.parametrize("path", ["/", FRAGMENT])
def test_half_a_surrogate_pair_leaves_the_page_alive(emulator, path):
    """A request of anybody may name one in JSON; the page shows it in ASCII."""
    where = urlsplit(emulator.endpoint_url).netloc
    connection = http.client.HTTPConnection(where, timeout=10)
    body = rb'{"name": "x", "roleArns": ["arn:aws:iam::111122223333:role/\ud800"]}'
    connection.request("POST", "/profiles", body=body)
    assert connection.getresponse().read()

    connection.request("GET", path)
    found = connection.getresponse()

    assert found.status == 200
    assert rb"role/\ud800" in found.read()
    connection.close()


def test_no_secret_is_on_it(emulator, create_session):
    """The keys that were given out are not there."""
    setup = emulator.set_up()
    keys = create_session(setup).session["credentials"]

    text = get(emulator.endpoint_url)[1]

    for name in ("secretAccessKey", "sessionToken", "accessKeyId"):
        assert keys[name] not in text


def test_policy_allows_just_the_pages_own_style_and_script(emulator):
    """The hashes are those of the page's one style and one script; nothing inline is elsewhere."""
    emulator.set_up()
    answer, text = get(emulator.endpoint_url)
    directives = dict(
        item.split(" ", 1) for item in answer.getheader("Content-Security-Policy").split("; ")
    )

    for tag in ("style", "script"):
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert directives.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert directives == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert not [attributes for _, attributes in Page(text).tags if "style" in attributes]
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("Cache-Control") == "no-store"


def test_labels_and_targets_exist_once(emulator, create_session):
    """Every id is unique; every link and label of the page leads to one."""
    setup = emulator.set_up()
    create_session(setup)
    create_session(setup)
    found = page(emulator)

    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"].removeprefix("#") for attributes in found.all("a")]
    labels = [attributes["aria-labelledby"] for attributes in found.all("section")]
    assert {*links, *labels} <= set(ids)


def test_part_changes_with_the_state_alone(emulator):
    """The same state is 304 to whoever has it; a new resource is a new part with a new tag."""
    text = get(emulator.endpoint_url)[1]
    tag = Page(text).all("main")[0]["data-tag"]

    same = get(emulator.endpoint_url, FRAGMENT, {"If-None-Match": tag})
    emulator.set_up()
    changed = get(emulator.endpoint_url, FRAGMENT, {"If-None-Match": tag})

    assert (same[0].status, same[1]) == (304, "")
    assert same[0].getheader("ETag") == tag
    assert changed[0].status == 200
    assert changed[0].getheader("ETag") != tag
    assert changed[1] in get(emulator.endpoint_url)[1]
    assert Page(changed[1]).all("section")


def test_only_the_newest_sign_ins_are_shown(emulator, create_session, monkeypatch):
    """A long list is cut, and says so."""
    monkeypatch.setattr("rolesanywhere_auth.testing._page_html.SHOWN", 1)
    setup = emulator.set_up()
    for _ in range(3):
        create_session(setup)

    found = page(emulator)

    assert len(found.all("details", **{"class": "event"})) == 1
    assert "2 earlier ones not shown." in found.text
    assert "3 sign-ins" in found.text


@pytest.mark.parametrize("path", ["/", FRAGMENT])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_foreign_host_sees_no_page(emulator, host, path):
    """A name that was pointed at loopback gets no page; the service itself does not care."""
    answer, text = get(emulator.endpoint_url, path, {"Host": host})

    assert answer.status == 421
    assert "--name" in text
    assert get(emulator.endpoint_url, "/crls", {"Host": host})[0].status == 200


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST:80", "localhost"),
        ("127.0.0.1:4600", "127.0.0.1"),
        ("[::1]:4600", "::1"),
        ("[::1]", "::1"),
        ("::1", ""),
        ("a:b", ""),
    ],
)
def test_host_header_is_read(header, name):
    """Port and brackets are not part of the name; what is malformed is no name."""
    assert host_name(header) == name


def test_named_host_sees_the_page():
    """A name that was given at the start is answered, and so are loopback's."""
    with Emulator(host_names=["Emulator.internal"], tls_port=None) as emulator:
        for host in ("emulator.internal:4600", "localhost", "[::1]"):
            assert get(emulator.endpoint_url, "/", {"Host": host})[0].status == 200


def test_page_has_a_head_and_takes_no_other_method(emulator):
    """HEAD is GET without the text; POST to / is an operation that the service lacks."""
    answer, text = get(emulator.endpoint_url, method="HEAD")

    assert (answer.status, text) == (200, "")
    assert get(emulator.endpoint_url, method="POST")[0].status == 404


def test_anchor_without_certificates_names_its_source(emulator):
    """A trust anchor of another source shows what that is; policies that are no JSON are text."""
    from rolesanywhere_auth.testing._page_html import Snapshot, fragment

    snapshot = Snapshot.of(emulator.service)
    setup = emulator.set_up()
    [anchor] = Snapshot.of(emulator.service).anchors
    odd = type(anchor)(**{**vars(anchor), "certificates": (), "source": {"sourceType": "OTHER"}})
    snapshot.anchors.append(odd)

    assert "OTHER" in fragment(snapshot)
    assert setup.trust_anchor_arn in fragment(snapshot)


def test_crl_without_an_end_is_shown(emulator, now):
    """A CRL may lack nextUpdate (RFC 5280 forbids it, files have it)."""
    from dataclasses import replace

    from rolesanywhere_auth.testing._page_html import Snapshot, fragment

    setup = emulator.set_up()
    emulator.revoke(setup.leaf)
    snapshot = Snapshot.of(emulator.service)
    [crl] = snapshot.crls

    class Endless:
        next_update_utc = None
        issuer = x509.Name([])

        def __len__(self) -> int:
            return 0

    snapshot.crls[:] = [replace(crl, parsed=Endless(), trust_anchor_arn="gone")]

    assert "0 certificates" in fragment(snapshot)


def test_gate_refuses_as_the_service_does(emulator):
    """What a front could not read is answered by the service."""
    from rolesanywhere_auth.testing.page import Gate

    gate = Gate(emulator.service, hosts=frozenset())

    assert gate.refuse(Refusal(400, "X", "no")).status == 400

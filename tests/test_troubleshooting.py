"""The page about errors says what the library really says, and leaves no error out."""

from __future__ import annotations

import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from rolesanywhere_auth import (
    RenewalEvent,
    RolesAnywhereConfig,
    RolesAnywhereCredentials,
    RolesAnywhereError,
    create_session,
    errors,
    refusals,
)
from rolesanywhere_auth.testing import CertificateAuthority, Emulator
from rolesanywhere_auth.testing._setup import Setup

PAGE = (Path(__file__).parents[1] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


@dataclass
class Stage:
    """A sign-in that would work, for a test to break."""

    emulator: Emulator
    setup: Setup
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def sign_in(self, **changes: Any) -> None:
        """One sign-in with *changes* to what fits."""
        create_session(self.config(**changes))

    def config(self, **changes: Any) -> RolesAnywhereConfig:
        """The configuration with *changes*; one attempt, so that no test waits."""
        return RolesAnywhereConfig(**self.setup.config_arguments() | {"max_attempts": 1} | changes)

    def file(self, name: str, content: bytes | str) -> Path:
        """A new file."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def leaf(self, leaf: Any) -> dict[str, Any]:
        """The arguments that sign in with *leaf*."""
        return {
            "certificate": leaf.certificate_pem.encode(),
            "private_key": leaf.private_key_pem.encode(),
            "certificate_chain": None,
        }

    def refuse(self, status: int, message: str, code: str | None = None) -> None:
        """Sign in once, to be answered so."""
        with self.emulator.faults.refuse(status=status, code=code, message=message):
            self.sign_in()

    def trust(self, condition: dict[str, Any]) -> str:
        """A role whose trust policy asks for *condition*, in a profile."""
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "rolesanywhere.amazonaws.com"},
                    "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
                    "Condition": condition,
                }
            ],
        }
        role = self.emulator.create_role("picky", trust_policy=policy)
        profile = self.setup.profile_arn.rpartition("/")[2]
        self.emulator.control_plane().update_profile(profileId=profile, roleArns=[role])
        return role


def fips(stage: Stage) -> None:
    """The service has FIPS endpoints in few Regions."""
    stage.sign_in(use_fips_endpoint=True, endpoint_url=None)


def fips_and_endpoint(stage: Stage) -> None:
    """Both say where to go."""
    stage.monkeypatch.setenv("AWS_ENDPOINT_URL_ROLESANYWHERE", stage.emulator.endpoint_url)
    stage.sign_in(use_fips_endpoint=True)


def no_extra(stage: Stage) -> None:
    """The extra's library is not there."""
    stage.monkeypatch.setitem(sys.modules, "filelock", None)
    RolesAnywhereCredentials(stage.config(cache=True)).get_frozen_credentials()


def other_account(stage: Stage) -> None:
    """A role of another account, as a copy and paste leaves it."""
    stage.config(role_arn="arn:aws:iam::444455556666:role/app")


def other_region(stage: Stage) -> None:
    """A profile of another Region."""
    stage.config(profile_arn=stage.setup.profile_arn.replace("eu-west-1", "us-east-1"))


def not_an_arn(stage: Stage) -> None:
    """An ID where an ARN belongs."""
    stage.config(profile_arn=stage.setup.profile_arn.rpartition("/")[2])


def content_as_path(stage: Stage) -> None:
    """The base64 inside of a PEM, without its lines."""
    pem = stage.setup.leaf.certificate_pem
    stage.config(certificate="".join(pem.splitlines()[1:-1]))


def duration(stage: Stage) -> None:
    """More than the service ever gives."""
    stage.config(session_duration=86_400)


def no_profile(stage: Stage) -> None:
    """A name that stands in no file."""
    RolesAnywhereConfig.from_profile("app")


def no_file(stage: Stage) -> None:
    """The certificate's file is not there."""
    stage.sign_in(certificate=stage.folder / "app.pem")


def key_as_certificate(stage: Stage) -> None:
    """The key's file in the certificate's place."""
    stage.sign_in(certificate=stage.setup.private_key)


def expired(stage: Stage) -> None:
    """A certificate of yesterday."""
    stage.sign_in(**stage.leaf(stage.setup.authority.issue_flawed("expired")))


def not_yet_valid(stage: Stage) -> None:
    """A certificate of tomorrow."""
    stage.sign_in(**stage.leaf(stage.setup.authority.issue_flawed("not-yet-valid")))


def flawed(flaw: Any) -> Callable[[Stage], None]:
    """A certificate with this flaw."""
    return lambda stage: stage.sign_in(**stage.leaf(stage.setup.authority.issue_flawed(flaw)))


def long_chain(stage: Stage) -> None:
    """Six intermediates."""
    ca = stage.setup.authority
    for number in range(6):
        ca = ca.intermediate(f"Level {number}")
    leaf = ca.issue()
    chain = "".join(c.public_bytes(Encoding.PEM).decode() for c in leaf.chain)
    stage.sign_in(**stage.leaf(leaf) | {"certificate_chain": chain.encode()})


def no_key_file(stage: Stage) -> None:
    """The key's file is not there."""
    stage.sign_in(private_key=stage.folder / "app.key")


def certificate_as_key(stage: Stage) -> None:
    """The certificate's file in the key's place."""
    stage.sign_in(private_key=stage.setup.certificate)


def encrypted(stage: Stage) -> Path:
    """The key, encrypted."""
    key = serialization.load_pem_private_key(stage.setup.private_key.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"the real one")
    return stage.file("app.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


def no_passphrase(stage: Stage) -> None:
    """An encrypted key, alone."""
    stage.sign_in(private_key=encrypted(stage))


def wrong_passphrase(stage: Stage) -> None:
    """An encrypted key with another one's passphrase."""
    stage.sign_in(private_key=encrypted(stage), passphrase="another")


def ed25519_key(stage: Stage) -> None:
    """A kind of key that the service does not know."""
    key = ed25519.Ed25519PrivateKey.generate()
    plain = serialization.NoEncryption()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, plain)
    stage.sign_in(private_key=stage.file("app.key", pem))


def mismatch(stage: Stage) -> None:
    """The key of another certificate."""
    stage.sign_in(private_key=stage.setup.authority.issue().private_key_pem.encode())


class OtherKey:
    """A signer whose store has another key under this name by now."""

    def __init__(self, public_key: Any) -> None:
        self._public_key = public_key

    def public_key(self) -> Any:
        return self._public_key

    def sign(self, data: bytes) -> bytes:
        return ec.generate_private_key(ec.SECP256R1()).sign(data, ec.ECDSA(hashes.SHA256()))


def other_key_signs(stage: Stage) -> None:
    """The signature is another key's."""
    stage.sign_in(private_key=OtherKey(stage.setup.leaf.certificate.public_key()))


def nobody_listens(stage: Stage) -> None:
    """A port at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    stage.sign_in(endpoint_url=f"http://127.0.0.1:{port}")


def unknown_ca(stage: Stage) -> None:
    """TLS with a certificate of a CA that this machine does not know."""
    stage.sign_in(endpoint_url=stage.emulator.https_endpoint_url)


def proxy_is_off(stage: Stage) -> None:
    """A proxy that nobody runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    stage.sign_in(
        endpoint_url=stage.emulator.https_endpoint_url,
        proxies={"https": f"http://127.0.0.1:{port}"},
    )


def too_slow(stage: Stage) -> None:
    """A service that does not answer, and a caller in a hurry."""
    done = threading.Event()

    def hook(event: RenewalEvent) -> None:
        if event.kind == "succeeded":
            done.set()

    config = stage.config(wait_timeout=0.05, read_timeout=30)
    credentials = RolesAnywhereCredentials(config, on_event=hook)
    try:
        with stage.emulator.faults.hang():
            credentials.get_frozen_credentials()
    finally:
        assert done.wait(30)  # it went on in the background


def no_credentials(stage: Stage) -> None:
    """201 and nothing in it."""
    with stage.emulator.faults.empty_credential_set():
        stage.sign_in()


def old_credentials(stage: Stage) -> None:
    """201 and credentials of an hour ago."""
    with stage.emulator.faults.expired_credentials(seconds=3600):
        stage.sign_in()


def stranger(stage: Stage) -> None:
    """A certificate of another CA."""
    stage.sign_in(**stage.leaf(CertificateAuthority("Stranger").issue()))


def insufficient(stage: Stage) -> None:
    """What the service says of a leaf without digitalSignature; checked here before it is sent."""
    stage.refuse(403, "Untrusted certificate. Insufficient certificate")


def revoked(stage: Stage) -> None:
    """On the trust anchor's list."""
    stage.emulator.revoke(stage.setup.leaf)
    stage.sign_in()


def anchor_is_disabled(stage: Stage) -> None:
    """As it is after being made without ``enabled``."""
    client = stage.emulator.control_plane()
    client.disable_trust_anchor(trustAnchorId=stage.setup.trust_anchor_arn.rpartition("/")[2])
    stage.sign_in()


def profile_is_disabled(stage: Stage) -> None:
    """As it is after being made without ``enabled``."""
    client = stage.emulator.control_plane()
    client.disable_profile(profileId=stage.setup.profile_arn.rpartition("/")[2])
    stage.sign_in()


def role_not_listed(stage: Stage) -> None:
    """A role beside the profile's."""
    stage.sign_in(role_arn=stage.emulator.create_role("another"))


def session_name(stage: Stage) -> None:
    """A name that the profile does not let a client choose."""
    stage.sign_in(role_session_name="host-42")


def trust_policy(stage: Stage) -> None:
    """A condition that this certificate does not fit."""
    other = {"StringEquals": {"aws:PrincipalTag/x509Subject/CN": "other"}}
    stage.sign_in(role_arn=stage.trust(other))


def unmapped(stage: Stage) -> None:
    """A condition on an attribute whose value cannot be a tag."""
    asked = {"StringLike": {"aws:PrincipalTag/x509Subject/CN": "app*"}}
    leaf = stage.setup.authority.issue("app (blue)")
    stage.sign_in(role_arn=stage.trust(asked), **stage.leaf(leaf))


def too_long(stage: Stage) -> None:
    """Two hours of a role that gives one."""
    profile = stage.setup.profile_arn.rpartition("/")[2]
    stage.emulator.control_plane().update_profile(profileId=profile, durationSeconds=7200)
    stage.sign_in(session_duration=7200)


def no_anchor(stage: Stage) -> None:
    """A trust anchor that was deleted."""
    client = stage.emulator.control_plane()
    client.delete_trust_anchor(trustAnchorId=stage.setup.trust_anchor_arn.rpartition("/")[2])
    stage.sign_in()


def answers(status: int, message: str, code: str | None = None) -> Callable[[Stage], None]:
    """The service's answer, where nothing but AWS itself gives it."""
    return lambda stage: stage.refuse(status, message, code)


SHOWN: dict[str, Callable[[Stage], None]] = {
    "not an ARN": not_an_arn,
    "other account": other_account,
    "other Region": other_region,
    "content as path": content_as_path,
    "duration": duration,
    "no profile": no_profile,
    "FIPS": fips,
    "FIPS and endpoint": fips_and_endpoint,
    "no extra": no_extra,
    "no file": no_file,
    "key as certificate": key_as_certificate,
    "expired": expired,
    "not yet valid": not_yet_valid,
    "CA:TRUE": flawed("ca-true"),
    "no digitalSignature": flawed("no-digital-signature"),
    "SHA-1": flawed("sha1"),
    "long chain": long_chain,
    "no key file": no_key_file,
    "certificate as key": certificate_as_key,
    "no passphrase": no_passphrase,
    "wrong passphrase": wrong_passphrase,
    "Ed25519": ed25519_key,
    "other key signs": other_key_signs,
    "mismatch": mismatch,
    "nobody listens": nobody_listens,
    "unknown CA": unknown_ca,
    "proxy is off": proxy_is_off,
    "too slow": too_slow,
    "no credentials": no_credentials,
    "old credentials": old_credentials,
    "invalid signature": answers(403, "Invalid signature"),
    "stranger": stranger,
    "insufficient": insufficient,
    "revoked": revoked,
    "anchor is disabled": anchor_is_disabled,
    "profile is disabled": profile_is_disabled,
    "role not listed": role_not_listed,
    "session name": session_name,
    "trust policy": trust_policy,
    "unmapped": unmapped,
    "too long": too_long,
    "no anchor": no_anchor,
    "throttled": answers(429, "Rate exceeded", "ThrottlingException"),
    "unavailable": answers(503, "Service unavailable"),
    "accounts differ": answers(400, "… different account ID …", "ValidationException"),
}


BOXES = [
    " ".join(box.split())
    for box in re.findall(r"^```text\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    if re.match(r"\w+Error: ", box)
]
"""The texts on the page, each on one line."""


def fits(box: str, text: str) -> bool:
    """Whether the box shows *text*, where an ellipsis stands for anything."""
    pattern = ".*".join(re.escape(part) for part in re.split(" ?… ?", box))
    return re.fullmatch(pattern, " ".join(text.split()), re.DOTALL) is not None


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """One service for all errors; each begins with an empty one."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def said(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the library says in each case, with the class before it."""
    texts = {}
    for name, provoke in SHOWN.items():
        emulator.clear()
        with pytest.MonkeyPatch.context() as patch:
            folder = tmp_path_factory.mktemp("stage")
            patch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
            patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
            stage = Stage(emulator, emulator.set_up(), folder, patch)
            with pytest.raises(RolesAnywhereError) as caught:
                provoke(stage)
        texts[name] = f"{type(caught.value).__name__}: {caught.value}"
    return texts


@pytest.mark.parametrize("name", SHOWN)
def test_page_shows_what_is_said(name: str, said: dict[str, str]) -> None:
    """Whoever searches for the text of this error finds it on the page."""
    assert any(fits(box, said[name]) for box in BOXES), said[name]


@pytest.mark.parametrize("box", BOXES)
def test_page_shows_nothing_else(box: str, said: dict[str, str]) -> None:
    """What the page quotes is really said, in one case or the other."""
    assert any(fits(box, text) for text in said.values())


def test_known_texts_of_the_service_are_explained() -> None:
    """Every text of AWS's for which the library knows causes is on the page."""
    words = " ".join(PAGE.split())

    assert [known.text for known in refusals.KNOWN if known.text not in words] == []


def test_table_has_every_error() -> None:
    """Each class is in the table, with whether trying again may help."""
    rows = re.findall(r"^\| `(\w+)` \| .* \| ([^|]*?) ?\|$", PAGE, re.MULTILINE)
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, RolesAnywhereError)
    ]

    assert [name for name, _ in rows] == [each.__name__ for each in classes]
    for (name, again), each in zip(rows[1:], classes[1:], strict=True):
        assert again.startswith("yes" if each.retryable else "no"), name


def test_every_leaf_of_the_tree_is_explained() -> None:
    """An error that can be raised by itself has a text on the page, not the table alone."""
    raised = set(re.findall(r"^(\w+Error): ", "\n".join(BOXES), re.MULTILINE))
    leaves = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type)
        and issubclass(value, RolesAnywhereError)
        and not value.__subclasses__()
    }

    assert leaves <= raised

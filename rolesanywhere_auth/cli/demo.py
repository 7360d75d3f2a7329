# SPDX-License-Identifier: Apache-2.0
"""``rolesanywhere-auth demo``: the whole of Roles Anywhere on this machine, step by step."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rolesanywhere_auth.testing._setup import Setup
    from rolesanywhere_auth.testing.emulator import Emulator

E = TypeVar("E", bound=Exception)

_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["s3:CreateBucket", "s3:PutObject", "s3:GetObject"],
            "Resource": ["arn:aws:s3:::demo-bucket", "arn:aws:s3:::demo-bucket/*"],
        }
    ],
}
_DURATION = 900
_CALLERS = 8
_CALLS_EACH = 5  # at least: before, during and after the renewal


def add_to(verbs: Any) -> None:
    """Add the command."""
    command = verbs.add_parser(
        "demo",
        help="show a sign-in, a renewal and a revocation on the embedded emulator",
        description="Shows the whole of Roles Anywhere on this machine: a certificate "
        "authority, a certificate, a trust anchor, a profile and a role on the embedded "
        "emulator, and a boto3 session that signs in, calls STS and S3, renews, and is "
        "refused after revocation. Nothing leaves this machine.",
        allow_abbrev=False,
    )
    command.set_defaults(run=run)


class _Stage:
    """Prints numbered steps."""

    def __init__(self) -> None:
        self._number = 0

    def step(self, text: str) -> None:
        """A new numbered step."""
        self._number += 1
        print(f"\n{self._number}. {text}", flush=True)

    def show(self, label: str, value: object) -> None:
        """One finding below the present step."""
        print(f"   {label:<24} {value}", flush=True)


def run(options: argparse.Namespace) -> int:
    """Play the demo; 0 when every step went as it should."""
    from rolesanywhere_auth.cli import fail
    from rolesanywhere_auth.errors import MissingExtraError

    del options
    try:
        import moto  # noqa: F401
    except ImportError:
        return fail(
            MissingExtraError(
                "the demo needs the services behind the credentials: "
                "pip install 'rolesanywhere-auth[testing]'",
                extra="testing",
            )
        )
    from rolesanywhere_auth.testing import Emulator

    with _no_settings(), Emulator(aws=True) as emulator, emulator.enforcing_iam():
        _play(emulator)
    return 0


@contextlib.contextmanager
def _no_settings() -> Iterator[None]:
    """No AWS settings of this machine, such as another Region or FIPS, within the block."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _play(emulator: Emulator) -> None:
    from botocore.config import Config

    from rolesanywhere_auth import RolesAnywhereConfig, boto3_session

    stage = _Stage()
    setup = _prepare(stage, emulator)
    config = RolesAnywhereConfig(
        trust_anchor_arn=setup.trust_anchor_arn,
        profile_arn=setup.profile_arn,
        role_arn=setup.role_arn,
        certificate=setup.certificate,
        private_key=setup.private_key,
        session_duration=_DURATION,
        endpoint_url=emulator.https_endpoint_url,
        verify=emulator.ca_bundle,
        proxies={},
    )
    session = boto3_session(config, now=lambda: emulator.now().timestamp())
    stage.step("A boto3 session with this certificate. Nothing is sent yet.")
    stage.show("configuration", f"{config.role_arn} by {setup.certificate}")
    stage.show("sign-ins so far", _sign_ins(emulator))
    clients = {
        name: session.client(
            name, endpoint_url=emulator.aws_endpoint_url, config=Config(proxies={})
        )
        for name in ("sts", "s3")
    }
    _use(stage, emulator, clients, session)
    _renew(stage, emulator, clients["sts"], session)
    _revoke(stage, emulator, setup, clients["sts"])


def _prepare(stage: _Stage, emulator: Emulator) -> Setup:
    setup = emulator.set_up(
        role_name="demo", policy=_POLICY, session_duration=_DURATION, common_name="demo-workload"
    )
    certificate = setup.leaf.certificate
    stage.step("A certificate authority, and a certificate that it issued to this workload.")
    stage.show("CA", setup.authority.certificate.subject.rfc4514_string())
    stage.show("certificate", certificate.subject.rfc4514_string())
    stage.show("serial number (hex)", f"{certificate.serial_number:x}")
    stage.show("in the file", setup.certificate)
    stage.show("its private key", setup.private_key)
    stage.step("On the (emulated) AWS side: who is trusted, for what, and for how long.")
    stage.show("trust anchor: the CA", setup.trust_anchor_arn)
    stage.show("profile: the limits", setup.profile_arn)
    stage.show("role: the permissions", setup.role_arn)
    stage.show("service endpoint", emulator.https_endpoint_url)
    return setup


def _use(stage: _Stage, emulator: Emulator, clients: dict[str, Any], session: Any) -> None:
    from botocore.exceptions import ClientError

    stage.step("The first call signs in: CreateSession, signed with the private key.")
    stage.show("sts get-caller-identity", clients["sts"].get_caller_identity()["Arn"])
    stage.show("sign-ins so far", _sign_ins(emulator))
    stage.show("credentials expire at", session.get_credentials().expires_at)
    stage.step("S3, with the role's permissions and no more.")
    s3 = clients["s3"]
    s3.create_bucket(
        Bucket="demo-bucket",
        CreateBucketConfiguration={"LocationConstraint": emulator.region},
    )
    s3.put_object(Bucket="demo-bucket", Key="hello", Body=b"from outside AWS")
    found = s3.get_object(Bucket="demo-bucket", Key="hello")["Body"].read()
    stage.show("s3 put, then get", found.decode())
    error = _refusal(ClientError, lambda: s3.delete_object(Bucket="demo-bucket", Key="hello"))
    stage.show("s3 delete", error.response["Error"]["Code"] + ", as the role does not allow it")
    stage.show("sign-ins so far", _sign_ins(emulator))


def _renew(stage: _Stage, emulator: Emulator, sts: Any, session: Any) -> None:
    stage.step(f"Thirteen minutes pass, while {_CALLERS} threads go on calling.")
    credentials = session.get_credentials()
    first = credentials.expires_at
    emulator.advance(13 * 60)
    calls = _call_until(sts.get_caller_identity, lambda: credentials.expires_at != first)
    stage.show("calls, none of them lost", calls)
    stage.show("sign-ins so far", _sign_ins(emulator))
    stage.show("were to expire at", first)
    stage.show("now expire at", credentials.expires_at)


def _call_until(
    call: Callable[[], object], done: Callable[[], bool], *, patience: float = 30
) -> int:
    """Make *call* over and over in threads, until *done* and enough; how many were made.

    Whatever goes wrong, or *patience* seconds without an end, is raised here.
    """
    counts: list[int] = [0] * _CALLERS
    errors: list[Exception] = []
    end = time.monotonic() + patience

    def caller(number: int) -> None:
        while not errors and (counts[number] < _CALLS_EACH or not done()):
            try:
                call()
                if time.monotonic() > end and not done():
                    raise RuntimeError("the credentials were not renewed")
            except Exception as error:  # noqa: BLE001 - handed to the main thread
                errors.append(error)
                return
            counts[number] += 1

    threads = [threading.Thread(target=caller, args=(n,)) for n in range(_CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return sum(counts)


def _revoke(stage: _Stage, emulator: Emulator, setup: Setup, sts: Any) -> None:
    from rolesanywhere_auth import CertificateRevokedError

    stage.step("The certificate is revoked: its CA's revocation list is imported and enabled.")
    emulator.revoke(setup.leaf)
    sts.get_caller_identity()
    stage.show("calls still succeed", "credentials that were issued live on until they expire")
    emulator.advance(_DURATION)
    stage.step("They have expired. The next call must sign in again.")
    with _collected_log() as records:
        error = _refusal(CertificateRevokedError, sts.get_caller_identity)
    stage.show("refused", f"HTTP {error.status} {error.code}: {error.service_message}")
    for record in records:
        what, _, _ = record.getMessage().partition(":")
        stage.show("the log says so too", f"{record.levelname}: {what}")


@contextlib.contextmanager
def _collected_log() -> Iterator[list[logging.LogRecord]]:
    """What the library logs meanwhile, which would stand between the steps on stderr."""
    records: list[logging.LogRecord] = []
    logger, handler = logging.getLogger("rolesanywhere_auth"), logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign, assignment]
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)


def _refusal(kind: type[E], call: Callable[[], object]) -> E:
    """The error of *kind* that *call* must end in."""
    try:
        call()
    except kind as error:
        return error
    raise RuntimeError(f"this should have been refused with {kind.__name__}")


def _sign_ins(emulator: Emulator) -> int:
    return sum(event.error_code is None for event in emulator.events)

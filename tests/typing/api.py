"""Uses every public signature the way a caller would. Checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict

import boto3
import botocore.session
from botocore.credentials import Credentials, ReadOnlyCredentials
from cryptography.hazmat.primitives.asymmetric import ec
from opentelemetry.metrics import get_meter_provider
from opentelemetry.trace import get_tracer_provider
from prometheus_client import CollectorRegistry
from typing_extensions import NotRequired

import rolesanywhere_auth
from rolesanywhere_auth import (
    AccessDeniedError,
    ARNError,
    CertificateExpiredError,
    Check,
    ConfigurationError,
    Diagnosis,
    Health,
    Identity,
    IdentityError,
    MissingExtraError,
    MissingPermissionError,
    ProvisioningError,
    RenewalEvent,
    RenewalHook,
    RolesAnywhereConfig,
    RolesAnywhereCredentials,
    RolesAnywhereError,
    RolesAnywhereProvider,
    SecretReference,
    ServiceError,
    SessionCredentials,
    Signer,
    SignInError,
    ThrottlingError,
    TransportError,
    assume_role,
    boto3_session,
    botocore_session,
    create_session,
    diagnose,
    join_chain,
)
from rolesanywhere_auth.events import AttemptEvent, AttemptHook, Labels
from rolesanywhere_auth.keys import PublicKey
from rolesanywhere_auth.otel import CredentialsTelemetry
from rolesanywhere_auth.prometheus import CredentialsCollector
from rolesanywhere_auth.provisioning import (
    Admin,
    Authority,
    Blueprint,
    LeafFiles,
    Plan,
    apply,
    issue_leaf,
    make_development_ca,
    parse_serial,
    plan_revoke,
    plan_setup,
    plan_teardown,
    verify_revoked,
)
from rolesanywhere_auth.serve import CredentialServer

version: str = rolesanywhere_auth.__version__

# A configuration: the least, and everything.

least = RolesAnywhereConfig(
    trust_anchor_arn="arn:…",
    profile_arn="arn:…",
    role_arn="arn:…",
    certificate="app.pem",
)


class MySigner:
    """A key of the caller's own, with nothing to inherit from."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key.public_key()

    def sign(self, data: bytes) -> bytes:
        return data


def most(key: ec.EllipticCurvePrivateKey) -> RolesAnywhereConfig:
    return RolesAnywhereConfig(
        trust_anchor_arn="arn:…",
        profile_arn="arn:…",
        role_arn="arn:…",
        certificate=Path("app.pem"),
        private_key=MySigner(key),
        certificate_chain=b"-----BEGIN",
        passphrase=lambda: "secret",
        session_duration=timedelta(hours=1),
        role_session_name="host-42",
        instance_properties={"host": "42"},
        region="eu-west-1",
        endpoint_url="https://localhost",
        use_fips_endpoint=False,
        use_dualstack_endpoint=True,
        verify=Path("ca.pem"),
        proxies={"https": "http://proxy:3128"},
        connect_timeout=2.5,
        read_timeout=timedelta(seconds=5),
        max_attempts=5,
    )


RolesAnywhereConfig("arn:…", "arn:…", "arn:…", "app.pem")  # type: ignore[call-arg]
least.region = "eu-west-1"  # type: ignore[misc]
hashable: dict[RolesAnywhereConfig, str] = {least: "one"}
account_id: str = least.account_id

# Sessions.

session: boto3.Session = boto3_session(
    least, region_name="eu-west-1", profile_name="dev", now=lambda: 0.0
)
identity_of_caller = session.client("sts").get_caller_identity()
arn: str = identity_of_caller["Arn"]
below: botocore.session.Session = botocore_session(least, region_name=None, profile_name=None)

# Configurations from elsewhere.

from_profile: RolesAnywhereConfig = RolesAnywhereConfig.from_profile("app")
RolesAnywhereConfig.from_profile()
RolesAnywhereConfig.from_environment()
from_environment: RolesAnywhereConfig = RolesAnywhereConfig.from_environment({"A": "b"})
RolesAnywhereConfig.from_credential_process("app")
from_line: RolesAnywhereConfig = RolesAnywhereConfig.from_credential_process(command_line="a b")
RolesAnywhereConfig.from_environment({"A": 1})  # type: ignore[dict-item]

# Roles behind the first, and botocore's chain.

chained: boto3.Session = assume_role(
    least,
    role_arn="arn:…",
    role_session_name="host-42",
    external_id="tenant-7",
    tags={"team": "blue"},
    transitive_tag_keys=["team"],
    session_duration=timedelta(minutes=30),
    region_name="eu-west-1",
    on_event=None,
    now=lambda: 0.0,
)
assume_role(chained, role_arn="arn:…", session_duration=900, transitive_tag_keys=("team",))
assume_role(below, role_arn="arn:…")
assume_role(least, "arn:…")  # type: ignore[call-arg]
joined: botocore.session.Session = join_chain(below, credential_process=True, now=lambda: 0.0)
join_chain(session)  # type: ignore[arg-type]

# Credentials, for code that makes its own sessions.

credentials = RolesAnywhereCredentials(least, session=below)
frozen: ReadOnlyCredentials = credentials.get_frozen_credentials()
expires_at: datetime | None = credentials.expires_at
as_botocore_knows_them: Credentials = credentials

# Credentials, for data libraries.


class S3Credential(TypedDict):
    """As obstore has it; its own cannot be read as of Python 3.10."""

    access_key_id: str
    secret_access_key: str
    token: NotRequired[str | None]
    expires_at: datetime | None


by_obstore: Callable[[], S3Credential] = credentials.to_obstore()
# polars' CredentialProviderFunction
by_polars: Callable[[], tuple[dict[str, str], int | None]] = credentials.to_polars()
until: datetime | None = credentials.to_obstore()()["expires_at"]
provider = RolesAnywhereProvider(least, session=below)
below.register_component("credential_provider", provider)
loaded: RolesAnywhereCredentials = provider.load()

# One sign-in.

found: SessionCredentials = create_session(least, session=below)
texts: tuple[str, str, str, str] = (
    found.access_key,
    found.secret_key,
    found.token,
    found.role_arn,
)
expiration: datetime = found.expiration
for_tools: dict[str, Any] = found.credential_process()

# Identities and keys.


def uses_identity(identity: Identity) -> tuple[bytes, int, Signer]:
    return identity.leaf.der, identity.serial_number, identity.signer


def uses_signer(signer: Signer) -> tuple[PublicKey, bytes]:
    return signer.public_key(), signer.sign(b"data")


# Secrets.

by_reference = SecretReference("env:KEY_PASSPHRASE")
a_secret: bytes = by_reference()
with_reference = RolesAnywhereConfig(
    trust_anchor_arn="arn:…",
    profile_arn="arn:…",
    role_arn="arn:…",
    certificate="app.pem",
    passphrase=by_reference,
)
report: Diagnosis = diagnose(with_reference, expiry_days=14)
first: Check | None = report.first_failure
days = report["validity"].facts["days_left"]
references: set[SecretReference] = {by_reference}

# Errors: the base catches all, the leaves carry data.


def handles(error: RolesAnywhereError) -> object:
    if isinstance(error, ARNError):
        return error.arn
    if isinstance(error, MissingExtraError):
        return error.extra
    if isinstance(error, CertificateExpiredError | IdentityError):
        return error.source
    if isinstance(error, TransportError):
        return error.endpoint
    if isinstance(error, ThrottlingError):
        seconds: float | None = error.retry_after
        return seconds
    if isinstance(error, AccessDeniedError | ServiceError):
        causes: tuple[str, ...] = error.causes
        status: int = error.status
        return causes, status, error.code, error.service_message, error.request_id
    retryable: bool = error.retryable
    return retryable


bases: tuple[type[ValueError], type[ValueError], type[SignInError]] = (
    ConfigurationError,
    IdentityError,
    TransportError,
)


# Observing renewal.


def hook(event: RenewalEvent) -> tuple[float | None, datetime | None, int | None]:
    """A hook may return anything."""
    kind: str = event.kind
    at: datetime = event.at
    error: BaseException | None = event.error
    print_me = [kind, at, error, event.attempt, event.expires_at]
    assert print_me
    return event.duration, event.next_attempt, event.serial_number


a_hook: RenewalHook = hook
observed = boto3_session(least, on_event=hook)
botocore_session(least, on_event=a_hook)
health: Health = RolesAnywhereCredentials(least, on_event=hook).health()
state: str = health.state
circuit: str = health.circuit
moments: list[datetime | None] = [
    health.expires_at,
    health.last_success,
    health.next_attempt,
    health.certificate_expires_at,
]
last_error: BaseException | None = health.last_error
serial: int | None = health.certificate_serial_number


def serves(config: RolesAnywhereConfig, credentials: RolesAnywhereCredentials) -> str | None:
    with CredentialServer({"a": config, "b": credentials}, port=0, imds=True) as server:
        variables: dict[str, str] = server.environment("a")
        assert variables
        return server.url


# Setting up AWS.

admin: Admin = Admin.from_profile("administrator", region="eu-west-1")
moment: datetime = datetime.fromtimestamp(0).astimezone()
plan: Plan = plan_setup(
    Blueprint(
        name="app",
        ca_bundle=Path("ca.pem"),
        require={"x509Subject/CN": ["a", "b"], "x509SAN/DNS": "c"},
        policy_arns=["arn:…"],
        session_policy={"Statement": []},
        session_duration=timedelta(hours=1),
    ),
    admin,
    now=moment,
)
arns: dict[str, str] = apply(plan, admin, on_step=lambda step: step.title)
ca: Authority = make_development_ca("pki", now=moment, key_type="ec-p384")
files: LeafFiles = issue_leaf(ca, Path("pki"), common_name="app", now=moment, dns_names=["x"])
revocation: Plan = plan_revoke(
    ca, [parse_serial("0a:1b")], admin, now=moment, next_update=moment, reason="superseded"
)
refusal: AccessDeniedError = verify_revoked(least, sleep=print, attempts=2)
done: bool = bool(plan_teardown("app", admin))
lacking: type[ProvisioningError] = MissingPermissionError
# Telemetry.


def note_request(event: AttemptEvent) -> None:
    number: int = event.number
    status: int | None = event.status
    del number, status


def telemetry(session: boto3.Session, registry: CollectorRegistry) -> None:
    collector = CredentialsCollector(registry=registry)
    collector.watch(session)
    collector.watch(credentials)
    collector.watch(below)
    registry.register(CredentialsCollector(registry=None))
    told = CredentialsTelemetry(
        tracer_provider=get_tracer_provider(),
        meter_provider=get_meter_provider(),
        now=datetime.now,
    )
    told.watch(chained)
    told.watch("arn:…")  # type: ignore[arg-type]
    CredentialsCollector(registry)  # type: ignore[call-arg]
    hook: AttemptHook = note_request
    credentials.add_hook(lambda event: event.kind, attempts=hook)
    labels: Labels = credentials.labels
    role_arn: str = labels.role_arn
    del role_arn

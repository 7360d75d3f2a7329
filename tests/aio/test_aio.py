"""aiobotocore on the renewal of this library; runs in the tox environment ``apps``."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest
import s3fs
from botocore.loaders import Loader

from rolesanywhere_auth import (
    AccessDeniedError,
    CertificateLoadError,
    ConfigurationError,
    RenewalEvent,
    RolesAnywhereConfig,
    SignInTimeoutError,
)
from rolesanywhere_auth.aio import (
    AioRolesAnywhereCredentials,
    RolesAnywhereAioSession,
    aiobotocore_session,
)
from rolesanywhere_auth.testing import Emulator
from rolesanywhere_auth.testing.service.wire import Refusal, Request
from rolesanywhere_auth.watched import Watched, credentials_of

T = TypeVar("T")

POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine function in a new loop."""

    async def main() -> T:
        return await work()

    return asyncio.run(main())


@pytest.fixture
def config(rolesanywhere_emulator: Emulator) -> RolesAnywhereConfig:
    """Of a sign-in that the emulator accepts."""
    return RolesAnywhereConfig(**rolesanywhere_emulator.set_up().config_arguments())


class Gate:
    """A fault that keeps CreateSession waiting."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, request: Request) -> Any:
        self.reached.set()
        assert self.open.wait(20)
        return "pass"


class Clock:
    """Wall clock of the credentials, ahead of the machine's by what a test says."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return datetime.now().timestamp() + self.ahead  # noqa: DTZ005 - seconds since the epoch


AWS: list[Emulator] = []


@pytest.fixture(scope="module")
def aws() -> Any:
    """An emulator with moto's STS and S3 behind it."""
    with Emulator(aws=True) as emulator:
        AWS.append(emulator)
        yield emulator
    AWS.clear()


def emulated_time() -> float:
    """Seconds since the epoch on the emulator's clock; a function that can be pickled."""
    return AWS[0].now().timestamp()


@pytest.fixture
def aws_config(aws: Emulator) -> RolesAnywhereConfig:
    """Of a role that may do everything in S3."""
    return RolesAnywhereConfig(**aws.set_up(policy=POLICY).config_arguments())


def test_clients_of_a_session(aws: Emulator, aws_config: RolesAnywhereConfig) -> None:
    """STS sees the assumed role, S3 does as told, and one sign-in serves all clients."""
    before = len(aws.events)
    session = aiobotocore_session(aws_config)

    async def work() -> tuple[str, bytes]:
        async with (
            session.create_client("sts", endpoint_url=aws.aws_endpoint_url) as sts,
            session.create_client("s3", endpoint_url=aws.aws_endpoint_url) as s3,
        ):
            identity = await sts.get_caller_identity()
            await s3.create_bucket(
                Bucket="aio", CreateBucketConfiguration={"LocationConstraint": aws.region}
            )
            await s3.put_object(Bucket="aio", Key="hello", Body=b"from a task")
            answer = await s3.get_object(Bucket="aio", Key="hello")
            return identity["Arn"], await answer["Body"].read()

    with aws.enforcing_iam():
        arn, body = run(work)

    assert ":assumed-role/app" in arn
    assert body == b"from a task"
    assert len(aws.events) == before + 1
    assert session.get_config_variable("region") == aws_config.region
    assert "rolesanywhere-auth/" in session.user_agent()


def test_clients_are_made_without_a_look_at_other_services(
    config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making a client holds the loop up for less: it reads the service's own description."""

    def fail(self: Loader, type_name: str) -> None:
        raise AssertionError(f"looks for all {type_name}")

    monkeypatch.setattr(Loader, "list_available_services", fail)

    async def work() -> str:
        async with aiobotocore_session(config).create_client("s3") as s3:
            return str(s3.meta.endpoint_url)

    assert run(work).startswith("https://s3.")


def test_the_loop_goes_on(rolesanywhere_emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """While the service takes its time, other tasks of the loop run; all wait for one sign-in."""
    gate = Gate()
    rolesanywhere_emulator.inject(gate)
    credentials = AioRolesAnywhereCredentials(config)

    async def work() -> tuple[int, set[str]]:
        waiting = [asyncio.create_task(credentials.get_frozen_credentials()) for _ in range(100)]
        await asyncio.to_thread(gate.reached.wait, 20)
        ticks = 0
        while ticks < 50:
            await asyncio.sleep(0)
            ticks += 1
        assert not any(task.done() for task in waiting)
        gate.open.set()
        return ticks, {found.access_key for found in await asyncio.gather(*waiting)}

    ticks, keys = run(work)

    assert ticks == 50
    assert len(keys) == 1
    assert len(rolesanywhere_emulator.events) == 1


def test_one_flight_for_several_loops(
    rolesanywhere_emulator: Emulator, config: RolesAnywhereConfig
) -> None:
    """Loops of several threads share one sign-in too, and so do later ones."""
    credentials = AioRolesAnywhereCredentials(config)
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(run(credentials.get_access_key)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert {*found, run(credentials.get_access_key)} == {found[0]}
    assert len(rolesanywhere_emulator.events) == 1


def test_parts_by_their_names(config: RolesAnywhereConfig) -> None:
    """aiobotocore asks for single parts as well; the account needs no sign-in."""
    credentials = AioRolesAnywhereCredentials(config)
    assert run(credentials.get_account_id) == "111122223333"
    assert credentials.expires_at is None
    assert credentials.refresh_needed()

    async def work() -> tuple[Any, ...]:
        return (
            await credentials.get_access_key(),
            await credentials.get_secret_key(),
            await credentials.get_token(),
        )

    frozen = run(credentials.get_frozen_credentials)
    assert run(work) == (frozen.access_key, frozen.secret_key, frozen.token)
    assert credentials.expires_at is not None
    assert not credentials.refresh_needed()
    assert credentials.refresh_needed(7200)
    assert credentials.health().state == "fresh"


def test_renewal_in_the_background(
    rolesanywhere_emulator: Emulator, config: RolesAnywhereConfig
) -> None:
    """In the advisory window nobody waits: the old ones at once, the new ones soon."""
    clock, gate = Clock(), Gate()
    signed_in, renewed = threading.Event(), threading.Event()

    def hook(event: RenewalEvent) -> None:
        if event.kind == "succeeded":
            (renewed if signed_in.is_set() else signed_in).set()

    credentials = AioRolesAnywhereCredentials(
        replace(config, session_duration=900), now=clock, on_event=hook
    )
    first = run(credentials.get_access_key)
    assert signed_in.wait(20)  # hooks are told after who waits
    rolesanywhere_emulator.inject(gate)
    rolesanywhere_emulator.advance(800)
    clock.ahead = 800

    assert run(credentials.get_access_key) == first
    assert gate.reached.wait(20)
    assert run(credentials.get_access_key) == first
    gate.open.set()
    assert renewed.wait(20)
    assert run(credentials.get_access_key) != first


def test_a_due_renewal_is_woken(config: RolesAnywhereConfig) -> None:
    """Where the thread overslept, as after a suspend, a caller wakes it and does not wait."""
    clock = Clock()
    credentials = AioRolesAnywhereCredentials(replace(config, session_duration=900), now=clock)
    run(credentials.get_access_key)
    clock.ahead = 830

    assert credentials._blocking.at_hand() is not None


def test_without_threads(config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, credentials in the advisory window are given out as well."""
    clock = Clock()
    credentials = AioRolesAnywhereCredentials(replace(config, session_duration=900), now=clock)
    key = run(credentials.get_access_key)
    monkeypatch.setattr(credentials._blocking._renewal._keeper, "ensure", lambda: False)
    clock.ahead = 830

    assert run(credentials.get_access_key) == key


def test_refusal_reaches_every_task(
    rolesanywhere_emulator: Emulator, config: RolesAnywhereConfig
) -> None:
    """Each task gets the service's error, in an exception of its own."""
    rolesanywhere_emulator.inject(Refusal(403, "AccessDeniedException", "Untrusted certificate"))
    credentials = AioRolesAnywhereCredentials(config)

    async def work() -> list[Any]:
        calls = [credentials.get_frozen_credentials() for _ in range(5)]
        return await asyncio.gather(*calls, return_exceptions=True)

    errors = run(work)

    assert all(isinstance(error, AccessDeniedError) for error in errors)
    assert len({id(error) for error in errors}) == 5
    assert len(rolesanywhere_emulator.events) == 0


def test_error_before_the_request(config: RolesAnywhereConfig) -> None:
    """What is wrong with files is raised as without asyncio."""
    credentials = AioRolesAnywhereCredentials(replace(config, certificate="/no/such/file.pem"))

    with pytest.raises(CertificateLoadError, match=r"/no/such/file\.pem"):
        run(credentials.get_frozen_credentials)


@pytest.mark.filterwarnings("error")
def test_cancelled_tasks(rolesanywhere_emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """A task that gives up takes nobody with it; if all do, an error is not complained of."""
    gate = Gate()
    rolesanywhere_emulator.inject(gate, Refusal(403, "AccessDeniedException", "No"))
    credentials = AioRolesAnywhereCredentials(config)

    async def work() -> str:
        one = asyncio.create_task(credentials.get_access_key())
        two = asyncio.create_task(credentials.get_access_key())
        await asyncio.to_thread(gate.reached.wait, 20)
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
        gate.open.set()
        return await two

    assert run(work).startswith("ASIA")
    other = AioRolesAnywhereCredentials(config)

    async def abandon() -> None:
        task = asyncio.create_task(other.get_access_key())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        wait = other._waits[asyncio.get_running_loop()]
        await asyncio.wait([wait])

    run(abandon)
    gc.collect()


def test_a_loop_that_is_gone(rolesanywhere_emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """A loop that ends during a sign-in does not wait for it, and the next one profits."""
    gate = Gate()
    rolesanywhere_emulator.inject(gate)
    credentials = AioRolesAnywhereCredentials(config)

    async def leave() -> None:
        task = asyncio.create_task(credentials.get_access_key())
        await asyncio.to_thread(gate.reached.wait, 20)
        task.cancel()

    run(leave)
    gate.open.set()

    assert run(credentials.get_access_key).startswith("ASIA")
    assert len(rolesanywhere_emulator.events) == 1


def test_deadline(rolesanywhere_emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """Each task waits as long as it may: who came later is not sent away with the first."""
    gate = Gate()
    rolesanywhere_emulator.inject(gate)
    credentials = AioRolesAnywhereCredentials(replace(config, wait_timeout=1))

    async def work() -> tuple[BaseException | None, str]:
        early = asyncio.create_task(credentials.get_access_key())
        await asyncio.to_thread(gate.reached.wait, 20)
        credentials.config = replace(config, wait_timeout=20)  # as if it came much later
        late = asyncio.create_task(credentials.get_access_key())
        await asyncio.sleep(0)
        assert not early.done()  # so that it waits with the first
        await asyncio.wait([early])
        gate.open.set()
        return early.exception(), await late

    error, key = run(work)

    assert isinstance(error, SignInTimeoutError)
    assert key.startswith("ASIA")


def test_pickle_and_copies(config: RolesAnywhereConfig) -> None:
    """A session travels by its configuration, with no secret, and a copy is the session itself."""
    session = aiobotocore_session(config, region_name="us-east-1", on_event=print)

    travelled = pickle.loads(pickle.dumps(session))

    assert repr(travelled) == repr(session)
    assert travelled.get_config_variable("region") == "us-east-1"
    assert copy.copy(session) is copy.deepcopy(session) is session
    credentials = AioRolesAnywhereCredentials(config)
    assert pickle.loads(pickle.dumps(credentials)).config == config
    assert copy.copy(credentials) is copy.deepcopy(credentials) is credentials
    assert config.role_arn in repr(credentials)


def test_repr_tells_sessions_apart(config: RolesAnywhereConfig) -> None:
    """fsspec takes equal texts for equal sessions, so contents that are not shown differ in it."""
    content = replace(config, certificate=b"one")

    assert repr(aiobotocore_session(config)) == repr(aiobotocore_session(replace(config)))
    assert repr(aiobotocore_session(content)) != repr(
        aiobotocore_session(replace(config, certificate=b"two"))
    )
    texts = {
        repr(aiobotocore_session(config)),
        repr(aiobotocore_session(config, region_name="us-east-1")),
        repr(aiobotocore_session(config, on_event=print)),
        repr(aiobotocore_session(config, on_event=lambda event: None)),
    }
    assert len(texts) == 4


def test_settings_of_a_profile(
    config: RolesAnywhereConfig, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The profile's settings count for the clients and for signing in; its keys do not."""
    file = tmp_path / "config"
    file.write_text(
        "[profile far]\nregion = us-west-2\naws_access_key_id = AKIDEXAMPLE\n"
        "aws_secret_access_key = x\nuse_fips_endpoint = true\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    session = RolesAnywhereAioSession(replace(config, use_fips_endpoint=None), profile_name="far")

    assert session.get_config_variable("region") == "us-west-2"
    with pytest.raises(Exception, match="FIPS"):
        run(run_credentials(session))
    with pytest.raises(ConfigurationError, match=r"\(gone\).*AWS config"):
        aiobotocore_session(config, profile_name="gone")
    with pytest.raises(ConfigurationError, match=r"\(gone\).*AWS config"):
        aiobotocore_session(config, region_name="eu-west-1", profile_name="gone")


def run_credentials(session: RolesAnywhereAioSession) -> Callable[[], Awaitable[Any]]:
    """Signing in by the session's own way."""

    async def work() -> Any:
        return await (await session.get_credentials()).get_frozen_credentials()

    return work


def test_s3fs(aws: Emulator, aws_config: RolesAnywhereConfig) -> None:
    """s3fs takes the session, finds its instance again, travels, and outlives its credentials."""
    aws.client("s3").create_bucket(
        Bucket="lake", CreateBucketConfiguration={"LocationConstraint": aws.region}
    )

    def filesystem() -> Any:
        return s3fs.S3FileSystem(
            session=aiobotocore_session(aws_config, now=emulated_time),
            endpoint_url=aws.aws_endpoint_url,
        )

    with aws.enforcing_iam():
        fs = filesystem()
        fs.pipe("lake/one", b"1")
        for number in range(3):
            aws.advance(timedelta(seconds=4000))
            fs.pipe(f"lake/{number}", b"1")
        travelled = pickle.loads(pickle.dumps(fs))

        assert filesystem() is fs
        assert travelled.cat("lake/one") == b"1"


def test_without_aiobotocore() -> None:
    """The error names the extra."""
    code = "import sys; sys.modules['aiobotocore'] = None; import rolesanywhere_auth.aio"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "MissingExtraError" in done.stderr
    assert "pip install 'rolesanywhere-auth[aio]'" in done.stderr


def test_hooks_and_metrics(config: RolesAnywhereConfig) -> None:
    """Credentials can be watched like botocore's; a session of aiobotocore cannot be asked."""
    kinds: list[str] = []
    statuses: list[int | None] = []
    credentials = AioRolesAnywhereCredentials(config)
    watched = Watched()
    assert credentials_of(credentials) is credentials
    assert watched.add(credentials)
    told = threading.Event()
    credentials.add_hook(
        lambda event: kinds.append(event.kind),
        attempts=lambda event: statuses.append(event.status),
    )
    credentials.add_hook(lambda event: told.set() if event.kind == "succeeded" else None)

    run(credentials.get_access_key)

    assert told.wait(30)
    assert kinds == ["started", "succeeded"]
    assert statuses == [201]
    assert watched.readings()[credentials.labels].expires_at == credentials.expires_at
    with pytest.raises(ConfigurationError, match=r"await session\.get_credentials"):
        credentials_of(aiobotocore_session(config))

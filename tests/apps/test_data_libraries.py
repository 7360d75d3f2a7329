"""Data libraries, each over three lives of the credentials and more; in the environment ``apps``.

moto's S3 refuses keys of sessions that have ended, by the emulator's clock; `test_dead_keys` shows
it. So what a library reads and writes in each life was signed with keys of that life.

Most libraries here have no clock for credentials: those on fsspec ask the session before each
request, obstore asks whenever fewer than 300 seconds are left. They get sessions of a minute, and
the tests move the emulator's clock, which is the credentials' clock too. polars, deltalake, Arrow's
own S3 client and dask's processes go by the machine's clock, which no test moves: `own_clocks`
gives them sessions of 4 seconds, and waits until these have ended, once for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import deltalake
import duckdb
import obstore
import pandas
import polars
import pyarrow
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
import pytest
import requests
import s3fs
from dask import dataframe
from distributed import Client, LocalCluster
from obstore.store import S3Store
from pyiceberg.catalog.sql import SqlCatalog
from requests_aws4auth import AWS4Auth

from rolesanywhere_auth import (
    RolesAnywhereConfig,
    RolesAnywhereCredentials,
    adapters,
    boto3_session,
)
from rolesanywhere_auth.aio import aiobotocore_session
from rolesanywhere_auth.serve import CredentialServer
from rolesanywhere_auth.testing import Emulator
from rolesanywhere_auth.testing.service.state import IssuedSession

# dask's, on the newest pandas.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")

POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}
LIVES = 3
LIFE = 60
"""Seconds of the emulator's clock; all lives of a test within the 300 s in which obstore asks."""
UUID = "1b8e3c2a-0000-4000-8000-000000000000"
OWN_LIFE = 4
"""Seconds of the machine's clock."""
TABLE = pyarrow.table({"n": [1, 2, 3]})


@pytest.fixture(scope="module")
def aws() -> Iterator[Emulator]:
    """The emulator with moto's S3 behind it, a bucket ``lake``, and enforcement."""
    with Emulator(aws=True) as emulator:
        emulator.client("s3").create_bucket(
            Bucket="lake", CreateBucketConfiguration={"LocationConstraint": emulator.region}
        )
        with emulator.enforcing_iam():
            yield emulator
    # They would go on signing in.
    s3fs.S3FileSystem.clear_instance_cache()
    adapters._of_this_process.cache_clear()


class Refused(logging.Handler):
    """The requests that moto answered with 403, as its server logs them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if re.search(r'" 403 ', line):
            self.lines.append(line)


@contextlib.contextmanager
def refusals() -> Iterator[list[str]]:
    """Collects them."""
    logger = logging.getLogger("werkzeug")
    level = logger.level
    handler = Refused()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.lines
    logger.setLevel(level)
    logger.removeHandler(handler)


@pytest.fixture
def refused(aws: Emulator) -> Iterator[list[str]]:
    """Requests that S3 refused; there are to be none."""
    with refusals() as found:
        yield found


class Lake:
    """A role of its own, and what libraries need to know of S3.

    Args:
        aws: The emulator.
        name: Of the certificate, so that sessions can be told apart.
        now: The credentials' clock.
    """

    def __init__(
        self, aws: Emulator, name: str, *, now: Callable[[], float] = time.time, **changes: Any
    ) -> None:
        self.aws = aws
        self.name = name
        self.url = aws.aws_endpoint_url
        arguments = aws.set_up(policy=POLICY, common_name=name).config_arguments()
        self.config = RolesAnywhereConfig(**arguments, **changes)
        self.credentials = RolesAnywhereCredentials(self.config, now=now)
        self.session = aiobotocore_session(self.config, now=now)
        self.fsspec = {"session": self.session, "endpoint_url": self.url}
        # object_store refuses http without being told.
        self.object_store = {
            "aws_endpoint_url": self.url,
            "aws_region": aws.region,
            "aws_allow_http": "true",
        }

    def filesystem(self) -> Any:
        """s3fs."""
        return s3fs.S3FileSystem(**self.fsspec)

    def arrow(self) -> Any:
        """s3fs as Arrow takes it."""
        return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(self.filesystem()))

    def store(self) -> Any:
        """obstore's."""
        return S3Store(
            "lake",
            region=self.aws.region,
            endpoint=self.url,
            client_options={"allow_http": True},
            credential_provider=self.credentials.to_obstore(),
        )

    def sessions(self) -> list[IssuedSession]:
        """Those that this certificate was given."""
        return [each for each in self.aws.sessions if each.source_identity == f"CN={self.name}"]


@pytest.fixture
def lake(aws: Emulator, request: pytest.FixtureRequest) -> Iterator[Lake]:
    """Sessions of a minute by the emulator's clock, which is the credentials' too."""
    aws.set_time(datetime.now(timezone.utc))
    with aws.faults.short_lived(LIFE):
        yield Lake(aws, request.node.name, now=lambda: aws.now().timestamp())


def through_lives(lake: Lake, work: Callable[[int], object]) -> None:
    """*work* in each of the lives; its number begins with 0."""
    for life in range(LIVES):
        work(life)
        assert len(lake.sessions()) == life + 1
        lake.aws.advance(LIFE)


def test_dead_keys(lake: Lake) -> None:
    """Keys that are not renewed are refused after their life, so that these tests can fail."""
    keys = lake.credentials.get_frozen_credentials()
    files = s3fs.S3FileSystem(
        key=keys.access_key, secret=keys.secret_key, token=keys.token, endpoint_url=lake.url
    )
    files.pipe("lake/static", b"alive")
    lake.aws.advance(LIFE)

    with pytest.raises(PermissionError, match="Access Key Id you provided does not exist"):
        files.pipe("lake/static", b"dead")


def test_boto3(lake: Lake, refused: list[str]) -> None:
    """One client for all lives."""
    session = boto3_session(lake.config, now=lambda: lake.aws.now().timestamp())
    client = session.client("s3", endpoint_url=lake.url)

    def work(life: int) -> None:
        client.put_object(Bucket="lake", Key="boto3", Body=b"content")
        assert client.get_object(Bucket="lake", Key="boto3")["Body"].read() == b"content"

    through_lives(lake, work)
    assert refused == []


def test_aiobotocore(lake: Lake, refused: list[str]) -> None:
    """One client for all lives, in one loop."""

    async def main() -> None:
        async with lake.session.create_client("s3", endpoint_url=lake.url) as client:
            for life in range(LIVES):
                await client.put_object(Bucket="lake", Key="aio", Body=b"content")
                answer = await client.get_object(Bucket="lake", Key="aio")
                assert await answer["Body"].read() == b"content"
                assert len(lake.sessions()) == life + 1
                lake.aws.advance(LIFE)

    asyncio.run(main())
    assert refused == []


def test_s3fs(lake: Lake, refused: list[str]) -> None:
    """One file system for all lives; it asks the session before each request."""
    files = lake.filesystem()

    def work(life: int) -> None:
        files.pipe(f"lake/s3fs/{life}", b"content")
        assert files.cat(f"lake/s3fs/{life}") == b"content"
        assert len(files.ls("lake/s3fs", refresh=True)) == life + 1

    through_lives(lake, work)
    assert refused == []


def test_an_open_file(lake: Lake, refused: list[str]) -> None:
    """One upload in parts that goes on for several lives, and one read."""
    part = b"x" * (5 << 20)  # S3's least
    with lake.filesystem().open("lake/parts", "wb", block_size=len(part)) as file:
        through_lives(lake, lambda life: file.write(part))

    with lake.filesystem().open("lake/parts", "rb", block_size=1 << 20) as file:
        assert file.size == LIVES * len(part)
        for _ in range(LIVES):
            assert file.read(1 << 20) == part[: 1 << 20]
            lake.aws.advance(LIFE)
            file.seek(2 << 20, 1)
    assert refused == []


def test_arrow(lake: Lake, refused: list[str]) -> None:
    """Arrow has no hook for credentials, but takes any fsspec file system in its place."""
    files = lake.arrow()

    def work(life: int) -> None:
        path = f"lake/arrow/{life}.parquet"
        pyarrow.parquet.write_table(TABLE, path, filesystem=files)
        assert pyarrow.parquet.read_table(path, filesystem=files) == TABLE
        found = pyarrow.dataset.dataset("lake/arrow", filesystem=files).to_table()
        assert found.num_rows == 3 * (life + 1)

    through_lives(lake, work)
    assert refused == []


def test_pandas(lake: Lake, refused: list[str]) -> None:
    """pandas hands `storage_options` to fsspec, which finds its file system again by them."""
    frame = pandas.DataFrame({"n": [1, 2, 3]})

    def work(life: int) -> None:
        for kind, read in (("csv", pandas.read_csv), ("parquet", pandas.read_parquet)):
            path = f"s3://lake/pandas/{life}.{kind}"
            arguments = {"index": False, "storage_options": lake.fsspec}
            getattr(frame, f"to_{kind}")(path, **arguments)
            assert read(path, storage_options=lake.fsspec).equals(frame)

    through_lives(lake, work)
    assert refused == []


def test_duckdb(lake: Lake, refused: list[str]) -> None:
    """duckdb reads and writes by a registered fsspec file system; its own S3 has static keys."""
    connection = duckdb.connect()
    connection.register_filesystem(lake.filesystem())

    def work(life: int) -> None:
        path = f"s3://lake/duckdb/{life}.parquet"
        connection.execute(f"copy (select 42 as n) to '{path}'")
        found = connection.execute("select sum(n) from 's3://lake/duckdb/*.parquet'").fetchall()
        assert found == [(42 * (life + 1),)]

    through_lives(lake, work)
    assert refused == []


def test_obstore(lake: Lake, refused: list[str]) -> None:
    """One store for all lives; it asks again when fewer than 300 s are left, so here each time."""
    store = lake.store()

    def work(life: int) -> None:
        obstore.put(store, f"obstore/{life}", b"content")
        assert bytes(obstore.get(store, f"obstore/{life}").bytes()) == b"content"
        time.sleep(0.11)  # object_store keeps what it was given for 0.1 s whatever it was told

    through_lives(lake, work)
    assert refused == []


def test_requests(lake: Lake, refused: list[str]) -> None:
    """requests-aws4auth asks the credentials before each request."""
    auth = AWS4Auth(region=lake.aws.region, service="s3", refreshable_credentials=lake.credentials)

    def work(life: int) -> None:
        url = f"{lake.url}/lake/requests"
        requests.put(url, data=b"content", auth=auth, timeout=60).raise_for_status()
        assert requests.get(url, auth=auth, timeout=60).content == b"content"

    through_lives(lake, work)
    assert refused == []


# By the machine's clock


class Work(NamedTuple):
    """What one library does in each life."""

    lake: Lake
    do: Callable[[int], object]


def polars_work(lake: Lake) -> Work:
    """One provider for all lives: polars keeps what it was given up to the moment it was told."""
    provider = lake.credentials.to_polars()
    arguments: Any = {"storage_options": lake.object_store, "credential_provider": provider}

    def do(life: int) -> None:
        # No pattern: polars 1.30 asks for a list by `?&list-type=2`, which moto reads otherwise.
        paths = [f"s3://lake/polars/{number}.parquet" for number in range(life + 1)]
        with refusals() as refused:
            polars.DataFrame({"n": [1, 2, 3]}).write_parquet(paths[-1], **arguments)
            found = polars.scan_parquet(paths, **arguments).collect()
        assert found.height == 3 * (life + 1)
        # It asks again after a refusal too, so that dead keys would not be seen otherwise.
        assert not [line for line in refused if "/lake/polars" in line]

    return Work(lake, do)


def deltalake_work(lake: Lake, server: CredentialServer) -> Work:
    """One table for all lives; it takes options of text alone, and so those of the server."""
    options = {**lake.object_store, **server.environment(lake.name)}
    tables: list[Any] = []

    def do(life: int) -> None:
        if not tables:
            deltalake.write_deltalake("s3://lake/delta", TABLE, storage_options=options)
            tables.append(deltalake.DeltaTable("s3://lake/delta", storage_options=options))
        [table] = tables
        deltalake.write_deltalake(table, TABLE, mode="append")
        # No `update_incremental()`: before 1.6 it waits with Python's lock in its hand, also for
        # servers in this process.
        assert table.to_pyarrow_table().num_rows >= 3 * (life + 2)

    return Work(lake, do)


def arrow_work(lake: Lake) -> Work:
    """Arrow's own client without keys, so that its default chain finds the server."""
    files = pyarrow.fs.S3FileSystem(
        endpoint_override=lake.url.removeprefix("http://"), scheme="http", region=lake.aws.region
    )

    def do(life: int) -> None:
        path = f"lake/arrow-itself/{life}.parquet"
        pyarrow.parquet.write_table(TABLE, path, filesystem=files)
        assert pyarrow.parquet.read_table(path, filesystem=files) == TABLE

    return Work(lake, do)


def iceberg_work(lake: Lake, server: CredentialServer) -> Work:
    """One table for all lives; pyiceberg reads and writes by Arrow's client, which has no keys."""
    tables: list[Any] = []

    def do(life: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for key, value in server.environment(lake.name).items():
                patch.setenv(key, value)
            if not tables:
                catalog = SqlCatalog(
                    "lake",
                    uri="sqlite:///:memory:",
                    warehouse="s3://lake/iceberg",
                    **{"s3.endpoint": lake.url, "s3.region": lake.aws.region},
                )
                catalog.create_namespace_if_not_exists("n")
                tables.append(catalog.create_table_if_not_exists("n.n", schema=TABLE.schema))
            [table] = tables
            table.append(TABLE)
            assert table.scan().to_arrow().num_rows >= 3 * (life + 1)

    return Work(lake, do)


def dask_work(lake: Lake) -> Work:
    """Two worker processes that get the session by pickle."""
    frame = dataframe.from_pandas(pandas.DataFrame({"n": range(6)}), npartitions=2)

    def do(life: int) -> None:
        path = f"s3://lake/dask/{life}"
        frame.to_parquet(path, storage_options=lake.fsspec)
        found = dataframe.read_parquet(path, storage_options=lake.fsspec)
        assert found["n"].sum().compute() == 15

    return Work(lake, do)


@pytest.fixture(scope="module")
def workers() -> Iterator[Client]:
    """Two worker processes of dask."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


class Outcome(NamedTuple):
    """What became of one library's work: an error for each life in which it failed."""

    errors: list[str]
    sessions: int


@pytest.fixture(scope="module")
def own_clocks(aws: Emulator, workers: Client) -> dict[str, Outcome]:
    """All libraries with a clock of their own do their work in one life after the other."""
    aws.set_time(datetime.now(timezone.utc))
    names = ("polars", "deltalake", "arrow", "iceberg", "dask")
    lakes = {name: Lake(aws, name) for name in names}
    with (
        aws.faults.short_lived(OWN_LIFE),
        CredentialServer({name: lakes[name].credentials for name in names}) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
        for key, value in server.environment("arrow").items():
            patch.setenv(key, value)
        works = [
            polars_work(lakes["polars"]),
            deltalake_work(lakes["deltalake"], server),
            arrow_work(lakes["arrow"]),
            iceberg_work(lakes["iceberg"], server),
            dask_work(lakes["dask"]),
        ]
        errors: dict[str, list[str]] = {name: [] for name in names}
        for life in range(LIVES):
            if life:
                # Renewals in the background go on meanwhile; what matters are the keys so far.
                ends = max(each.expiration for lake in lakes.values() for each in lake.sessions())
                time.sleep(max(0.0, (ends - aws.now()).total_seconds()))
            for lake, do in works:
                errors[lake.name] += steadily(do, life)
    return {name: Outcome(errors[name], len(lakes[name].sessions())) for name in names}


def steadily(do: Callable[[int], object], life: int) -> list[str]:
    """The error with which *do* fails, if it does so time and again.

    A machine that stalls may take longer over a request than its keys live. Keys that a library
    keeps beyond their end fail each time.
    """
    found = []
    for _ in range(4):
        try:
            do(life)
        except Exception:  # noqa: BLE001 - the test that it belongs to shows it
            found = [f"life {life}: {traceback.format_exc()}"]
        else:
            return []
    return found


def check(outcome: Outcome) -> None:
    """It worked in each life, by at least as many sessions."""
    assert not outcome.errors, outcome.errors[0]
    assert outcome.sessions >= LIVES


def test_polars(own_clocks: dict[str, Outcome]) -> None:
    """polars asks again when it was told to, before S3 has to refuse anything."""
    check(own_clocks["polars"])


def test_deltalake(own_clocks: dict[str, Outcome]) -> None:
    """A Delta table is read and written by the credentials of a server in the same process."""
    check(own_clocks["deltalake"])


def test_arrow_itself(own_clocks: dict[str, Outcome]) -> None:
    """Arrow's own S3 client goes to the server whenever its keys are about to end."""
    check(own_clocks["arrow"])


def test_iceberg(own_clocks: dict[str, Outcome]) -> None:
    """An Iceberg table is read and written by the server's credentials."""
    check(own_clocks["iceberg"])


def test_dask(own_clocks: dict[str, Outcome]) -> None:
    """Worker processes sign in for themselves, and again."""
    check(own_clocks["dask"])


# Across processes


def test_workers_share_by_the_cache(aws: Emulator, workers: Client, tmp_path: Path) -> None:
    """With a cache, all processes of the host take part in one session."""
    aws.set_time(datetime.now(timezone.utc))
    lake = Lake(aws, "shared", cache=tmp_path / "cache")

    def work(number: int, options: dict[str, Any]) -> tuple[int, bytes]:
        files = s3fs.S3FileSystem(**options)
        files.pipe(f"lake/shared/{number}", b"content")
        return os.getpid(), files.cat(f"lake/shared/{number}")

    found = workers.gather(workers.map(work, range(8), options=lake.fsspec))

    assert {content for _, content in found} == {b"content"}
    assert os.getpid() not in {process for process, _ in found}
    assert len(lake.filesystem().ls("lake/shared")) == 8
    assert len(lake.sessions()) == 1


def test_tasks_of_a_worker_share(aws: Emulator, workers: Client) -> None:
    """Each task brings a store in a pickle of its own; a process signs in once for all."""
    aws.set_time(datetime.now(timezone.utc))
    lake = Lake(aws, "tasks")

    def work(number: int, store: Any) -> int:
        obstore.put(store, f"tasks/{number}", b"content")
        return os.getpid()

    found = workers.gather(workers.map(work, range(8), store=lake.store()))

    assert len(lake.sessions()) == len(set(found))


@pytest.mark.parametrize("what", ["filesystem", "arrow", "store", "polars", "options", "dask"])
def test_pickles_hold_no_secret(aws: Emulator, what: str) -> None:
    """What is sent to other processes names certificate and key, and holds no key, token or PEM."""
    aws.set_time(datetime.now(timezone.utc))
    lake = Lake(aws, f"pickles-{what}")
    files = lake.filesystem()
    files.pipe("lake/pickles.csv", b"n\n1\n")
    made: dict[str, Callable[[], Any]] = {
        "filesystem": lambda: files,
        "arrow": lake.arrow,
        "store": lake.store,
        "polars": lambda: polars.scan_csv(
            "s3://lake/pickles.csv",
            storage_options=lake.object_store,
            credential_provider=lake.credentials.to_polars(),
        ),
        "options": lambda: lake.fsspec,
        "dask": lambda: dataframe.read_csv("s3://lake/pickles.csv", storage_options=lake.fsspec),
    }
    thing = made[what]()
    keys = asyncio.run(frozen(lake.session))
    key = Path(str(lake.config.private_key)).read_bytes()
    secrets = [*keys[:3], *lake.credentials.get_frozen_credentials()[:3]]

    for pickled in (cloudpickle.dumps(thing), pickle.dumps(thing, 4)):
        assert key.splitlines()[1] not in pickled
        for secret in secrets:
            assert secret.encode() not in pickled
        assert type(pickle.loads(pickled)) is type(thing)


async def frozen(session: Any) -> Any:
    """The keys of an aiobotocore session."""
    return await (await session.get_credentials()).get_frozen_credentials()


LIBRARIES = ("dask", "deltalake", "duckdb", "fsspec", "obstore", "pandas", "polars", "pyarrow")


def test_no_library_is_imported() -> None:
    """The providers are made and asked without any of the libraries they are for."""
    code = (
        "import sys, rolesanywhere_auth as r\n"
        "one = r.RolesAnywhereConfig(trust_anchor_arn=sys.argv[1], profile_arn=sys.argv[2],\n"
        "    role_arn=sys.argv[3], certificate='/none', private_key='/none')\n"
        "credentials = r.RolesAnywhereCredentials(one)\n"
        "credentials.to_obstore(), credentials.to_polars()\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    place = "arn:aws:rolesanywhere:eu-west-1:111122223333:"
    arns = [
        f"{place}trust-anchor/{UUID}",
        f"{place}profile/{UUID}",
        "arn:aws:iam::111122223333:role/a",
    ]

    done = subprocess.run(
        [sys.executable, "-c", code, *arns], capture_output=True, text=True, check=True
    )

    assert not set(done.stdout.split()) & set(LIBRARIES)

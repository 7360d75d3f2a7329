"""Ray and PySpark: real engines on this machine, whose workers read and write S3.

Their packages have hundreds of megabytes, and they take their time to start: these tests run in
the environment ``engines``, by ``scripts/test-extended``. Their workers are processes with the
machine's clock, so that the end of each session of 4 seconds is waited for.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import s3fs
from pyarrow.fs import FSSpecHandler, PyFileSystem

from rolesanywhere_auth import RolesAnywhereConfig
from rolesanywhere_auth.aio import aiobotocore_session
from rolesanywhere_auth.testing import Emulator

pytestmark = [
    pytest.mark.extended,
    # Both leave files and sockets to their end, and use what Python is about to give up.
    pytest.mark.filterwarnings("ignore"),
]

POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}
LIVES = 3
LIFE = 4
TABLE = pyarrow.table({"n": [1, 2, 3]})


@pytest.fixture(scope="module")
def aws() -> Iterator[Emulator]:
    """The emulator with moto's S3 behind it, which refuses the keys of sessions that ended."""
    with Emulator(aws=True) as emulator:
        for bucket in ("lake", "my-bucket"):
            emulator.client("s3").create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": emulator.region}
            )
        with emulator.enforcing_iam(), emulator.faults.short_lived(LIFE):
            yield emulator
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def config(aws: Emulator, monkeypatch: pytest.MonkeyPatch) -> RolesAnywhereConfig:
    """Signs in to the emulator; S3 is found by the environment, as on the page."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", str(aws.aws_endpoint_url))
    return RolesAnywhereConfig(**aws.set_up(policy=POLICY).config_arguments())


@pytest.fixture
def options(aws: Emulator, config: RolesAnywhereConfig) -> dict[str, Any]:
    """What s3fs takes."""
    return {"session": aiobotocore_session(config), "endpoint_url": aws.aws_endpoint_url}


def of_the_page(heading: str, **names: Any) -> Any:
    """What the last line of docs/data-libraries.md's example below *heading* gives."""
    page = Path(__file__).parents[2] / "docs" / "data-libraries.md"
    pattern = rf"^## {heading}$.*?^```text\n(.*?)^```$"
    found = re.search(pattern, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found is not None
    tree = ast.parse(found[1])
    last = tree.body.pop()
    assert isinstance(last, ast.Expr)
    # What is defined in a program's own file is pickled by its value.
    namespace = {"__name__": "__main__", **names}
    exec(compile(tree, str(page), "exec"), namespace)
    return eval(compile(ast.Expression(last.value), str(page), "eval"), namespace)


def through_lives(aws: Emulator, work: Callable[[int], object]) -> None:
    """*work* in each of three lives; once more where a stalled machine outlasted the keys."""
    for life in range(LIVES):
        if life:
            ends = max(session.expiration for session in aws.sessions)
            time.sleep(max(0.0, (ends - aws.now()).total_seconds()))
        for attempt in range(4):
            try:
                work(life)
            except Exception:
                if attempt == 3:
                    raise
            else:
                break


def needs(package: str) -> None:
    """Fails where it is not installed."""
    if importlib.util.find_spec(package) is None:
        pytest.fail(f"This needs {package}: run scripts/test-extended.")


def test_ray(aws: Emulator, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks in Ray's worker processes get the file system by cloudpickle, and outlive its keys."""
    needs("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    files = PyFileSystem(FSSpecHandler(s3fs.S3FileSystem(**options)))

    def there_and_back(path: str, files: Any) -> tuple[int, int]:
        pyarrow.parquet.write_table(TABLE, path, filesystem=files)
        return os.getpid(), pyarrow.parquet.read_table(path, filesystem=files).num_rows

    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    try:
        task = ray.remote(there_and_back)

        def work(life: int) -> None:
            found = ray.get([task.remote(f"lake/ray-{life}-{n}.parquet", files) for n in range(4)])
            assert [rows for _, rows in found] == [3] * 4
            assert os.getpid() not in {process for process, _ in found}
            pyarrow.parquet.write_table(TABLE, "my-bucket/arrow.parquet", filesystem=files)
            assert of_the_page("Ray", ray=ray, pyarrow=pyarrow, lake=files) == 3

        through_lives(aws, work)
    finally:
        ray.shutdown()


def test_pyspark(
    aws: Emulator,
    options: dict[str, Any],
    config: RolesAnywhereConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python workers of Spark get the session by pickle, and outlive its keys."""
    needs("pyspark")
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    from pyspark.sql import Row, SparkSession

    def there_and_back(numbers: Any) -> Any:
        files = s3fs.S3FileSystem(**options)
        for number in numbers:
            files.pipe(f"lake/spark-{number}", b"%d" % number)
            yield os.getpid(), int(files.cat(f"lake/spark-{number}"))

    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )
    try:

        def work(life: int) -> None:
            numbers = spark.sparkContext.parallelize(range(4 * life, 4 * life + 4), 2)
            found = numbers.mapPartitions(there_and_back).collect()
            assert [number for _, number in found] == list(range(4 * life, 4 * life + 4))
            assert os.getpid() not in {process for process, _ in found}
            names = {"s3fs": s3fs, "aiobotocore_session": aiobotocore_session, "config": config}
            rows = [Row(name=f"{life}-{n}", content=b"%d" % n) for n in range(2)]
            uploaded = of_the_page("PySpark", spark=spark, rows=rows, **names)
            assert uploaded == [row.name for row in rows]
            assert s3fs.S3FileSystem(**options).cat(f"my-bucket/{life}-1") == b"1"

        through_lives(aws, work)
    finally:
        spark.stop()

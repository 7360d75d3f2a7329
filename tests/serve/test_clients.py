"""Clients of others, unmodified: boto3, the AWS CLI, object_store, Arrow's C++, JavaScript."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from serve_client import Client

from rolesanywhere_auth import RolesAnywhereConfig
from rolesanywhere_auth.serve import CredentialServer
from rolesanywhere_auth.testing import Emulator

DRIVER = Path(__file__).parents[1] / "testing" / "javascript" / "credentials.js"
CALLER = "arn:aws:sts::111122223333:assumed-role/app/"


@pytest.fixture(scope="module")
def aws() -> Iterator[Emulator]:
    """The emulator with moto's STS and S3 behind it."""
    with Emulator(aws=True) as found:
        yield found


@pytest.fixture(scope="module")
def running(aws: Emulator) -> Iterator[CredentialServer]:
    """A server with both protocols over it."""
    config = RolesAnywhereConfig(**aws.set_up().config_arguments())
    with CredentialServer(config, imds=True) as found:
        yield found


@pytest.fixture(params=["container", "imds"])
def variables(
    request: pytest.FixtureRequest,
    running: CredentialServer,
    aws: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, str]:
    """The environment that the server gives, of one protocol, and nothing else."""
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    mark = "CONTAINER" if request.param == "container" else "METADATA"
    found = {key: value for key, value in running.environment().items() if mark in key}
    found |= {"AWS_ENDPOINT_URL": aws.aws_endpoint_url, "AWS_DEFAULT_REGION": "eu-west-1"}
    for key, value in found.items():
        monkeypatch.setenv(key, value)
    return found


def test_boto3(variables: dict[str, str]) -> None:
    """Its providers for containers and instances take the credentials, and STS knows them."""
    session = boto3.Session()

    credentials = session.get_credentials()
    assert credentials is not None
    assert credentials.method in {"container-role", "iam-role"}
    assert session.client("sts").get_caller_identity()["Arn"].startswith(CALLER)
    session.client("s3").list_buckets()


@pytest.mark.parametrize(
    "variables", ["container", pytest.param("imds", marks=pytest.mark.extended)], indirect=True
)
def test_aws_cli(variables: dict[str, str]) -> None:
    """A process of its own, which takes seconds."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "aws"), "sts", "get-caller-identity"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["Arn"].startswith(CALLER)


def test_object_store(
    running: CredentialServer, aws: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rust's, through obstore: with the token file, as it asks, and nothing but the variables."""
    obstore = pytest.importorskip("obstore")
    from obstore.store import S3Store

    bucket(aws, running, "object-store")
    for key, value in running.environment().items():
        monkeypatch.setenv(key, value)
    # It does not look at AWS_EC2_METADATA_DISABLED; should it go there, it finds nobody.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")

    store: Any = S3Store(
        "object-store",
        region="eu-west-1",
        endpoint=aws.aws_endpoint_url,
        client_options={"allow_http": True},
    )
    obstore.put(store, "a", b"b")

    assert bytes(obstore.get(store, "a").bytes()) == b"b"


def bucket(aws: Emulator, running: CredentialServer, name: str) -> None:
    """Make a bucket, by credentials of the server."""
    keys = Client(running).credentials().json
    boto3.client(
        "s3",
        endpoint_url=aws.aws_endpoint_url,
        region_name="eu-west-1",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["Token"],
    ).create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})


ARROW = """
import sys
from pyarrow import fs
s3 = fs.S3FileSystem(endpoint_override=sys.argv[1], scheme="http", region="eu-west-1")
with s3.open_output_stream(sys.argv[2] + "/a") as file:
    file.write(b"b")
print(s3.open_input_file(sys.argv[2] + "/a").read().decode())
"""


@pytest.mark.extended
def test_arrow(variables: dict[str, str], running: CredentialServer, aws: Emulator) -> None:
    """Arrow's C++ S3 client goes through its own default chain, by either protocol."""
    name = "arrow-imds" if "AWS_EC2_METADATA_SERVICE_ENDPOINT" in variables else "arrow-container"
    bucket(aws, running, name)
    done = subprocess.run(
        [sys.executable, "-c", ARROW, aws.aws_endpoint_url.removeprefix("http://"), name],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "b\n"), done.stderr


def javascript(variables: dict[str, str], *arguments: str) -> dict[str, Any]:
    """What the SDK finds."""
    node = shutil.which("node")
    if node is None or not os.environ.get("NODE_PATH"):
        pytest.fail("This needs node, and NODE_PATH with the SDK: run scripts/test-extended.")
    done = subprocess.run(
        [node, str(DRIVER), *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.extended
def test_javascript(variables: dict[str, str], running: CredentialServer) -> None:
    """The AWS SDK for JavaScript, version 3, finds them by its default chain."""
    found = javascript(variables)

    expected = Client(running).credentials().json
    assert found["accessKeyId"] == expected["AccessKeyId"]
    assert found["sessionToken"] == expected["Token"]
    assert found["expiration"][:19] == expected["Expiration"][:19]


@pytest.mark.extended
def test_javascript_is_told_why(running: CredentialServer) -> None:
    """A refusal reaches its user with code and text."""
    variables = running.environment()
    url = variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"]

    found = javascript({**variables, "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/other"}, "http")

    assert found["error"]["Code"] == "InvalidAuthorizationToken"
    assert "token file" in found["error"]["Message"]

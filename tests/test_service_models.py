"""Descriptions of services are botocore's to the letter, and less is read to find one."""

from __future__ import annotations

import gzip
import json
import os
import threading
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.loaders import Loader, create_loader
from children import children_of

from rolesanywhere_auth import RolesAnywhereConfig, boto3_session, botocore_session
from rolesanywhere_auth._service_models import ServiceModels
from rolesanywhere_auth.testing import CertificateAuthority

KIND = "rolesanywhere:eu-west-1:111122223333"


@pytest.fixture
def config(tmp_path: Path) -> RolesAnywhereConfig:
    """One that signs in nowhere."""
    CertificateAuthority().issue("app").write_to(tmp_path)
    return RolesAnywhereConfig(
        trust_anchor_arn=f"arn:aws:{KIND}:trust-anchor/1",
        profile_arn=f"arn:aws:{KIND}:profile/1",
        role_arn="arn:aws:iam::111122223333:role/app",
        certificate=tmp_path / "client.pem",
        private_key=tmp_path / "client.key",
    )


@pytest.fixture
def models() -> ServiceModels:
    """Without folders of the user's."""
    return ServiceModels(lambda: None)


def same(models: ServiceModels, service: str, kind: str) -> None:
    """Check that *models* has what botocore has: the same content in the same order."""
    theirs = json.dumps(Loader().load_service_model(service, kind))
    version = models.determine_latest_version(service, kind)

    assert json.dumps(models.load_service_model(service, kind)) == theirs
    assert json.dumps(models.load_service_model(service, kind, version)) == theirs
    assert json.dumps(models.load_service_model(service, kind, api_version=version)) == theirs


@pytest.mark.parametrize("kind", ["service-2", "endpoint-rule-set-1", "paginators-1", "waiters-2"])
@pytest.mark.parametrize("service", ["s3", "dynamodb", "ecs"])
def test_descriptions_are_botocores(models: ServiceModels, service: str, kind: str) -> None:
    """Operations, endpoints, pages and waiters; asked for without a version and with it."""
    same(models, service, kind)


def test_what_botocore_adds_to_descriptions_is_added(models: ServiceModels) -> None:
    """Every description for which botocore has extras."""
    extras = sorted(Path(Loader.BUILTIN_DATA_PATH).glob("*/*/*.sdk-extras.json*"))
    assert len(extras) > 20

    for path in extras:
        same(models, path.parts[-3], path.name.partition(".")[0])


@pytest.mark.parametrize("name", ["endpoints", "partitions", "_retry", "sdk-default-configuration"])
def test_other_files_are_botocores(models: ServiceModels, name: str) -> None:
    """Endpoints, partitions, retries and defaults too; and where they came from."""
    theirs, path = Loader().load_data_with_path(name)
    found, place = models.load_data_with_path(name)

    assert json.dumps(found) == json.dumps(theirs)
    assert place == path
    assert models.is_builtin_path(place)


def test_services_are_listed_as_by_botocore(
    config: RolesAnywhereConfig, models: ServiceModels
) -> None:
    """What can be asked of a session about services is what a plain one answers."""
    ours, plain = boto3_session(config), boto3.Session(region_name="eu-west-1")

    assert models.list_available_services("service-2") == plain.get_available_services()
    assert ours.get_available_services() == plain.get_available_services()
    assert ours.get_available_resources() == plain.get_available_resources()
    assert ours.get_available_regions("rolesanywhere") == plain.get_available_regions(
        "rolesanywhere"
    )


def test_clients_are_made_without_a_look_at_other_services(
    config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a client, nor a paginator, a waiter or a resource lists all services."""

    def fail(self: Loader, type_name: str) -> None:
        raise AssertionError(f"looks for all {type_name}")

    session = boto3_session(config)
    monkeypatch.setattr(Loader, "list_available_services", fail)

    client = session.client("s3")
    assert client.get_paginator("list_objects_v2")
    assert client.get_waiter("bucket_exists")
    assert session.resource("dynamodb").Table("t").name == "t"


class Folder:
    """A folder of descriptions, as AWS_DATA_PATH names one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, name: str, **content: object) -> None:
        """Write one, packed if its *name* says so."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = json.dumps(content).encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty one."""
    return Folder(tmp_path)


def test_a_folder_of_the_users(folder: Folder) -> None:
    """It goes first; the newest version that has the file, or the one asked for; with extras."""
    folder.put("shop/2024-01-01/service-2.json", year=2024)
    folder.put("shop/2025-01-01/service-2.json.gz", year=2025, kept=1)
    folder.put("shop/2025-01-01/service-2.sdk-extras.json", merge={"more": 2})
    folder.put("shop/2026-01-01/paginators-1.json", year=2026)
    folder.put("sts/2030-01-01/service-2.json", mine=True)
    folder.put("both/2024-01-01/service-2.json", packed=False)
    folder.put("both/2024-01-01/service-2.json.gz", packed=True)
    no_folder = folder.path / "sts" / "2030-01-01" / "service-2.json"
    models = ServiceModels(lambda: os.pathsep.join(map(str, (no_folder, folder.path))))

    assert models.load_service_model("shop", "service-2") == {"year": 2025, "kept": 1, "more": 2}
    assert models.load_service_model("shop", "service-2", "2024-01-01") == {"year": 2024}
    assert models.load_service_model("shop", "paginators-1") == {"year": 2026}
    assert models.load_service_model("sts", "service-2") == {"mine": True}
    assert models.load_service_model("both", "service-2") == {"packed": False}
    assert models.load_service_model("s3", "service-2")["metadata"]["endpointPrefix"] == "s3"


def test_environment_and_profile_name_the_folder(
    config: RolesAnywhereConfig, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS_DATA_PATH and the profile's data_path, which are asked at the first use."""
    folder.put("shop/2024-01-01/service-2.json", year=2024)
    settings = folder.path / "settings"
    settings.write_text(f"[profile shop]\ndata_path = {folder.path}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(settings))

    for session in (botocore_session(config), botocore_session(config, profile_name="shop")):
        if session.profile is None:
            monkeypatch.setenv("AWS_DATA_PATH", str(folder.path))
        loader = session.get_component("data_loader")
        assert loader.load_service_model("shop", "service-2") == {"year": 2024}
        monkeypatch.delenv("AWS_DATA_PATH", raising=False)


@pytest.mark.parametrize(
    ("service", "kind", "version"),
    [
        ("nothing", "service-2", None),
        ("S3", "service-2", None),
        ("./s3", "service-2", None),
        ("s3/2006-03-01", "service-2", None),
        ("endpoints.json", "service-2", None),
        ("sts", "waiters-2", None),
        ("s3", "service-2", "1999-01-01"),
        ("s3", "service-2", "9" * 300),
    ],
)
def test_errors_are_botocores(
    models: ServiceModels, service: str, kind: str, version: str | None
) -> None:
    """What no service is called, what it has not, and a version that is not there."""
    with pytest.raises(DataNotFoundError) as theirs:
        create_loader().load_service_model(service, kind, version)
    with pytest.raises(DataNotFoundError) as ours:
        models.load_service_model(service, kind, version)

    assert type(ours.value) is type(theirs.value)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("error", [PermissionError, FileNotFoundError, OSError])
def test_folders_where_nobody_may_look(
    models: ServiceModels, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    """``~/.aws/models`` of another user, after a program gave up its rights, is passed over."""
    models.search_paths.insert(0, "/home/another/.aws/models")
    scan = os.scandir

    def scandir(path: str) -> Any:
        if path.startswith("/home/another"):
            raise error("not for you")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert models.load_service_model("sts", "service-2")["metadata"]["serviceId"] == "STS"


def test_what_is_loaded_is_looked_for_once(
    models: ServiceModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Further clients find it in memory, as with botocore."""
    first = models.load_service_model("sts", "service-2", api_version=None)
    monkeypatch.setattr(os, "scandir", None)

    assert models.load_service_model("sts", "service-2") is first
    assert models.load_service_model("sts", "service-2", None) is first


def test_a_child_forked_while_settings_are_read() -> None:
    """It reads its own: no lock is left to it that a thread of its parent's holds."""
    reading, go_on = threading.Event(), threading.Event()

    def data_path() -> None:
        reading.set()
        assert go_on.wait(30)

    thread = threading.Thread(target=lambda: ServiceModels(data_path).search_paths)
    thread.start()
    assert reading.wait(30)

    def child() -> bytes:
        return ServiceModels(lambda: None).search_paths[-1].encode()

    try:
        with children_of(child) as answers:
            assert answers == [Loader.BUILTIN_DATA_PATH.encode()]
    finally:
        go_on.set()
        thread.join()


def test_a_service_that_nobody_knows(config: RolesAnywhereConfig) -> None:
    """The error of a client names those that there are."""
    with pytest.raises(UnknownServiceError, match=r"Unknown service: 'nothing'.*rolesanywhere"):
        boto3_session(config).client("nothing")

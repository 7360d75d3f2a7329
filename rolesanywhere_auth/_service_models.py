# SPDX-License-Identifier: Apache-2.0
"""botocore's descriptions of services, read in a way that makes first clients quick.

Same files, same search path, same content. Two things are spared: looking through the
folders of all services, twice for each client, only to see that the one asked for exists;
and `OrderedDict`, which plain dicts, ordered as they are, need not be.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import DataNotFoundError
from botocore.loaders import ExtrasProcessor, JSONFileLoader, Loader, create_loader

if TYPE_CHECKING:
    import botocore.session

logger = logging.getLogger("rolesanywhere_auth.session")


class JSONFiles(JSONFileLoader):
    """Reads ``.json`` and ``.json.gz`` into plain dicts."""

    def load_file(self, file_path: str) -> Any:
        """The content of the file, given without its ending; None if there is none."""
        for ending, unpacked in ((".json", bytes), (".json.gz", gzip.decompress)):
            path = f"{file_path}{ending}"
            if os.path.isfile(path):  # noqa: PTH113 - False, too, where nobody may look
                logger.debug("reading %s", path)
                return json.loads(unpacked(Path(path).read_bytes()))
        return None


class ServiceModels(Loader):
    """A session's ``data_loader``.

    Args:
        data_path: Returns the setting ``data_path``; asked at the first use, as botocore does.
    """

    FILE_LOADER_CLASS = JSONFiles

    def __init__(self, data_path: Callable[[], str | None]) -> None:
        super().__init__(include_default_search_paths=False)
        self._data_path = data_path
        self._folders: list[str] | None = None
        self._loaded: dict[tuple[str, str, str | None], Any] = {}

    @property
    def search_paths(self) -> list[str]:
        """Folders, the first that has a file wins; boto3 adds one of its own."""
        # No cached_property: up to Python 3.11 it holds a lock, which a fork would leave locked.
        if self._folders is None:
            self._folders = create_loader(self._data_path()).search_paths
        return self._folders

    def load_service_model(
        self, service_name: str, type_name: str, api_version: str | None = None
    ) -> Any:
        """As botocore's.

        Raises:
            botocore.exceptions.UnknownServiceError: no service of that name has such a file.
            botocore.exceptions.DataNotFoundError: it has none of that version.
        """
        asked = (service_name, type_name, api_version)
        if asked not in self._loaded:
            newest = self._newest(service_name, type_name)
            if newest is None:
                # it knows all names, which its error shows
                return super().load_service_model(service_name, type_name, api_version)
            name = "/".join((service_name, api_version or newest, type_name))
            model = self.load_data(name)
            ExtrasProcessor().process(model, self._extras(name))
            self._loaded[asked] = model
        return self._loaded[asked]

    def _newest(self, service_name: str, type_name: str) -> str | None:
        """The newest version of *service_name* that has such a file."""
        if not any(_has_folder(path, service_name) for path in self.search_paths):
            return None
        try:
            newest: str = self.determine_latest_version(service_name, type_name)
        except DataNotFoundError:
            return None
        return newest

    def _extras(self, name: str) -> list[Any]:
        """What botocore adds to the description *name*."""
        found = []
        for kind in self.extras_types:
            with suppress(DataNotFoundError):
                found.append(self.load_data(f"{name}.{kind}-extras"))
        return found


def _has_folder(path: str, name: str) -> bool:
    """Whether *name* is a folder in *path*, spelt so: the file system may take "S3" for "s3"."""
    try:
        with os.scandir(path) as entries:
            return any(each.name == name and each.is_dir() for each in entries)
    except OSError:  # not there, or somebody else's
        return False


def read_models_quickly(session: botocore.session.Session) -> None:
    """Let the clients of *session* take descriptions of services from `ServiceModels`."""
    models = ServiceModels(lambda: session.get_config_variable("data_path"))
    session.register_component("data_loader", models)

# SPDX-License-Identifier: Apache-2.0
"""Reads a seed, the description of what an emulator shall hold, and checks its form."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rolesanywhere_auth.errors import ConfigurationError, MissingExtraError

_POLICY = (dict, str)
_SHAPES: dict[str, dict[str, tuple[type, ...]]] = {
    "trust_anchors": {
        "name": (str,),
        "certificate": (str, list),
        "generate": (bool, dict),
        "enabled": (bool,),
        "tags": (dict,),
    },
    "roles": {
        "name": (str,),
        "trust_anchor": (str,),
        "trust_policy": _POLICY,
        "policy": _POLICY,
        "max_session_duration": (int,),
    },
    "profiles": {
        "name": (str,),
        "roles": (list,),
        "enabled": (bool,),
        "duration_seconds": (int,),
        "accept_role_session_name": (bool,),
        "session_policy": _POLICY,
        "managed_policy_arns": (list,),
        "attribute_mappings": (dict,),
        "tags": (dict,),
    },
    "leaves": {
        "name": (str,),
        "trust_anchor": (str,),
        "folder": (str,),
        "common_name": (str,),
        "key_type": (str,),
        "organization": (str,),
        "organizational_units": (list,),
        "dns_names": (list,),
        "uris": (list,),
        "flaw": (str,),
    },
    "crls": {
        "name": (str,),
        "trust_anchor": (str,),
        "file": (str,),
        "revoke": (list,),
        "enabled": (bool,),
    },
}
_GENERATE: dict[str, tuple[type, ...]] = {
    "common_name": (str,),
    "key_type": (str,),
    "certificate": (str,),
    "private_key": (str,),
}
_REQUIRED = {
    "trust_anchors": ("name",),
    "roles": ("name",),
    "profiles": ("name", "roles"),
    "leaves": ("name", "trust_anchor", "folder"),
    "crls": ("name", "trust_anchor"),
}
_WORDS = {str: "text", list: "a list", dict: "an object", bool: "true or false", int: "a number"}


@dataclass(frozen=True)
class Seed:
    """A checked description; paths in it count from *folder*."""

    folder: Path
    trust_anchors: list[dict[str, Any]] = field(default_factory=list)
    roles: list[dict[str, Any]] = field(default_factory=list)
    profiles: list[dict[str, Any]] = field(default_factory=list)
    leaves: list[dict[str, Any]] = field(default_factory=list)
    crls: list[dict[str, Any]] = field(default_factory=list)


def read_seed(path: Path) -> Seed:
    """The seed in *path*: JSON if its name ends in ``.json``, otherwise YAML.

    Raises:
        OSError: The file cannot be read.
        MissingExtraError: YAML, and PyYAML is not installed.
        ConfigurationError: It cannot be parsed, or `check_seed` refuses it.
    """
    text = path.read_text(encoding="utf-8")
    content = _json(path, text) if path.suffix.lower() == ".json" else _yaml(path, text)
    return check_seed(content, folder=path.absolute().parent, source=str(path))


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{path} is no JSON: {error}") from None


def _yaml(path: Path, text: str) -> Any:
    try:
        yaml = importlib.import_module("yaml")
    except ImportError:
        raise MissingExtraError(
            f"{path} is read as YAML, which needs PyYAML: pip install 'rolesanywhere-auth[yaml]'; "
            "or write it as JSON, with a name that ends in .json",
            extra="yaml",
        ) from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is no YAML: {error}") from None


def check_seed(content: Any, *, folder: Path, source: str = "the seed") -> Seed:
    """*content* as a `Seed`; an empty one is a seed of nothing.

    Raises:
        ConfigurationError: An unknown or missing member, a value of another type, or a
            name that is used twice. The message says where.
    """
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigurationError(f"{source} must be an object of {', '.join(_SHAPES)}")
    _known(content, _SHAPES, source)
    for section, items in content.items():
        if not isinstance(items, list):
            raise ConfigurationError(f"{source}: {section} must be a list")
        _check_section(section, items, source)
    return Seed(folder=folder, **content)


def _check_section(section: str, items: list[Any], source: str) -> None:
    names = set()
    for number, item in enumerate(items):
        where = f"{source}: {section}[{number}]"
        if not isinstance(item, dict):
            raise ConfigurationError(f"{where} must be an object")
        _check_members(item, _SHAPES[section], where)
        missing = [name for name in _REQUIRED[section] if name not in item]
        if missing:
            raise ConfigurationError(f"{where} needs {' and '.join(missing)}")
        if item["name"] in names:
            raise ConfigurationError(f"{where}: the name {item['name']!r} is used twice")
        names.add(item["name"])
        generate = item.get("generate")
        if isinstance(generate, dict):
            _check_members(generate, _GENERATE, f"{where}.generate")
        _check_choice(section, item, where)


def _check_choice(section: str, item: Mapping[str, Any], where: str) -> None:
    pairs = {
        "trust_anchors": ("certificate", "generate"),
        "crls": ("file", "revoke"),
    }
    if section in pairs and sum(bool(item.get(name)) for name in pairs[section]) != 1:
        raise ConfigurationError(f"{where} needs {' or '.join(pairs[section])}, and not both")


def _check_members(
    item: Mapping[str, Any], shape: Mapping[str, tuple[type, ...]], where: str
) -> None:
    _known(item, shape, where)
    for name, value in item.items():
        if type(value) not in shape[name]:
            wanted = " or ".join(_WORDS[kind] for kind in shape[name])
            raise ConfigurationError(f"{where}.{name} must be {wanted}, not {value!r}")
        if isinstance(value, list) and not all(isinstance(each, str) for each in value):
            raise ConfigurationError(f"{where}.{name} must be a list of texts")


def _known(item: Mapping[str, Any], shape: Mapping[str, Any], where: str) -> None:
    unknown = [str(name) for name in item if name not in shape]
    if unknown:
        raise ConfigurationError(
            f"{where} has no member {', '.join(unknown)}; there are {', '.join(shape)}"
        )

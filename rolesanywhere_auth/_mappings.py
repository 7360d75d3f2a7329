# SPDX-License-Identifier: Apache-2.0
"""Mappings that cannot change, and which of them a configuration takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rolesanywhere_auth.errors import ConfigurationError


class FrozenMapping(Mapping[str, str]):
    """A mapping that cannot change, can be hashed, and can be pickled."""

    def __init__(self, items: Mapping[str, str]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: str) -> str:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)


def instance_properties(value: object) -> FrozenMapping:
    """Check `RolesAnywhereConfig.instance_properties`.

    Raises:
        ConfigurationError: Too many, too long, or no texts.
    """
    if not isinstance(value, Mapping) or len(value) > 50:
        raise ConfigurationError(
            "instance_properties takes a mapping of at most 50 names, not "
            + (str(len(value)) if isinstance(value, Mapping) else type(value).__name__)
        )
    for key, text in value.items():
        for part in (key, text):
            if not isinstance(part, str) or not 1 <= len(part) <= 200:
                raise ConfigurationError(
                    f"instance_properties takes names and values of 1 to 200 characters: {key!r}"
                )
    return FrozenMapping(value)


def proxies(value: object) -> FrozenMapping:
    """Check `RolesAnywhereConfig.proxies`.

    Raises:
        ConfigurationError: No mapping of texts.
    """
    if not isinstance(value, Mapping) or not all(
        isinstance(part, str) for item in value.items() for part in item
    ):
        raise ConfigurationError(
            "proxies takes a mapping of schemes to URLs, such as "
            "{'https': 'http://proxy.example:3128'}"
        )
    return FrozenMapping(value)

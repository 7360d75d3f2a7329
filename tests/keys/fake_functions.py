"""What fakes of an operating system's C functions have in common.

They are real function pointers of ctypes, so that the types that the library declared are
used; an error within one, and a call beside another, is a violation that a test can see.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Mapping
from ctypes import CFUNCTYPE, c_char_p, c_void_p
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass
class Held:
    """What a handle stands for, its references counted."""

    kind: str
    value: Any = None
    count: int = 1
    parts: list[int] = field(default_factory=list)
    """Handles that belong to it: what is in an array; keys that end with a certificate."""
    memory: list[Any] = field(default_factory=list)
    process: int = field(default_factory=os.getpid)


class FakeFunctions:
    """Methods by the names of C functions, behind function pointers."""

    signatures: ClassVar[Mapping[str, tuple[Any, ...]]]
    """By function: its library, what it returns, and its parameters."""

    def __init__(self, *, first_handle: int) -> None:
        self.violations: list[str] = []
        self.calls: list[str] = []
        self._held: dict[int, Held] = {}
        self._numbers = itertools.count(first_handle, 16)
        self._functions: dict[str, Any] = {}
        self._alone = threading.Lock()

    def open_handles(self) -> list[str]:
        """The kinds of what was not given back."""
        return sorted(each.kind for each in self._held.values())

    def _make(self, kind: str, value: Any = None, *, number: int | None = None) -> int:
        number = next(self._numbers) if number is None else number
        self._held[number] = Held(kind, value)
        return number

    def _get(self, number: int | None, *kinds: str) -> Held:
        held = self._held.get(number or 0)
        assert held is not None, f"{kinds} {number} is not there"
        assert held.kind in kinds, f"{number} is a {held.kind}, not one of {kinds}"
        assert held.process == os.getpid(), f"{held.kind} {number} is the parent's"
        return held

    def function(self, library: str, name: str) -> Any:
        """A function pointer."""
        if name not in self._functions:
            home, result, *parameters = self.signatures[name]
            assert home == library, f"{name} is not in {library}"
            self._functions[name] = CFUNCTYPE(result, *parameters)(self._recorded(name))
        return self._functions[name]

    def check_declarations(self) -> None:
        """What the library declared is what the functions are."""
        for name, function in self._functions.items():
            _, *types = self.signatures[name]
            declared = [function.restype, *function.argtypes]
            assert [_same(each) for each in declared] == [_same(each) for each in types], name

    def _recorded(self, name: str) -> Callable[..., Any]:
        empty = 0 if self.signatures[name][1] is not None else None

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            try:
                assert self._alone.acquire(blocking=False), "two threads at once"
                try:
                    return getattr(self, name)(*arguments)
                finally:
                    self._alone.release()
            except BaseException as error:  # noqa: BLE001 - ctypes would only print it
                self.violations.append(f"{name}: {error!r}")
                return empty

        return call


class Library:
    """What loading one gives: its functions are made when they are asked for."""

    def __init__(self, functions: FakeFunctions, name: str) -> None:
        self._functions = functions
        self.name = name

    def __getattr__(self, name: str) -> Any:
        return self._functions.function(self.name, name)


def _same(kind: Any) -> Any:
    """The type; pointers to bytes are all the same to C."""
    return c_void_p if kind is c_char_p else kind

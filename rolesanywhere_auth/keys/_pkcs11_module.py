# SPDX-License-Identifier: Apache-2.0
"""PKCS #11 modules of this process: found, loaded once, and used by one thread at a time.

``python-pkcs11`` tells a module that it need not lock (``C_Initialize(NULL)``), and lets other
threads run meanwhile: two of them inside SoftHSM end the process. So every call is made
within `Module`, which is also what a `fork()` waits for, and which starts the module anew
in the child, where its handles mean nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from random import random
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from rolesanywhere_auth.errors import MissingExtraError
from rolesanywhere_auth.forking import Guard, local_work
from rolesanywhere_auth.keys._rfc7512 import PKCS11URI

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger("rolesanywhere_auth.keys")

_SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
_PROXY = f"p11-kit-proxy{_SUFFIX}"
_FOLDERS = (
    "/usr/lib/*/pkcs11",
    "/usr/lib/pkcs11",
    "/usr/lib64/pkcs11",
    "/usr/local/lib/pkcs11",
    "/opt/homebrew/lib/pkcs11",
    "/usr/lib/softhsm",
    "/usr/lib64/softhsm",
    "/usr/lib/*",
    "/usr/lib64",
    "/usr/local/lib",
)
"""Where modules are, p11-kit's first."""
_CONFIGURED = ("/etc/pkcs11/modules", "/usr/share/p11-kit/modules")
"""Where p11-kit is told of modules in other places, one file each."""

RESTART_WAITS = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Seconds. SoftHSM writes a token's file at each login (seen with 2.6.1): a process that starts
at that moment finds no token, and has to start once more."""


def require_library() -> None:
    """Import ``python-pkcs11``.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        with local_work():
            import_module("pkcs11._pkcs11")
    except ImportError as error:
        raise MissingExtraError(
            "A key in a PKCS #11 token needs python-pkcs11: "
            f'pip install "rolesanywhere-auth[pkcs11]" ({error}).',
            extra="pkcs11",
        ) from error


class ModuleError(Exception):
    """A module cannot be found, loaded or started; the text says why."""


def module_path(uri: PKCS11URI) -> str:
    """The file of the module that *uri* names; else of p11-kit's proxy, which loads all.

    Raises:
        ModuleError: there is none of that name.
    """
    path, name = uri.module_path, uri.module_name
    if path is not None:
        path = os.path.expanduser(path)  # noqa: PTH111 - Path() raises where there is no home
        if name is None or not Path(path).is_dir():
            return path
    if name is None:
        return _PROXY
    if re.fullmatch(r"[\w.+-]+", name) is None:
        raise ModuleError("module-name is a name without path and suffix, such as softhsm2")
    folders = (path,) if path is not None else _FOLDERS
    files = [f"{name}{_SUFFIX}", f"lib{name}{_SUFFIX}", f"{name}{_SUFFIX}.0"]
    found = None if path is not None else _configured(name)
    found = found or next(
        filter(None, (_in(each, file) for each in folders for file in files)), None
    )
    if found is not None:
        return found
    raise ModuleError(
        f"there is no module {name}: looked for {' and '.join(files[:2])} in {', '.join(folders)}, "
        f"and for {name}.module in {', '.join(_CONFIGURED)}. Write ?module-path=/path/of/it instead"
    )


def _in(folder: str, file: str) -> str | None:
    root = Path(folder).anchor or "."
    pattern = str(Path(folder).relative_to(root) / file)
    return next((str(each) for each in sorted(Path(root).glob(pattern))), None)


def _configured(name: str) -> str | None:
    """What p11-kit's configuration says of a module of that name, or of that file name."""
    for folder in _CONFIGURED:
        for file in sorted(Path(folder).glob("*.module")):
            text = ""
            with contextlib.suppress(OSError):  # not for us to read
                text = file.read_text("utf-8", "replace")
            match = re.search(r"^module:\s*(\S+)", text, re.MULTILINE)
            if match is None:
                continue
            stem = Path(match[1]).name.partition(".")[0]
            if name in (file.stem, stem, stem.removeprefix("lib")):
                at = str(match[1])
                return at if at.startswith("/") else _in(_FOLDERS[0], at)
    return None


class Module:
    """One module; every call is made while this is entered.

    Entering starts it where it is not running: at first, and in each forked child.

    Args:
        path: Of the shared library; a bare name is looked for where the system does.
        sleep: As `time.sleep`.
        jitter: Returns 0 to 1.

    Raises (when entered):
        ModuleError: it does not load or start.
    """

    def __init__(
        self,
        path: str,
        *,
        sleep: Callable[[float], object] = time.sleep,
        jitter: Callable[[], float] = random,  # noqa: S311 - spreads retries, no secret
    ) -> None:
        self.path = path
        self.guard = Guard(leave=self._leave)
        self.lib: Any = None
        self.tokens: dict[object, Any] = {}
        """`_pkcs11_token.OpenToken` by its identity; emptied when handles lose their meaning."""
        self._generation = -1
        self._databases: tuple[object, ...] = ()
        self._sleep = sleep
        self._jitter = jitter

    def __enter__(self) -> Self:
        self.guard.__enter__()
        if self._generation != self.guard.generation:
            try:
                self._start()
            except BaseException:
                self.guard.__exit__(None, None, None)
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.guard.__exit__(kind, error, traceback)

    def _start(self) -> None:
        import pkcs11

        self.stop()  # in a child: it says "not initialised", or is a copy of the parent's
        databases = _databases(self.path)
        try:
            if self.lib is None:
                self.lib = _load(self.path)
            else:
                _initialise(self.lib)
        except (pkcs11.PKCS11Error, OSError) as error:
            raise ModuleError(f"the module {self.path} does not start: {_reason(error)}") from error
        self._generation = self.guard.generation
        self._databases = databases

    def stop(self) -> None:
        """End all sessions of this process with the module; entering starts it anew."""
        import pkcs11

        with self.guard:
            self._generation = -1
            self.tokens.clear()
            if self.lib is not None:
                with contextlib.suppress(pkcs11.PKCS11Error):
                    self.lib.finalize()

    def _leave(self) -> None:
        """End what a child would share with this process: see `_shares_its_connection`."""
        if self._generation == self.guard.generation and _shares_its_connection(self.path):
            self.stop()

    def restart(self) -> None:
        """Have it look for slots and tokens anew, at the cost of all sessions.

        Raises:
            ModuleError: it does not start.
        """
        self._start()

    def refresh(self) -> None:
        """Restart a module that would not see what other processes changed since.

        Raises:
            ModuleError: it does not start.
        """
        if self._databases != _databases(self.path):
            self.restart()

    def attempts(self) -> Iterator[None]:
        """Rounds of looking for a token: the module is restarted between them.

        Twice for most modules, as many see new slots only then; more often for SoftHSM, see
        `RESTART_WAITS`.
        """
        yield
        for wait in RESTART_WAITS if self._is_softhsm() else (0.0,):
            self._sleep(wait * (0.5 + self._jitter()))
            self.restart()
            yield

    def _is_softhsm(self) -> bool:
        import pkcs11

        try:
            return any("SoftHSM" in each.manufacturer_id for each in self.lib.get_slots())
        except pkcs11.PKCS11Error:  # SoftHSM is known for that too, at such a moment
            return True


def _shares_its_connection(path: str) -> bool:
    """Whether a child speaks on the parent's line, and hangs up for both when it starts anew.

    tpm2-pkcs11 (seen with 1.9) does: it keeps an open connection to the TPM with sessions and
    keys in it, which C_Finalize removes, in whichever process. p11-kit's proxy may have it among
    others.
    """
    if path != _PROXY:
        return "tpm2_pkcs11" in path
    try:
        return b"tpm2_pkcs11" in Path("/proc/self/maps").read_bytes()
    except OSError:  # another system than Linux, where it is not to be had
        return False


def _databases(path: str) -> tuple[object, ...]:
    """The state of what tpm2-pkcs11 (seen with 1.9) reads only when it starts: certificates, keys.

    Its folders are those of its documentation, doc/INITIALIZING.md. p11-kit's proxy may have it
    among others.
    """
    if path != _PROXY and "tpm2_pkcs11" not in path:
        return ()
    folders = (os.environ.get("TPM2_PKCS11_STORE", ""), "~/.tpm2_pkcs11", "/etc/tpm2_pkcs11")
    found: list[object] = []
    for folder in filter(None, folders):
        with contextlib.suppress(OSError, RuntimeError):
            file = (Path(folder).expanduser() / "tpm2_pkcs11.sqlite3").stat()
            found.append((folder, file.st_mtime_ns, file.st_size, file.st_ino))
    return tuple(found)


def _load(path: str) -> Any:
    import pkcs11
    from pkcs11 import _pkcs11

    try:
        return pkcs11.lib(path)
    except pkcs11.PKCS11Error as error:
        if "already initialized" not in str(error):
            raise
    # Something else in this process uses the module: so do we, and never end it.
    lib: Any = cast(Any, _pkcs11.lib).__new__(_pkcs11.lib, path)
    _initialise(lib)
    return lib


def _initialise(lib: Any) -> None:
    import pkcs11

    try:
        lib.initialize()
    except pkcs11.PKCS11Error as error:
        if "already initialized" not in str(error):
            raise


def _reason(error: Exception) -> str:
    """What python-pkcs11 says, which is often nothing but the class."""
    return str(error) or type(error).__name__


_modules: dict[str, Module] = {}
"""One each, as two would not lock each other out."""


def module_of(path: str) -> Module:
    """The module of this path in this process; nothing is loaded yet."""
    real = str(Path(path).resolve()) if "/" in path and Path(path).exists() else path
    return _modules.get(real) or _modules.setdefault(real, Module(real))

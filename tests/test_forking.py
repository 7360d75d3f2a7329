"""Forking while another thread is in the middle of local work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from rolesanywhere_auth import forking
from rolesanywhere_auth.forking import local_work
from rolesanywhere_auth.keys import check_signature
from rolesanywhere_auth.testing import CertificateAuthority, Emulator

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

PREFORK = """
import json, os, sys, threading, time
from rolesanywhere_auth import RolesAnywhereConfig, RolesAnywhereCredentials

credentials = RolesAnywhereCredentials(RolesAnywhereConfig(**json.loads(sys.argv[1])))
first = threading.Thread(target=credentials.get_frozen_credentials)
first.start()
children = []
for _ in range(25):
    child = os.fork()
    if not child:
        try:
            credentials.get_frozen_credentials()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    children.append(child)
    time.sleep(0.004)
first.join()
end = time.monotonic() + 30
hung = failed = 0
for child in children:
    done, status = os.waitpid(child, os.WNOHANG)
    while not done and time.monotonic() < end:
        time.sleep(0.01)
        done, status = os.waitpid(child, os.WNOHANG)
    if not done:
        hung += 1
        os.kill(child, 9)
        os.waitpid(child, 0)
    elif status:
        failed += 1
print(json.dumps({"hung": hung, "failed": failed, "children": len(children)}))
"""


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_children_forked_during_the_first_sign_in(repository: Path, scheme: str) -> None:
    """None hangs, and none finds a half-made module, whenever it was forked."""
    with Emulator() as emulator:
        arguments = emulator.set_up().config_arguments()
        if scheme == "https":
            arguments["endpoint_url"] = emulator.https_endpoint_url
            arguments["verify"] = emulator.ca_bundle
        done = subprocess.run(
            [sys.executable, "-c", PREFORK, json.dumps(arguments, default=str)],
            cwd=repository,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"hung": 0, "failed": 0, "children": 25}, done.stderr


IMPORTS = """
import json, sys
sys.modules["OpenSSL"] = None  # where it is installed, botocore imports it, and that X.509
from rolesanywhere_auth import RolesAnywhereConfig, RolesAnywhereCredentials, forking

credentials = RolesAnywhereCredentials(RolesAnywhereConfig(**json.loads(sys.argv[1])))
found = {True: [], False: []}

class Finder:
    def find_spec(self, name, path=None, target=None):
        found[forking._lock._is_owned()].append(name)

sys.meta_path.insert(0, Finder())
try:
    credentials.get_frozen_credentials()
except Exception as error:
    print(json.dumps([type(error).__name__, *found.values()]))
"""


def test_imports_of_a_sign_in_that_fails(repository: Path, tmp_path: Path) -> None:
    """What only an error message needs is imported within `local_work()` too."""
    other = CertificateAuthority("Other").issue("other").write_to(tmp_path)
    with Emulator() as emulator:
        arguments = {**emulator.set_up().config_arguments(), "private_key": other.private_key}
        found = subprocess.check_output(
            [sys.executable, "-c", IMPORTS, json.dumps(arguments, default=str)],
            cwd=repository,
            stderr=subprocess.DEVNULL,
        )

    error, guarded, unguarded = json.loads(found)
    assert error == "KeyMismatchError"
    assert "cryptography.x509" in guarded
    assert not unguarded


@contextmanager
def within(
    what: AbstractContextManager[object], *, until: threading.Event
) -> Iterator[threading.Thread]:
    """Another thread within *what*, until *until*."""
    inside = threading.Event()

    def work() -> None:
        with what:
            inside.set()
            until.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(10)
    try:
        yield thread
    finally:
        until.set()
        thread.join()


def can_work() -> bool:
    """Whether a thread other than this one gets the lock without waiting."""
    free: list[bool] = []

    def work() -> None:
        free.append(forking._lock.acquire(blocking=False))
        if free[0]:
            forking._lock.release()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return free[0]


def in_child(check: Callable[[], bool]) -> bool:
    """What *check* finds in a forked child."""
    child = os.fork()
    if child == 0:  # pragma: no cover - a process of its own
        os._exit(0 if check() else 1)
    return os.waitpid(child, 0)[1] == 0


def test_a_signature_is_checked_within() -> None:
    """That takes locks of OpenSSL's, as making one does."""
    free: list[bool] = []

    class PublicKey:
        def verify(self, signature: bytes, data: bytes) -> None:
            free.append(can_work())

    key: Any = PublicKey()
    check_signature(key, b"", b"", source="test")

    assert free == [False]


def test_a_fork_waits() -> None:
    """The fork takes place after the other thread's work, and the lock is free in both."""
    over = threading.Event()
    timer = threading.Timer(0.05, over.set)
    with within(local_work(), until=over) as thread:
        timer.start()
        free_in_child = in_child(can_work)
        waited = over.is_set()

    assert waited
    assert free_in_child
    assert not thread.is_alive()
    assert can_work()


def test_a_fork_within_the_work_of_its_own_thread() -> None:
    """It does not wait for itself; in the parent the work is still guarded afterwards."""
    with local_work(), local_work():
        child = os.fork()
        if child == 0:  # pragma: no cover - a process of its own
            with local_work():
                held = not can_work()
            os._exit(0 if held else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert not can_work()

    assert can_work()


def test_a_fork_that_waited_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """After so long it goes on; the child has a lock that works, the parent's is untouched."""
    monkeypatch.setattr(forking, "LONGEST_WAIT", 0.02)
    with within(local_work(), until=threading.Event()):
        free_in_child = in_child(can_work)
        held = not can_work()

    assert free_in_child
    assert held
    assert can_work()


def test_the_childs_handler_after_waiting_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock whose owner is not there is replaced; work begun before still ends with the old."""
    monkeypatch.setattr(forking, "_lock", threading.RLock())
    old = forking._lock
    with within(local_work(), until=threading.Event()):
        forking._after_fork_in_child()

        assert forking._lock is not old
        assert can_work()


def test_work_that_waited_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done unguarded, and leaves the lock with who has it."""
    monkeypatch.setattr(forking, "LONGEST_WAIT", 0.02)
    done = False
    with within(local_work(), until=threading.Event()):
        with local_work():
            done = True
        held = not can_work()

    assert done
    assert held


def test_an_error_within_the_work() -> None:
    """The lock is free after it."""
    with pytest.raises(ZeroDivisionError), local_work():
        raise ZeroDivisionError

    assert can_work()


@pytest.mark.parametrize("cache", [True, False])
def test_preload_imports_no_more_than_a_sign_in(repository: Path, cache: bool) -> None:
    """The signer, and the cache where there is one; neither X.509 nor filelock."""
    code = f"""
import sys
from rolesanywhere_auth.forking import preload
preload(cache={cache})
print(*("rolesanywhere_auth.keys.files" in sys.modules, "rolesanywhere_auth.cache" in sys.modules,
        "cryptography.x509" in sys.modules, "filelock" in sys.modules))
"""
    found = subprocess.check_output([sys.executable, "-c", code], cwd=repository, text=True)

    assert found.split() == ["True", str(cache), "False", "False"]
    forking.preload(cache=cache)


def test_a_system_without_fork(repository: Path) -> None:
    """Where there are no such handlers, the module does without."""
    code = (
        "import logging, os, threading\ndel os.register_at_fork\n"
        "from rolesanywhere_auth.forking import local_work\n"
        "with local_work(): print('done')\n"
    )
    found = subprocess.check_output([sys.executable, "-c", code], cwd=repository, text=True)

    assert found == "done\n"


def is_free(guard: forking.Guard) -> bool:
    """Whether a thread other than this one gets in without waiting long."""
    done = threading.Event()

    def work() -> None:
        with guard:
            done.set()

    threading.Thread(target=work, daemon=True).start()
    return done.wait(1)


def test_a_fork_waits_for_a_guard() -> None:
    """Handles are not in use at the moment of a fork, and the child knows them for foreign."""
    guard, over = forking.Guard(), threading.Event()
    with within(guard, until=over):
        threading.Timer(0.05, over.set).start()
        assert in_child(lambda: is_free(guard) and guard.generation == 1)
        assert over.is_set()

    assert is_free(guard)
    assert guard.generation == 0


def test_a_fork_within_a_guard_of_its_own_thread() -> None:
    """It does not wait for itself, and both go on within."""
    guard = forking.Guard()
    with guard:
        assert in_child(lambda: guard.generation == 1 and not is_free(guard))
        assert not is_free(guard)

    assert is_free(guard)


def test_handles_that_are_left_before_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """What leaves them runs in the parent, within; not where a use would be cut in two."""
    left: list[bool] = []
    # so that forks of other tests do not come here
    monkeypatch.setattr(forking, "_guards", weakref.WeakSet())
    guard = forking.Guard(leave=lambda: left.append(is_free(guard)))

    assert in_child(lambda: left == [False])
    assert left == [False]
    with guard, guard:
        assert in_child(lambda: left == [False])
    monkeypatch.setattr(forking, "LONGEST_WAIT", 0.02)
    with within(guard, until=threading.Event()):
        assert in_child(lambda: left == [False] and in_child(lambda: left == [False, False]))

    assert left == [False]


def test_a_fork_that_waited_for_a_guard_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handle that does not answer keeps no fork for ever; the child's guard is a new one."""
    monkeypatch.setattr(forking, "LONGEST_WAIT", 0.02)
    guard = forking.Guard()
    with within(guard, until=threading.Event()):
        assert in_child(lambda: is_free(guard))
        theirs = guard._lock
        monkeypatch.setattr(forking, "_lock", threading.RLock())
        monkeypatch.setattr(forking, "_forking", [guard])
        forking._after_fork_in_child()  # as the child does, where coverage sees it
        assert is_free(guard)
        assert guard.generation == 1
        guard._lock = theirs

"""The cache that processes of a host share: real processes, real files, the real emulator."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import resource
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import filelock
import pytest

from rolesanywhere_auth import (
    ConfigurationError,
    MissingExtraError,
    RolesAnywhereConfig,
    ServiceUnavailableError,
    _private_folder,
)
from rolesanywhere_auth.cache import HostCache, cache_key
from rolesanywhere_auth.credentials import SignIn
from rolesanywhere_auth.exchange import Clock, SessionCredentials
from rolesanywhere_auth.identity import Identity
from rolesanywhere_auth.testing import Emulator

KEY = hashlib.sha256(b"one identity").hexdigest()
NOW = 1_900_000_000.0
ROLE = "arn:aws:iam::111122223333:role/app"
NOBODY = 65534

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
"""Tests that need a second user."""


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    """Every test begins and ends with the usual umask."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def config() -> RolesAnywhereConfig:
    """A configuration of which only the role and the lifetime matter here."""
    anywhere = "arn:aws:rolesanywhere:eu-west-1:111122223333"
    name = "00000000-0000-0000-0000-000000000000"
    return RolesAnywhereConfig(
        trust_anchor_arn=f"{anywhere}:trust-anchor/{name}",
        profile_arn=f"{anywhere}:profile/{name}",
        role_arn=ROLE,
        certificate="/no/such/file.pem",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the cache is, not made yet."""
    return tmp_path / "cache"


class Caller:
    """One process's view: its cache, its clock, its sign-ins."""

    def __init__(self, folder: Path | None, config: RolesAnywhereConfig, **environ: str) -> None:
        self.cache = HostCache(folder, environ=environ)
        self.config = config
        self.ahead = 0.0
        self.clock = Clock(lambda: NOW + self.ahead)
        self.sign_ins = 0
        self.acceptable: Callable[[SessionCredentials], bool] = lambda found: True

    def sign_in(self) -> SessionCredentials:
        """A new session, one hour long."""
        self.sign_ins += 1
        serial = f"{id(self):X}{self.sign_ins}"
        return SessionCredentials(
            access_key=f"ASIA{serial}",
            secret_key=f"SECRET/{serial}",
            token=f"TOKEN/{serial}",
            expiration=self.clock.utcnow() + timedelta(hours=1),
            role_arn=ROLE,
            assumed_role_arn="arn:aws:sts::111122223333:assumed-role/app/00",
            packed_policy_size=7,
        )

    def __call__(self, **changes: Any) -> SessionCredentials:
        """Fetch, with the usual arguments but for *changes*."""
        arguments: dict[str, Any] = {
            "config": self.config,
            "sign_in": self.sign_in,
            "clock": self.clock,
            "acceptable": self.acceptable,
            "timeout": 5,
        }
        return self.cache.fetch(KEY, **{**arguments, **changes})


@pytest.fixture
def new_caller(folder: Path, config: RolesAnywhereConfig) -> Callable[[], Caller]:
    """Makes another process's view of the same folder."""
    return lambda: Caller(folder, config)


@pytest.fixture
def caller(new_caller: Callable[[], Caller]) -> Caller:
    """A caller of the cache in *folder*."""
    return new_caller()


def entry_of(folder: Path) -> Path:
    """The file that holds the session."""
    return folder / f"{KEY}.json"


def mode(path: Path) -> int:
    """The permission bits, of a link itself too."""
    return stat.S_IMODE(path.lstat().st_mode)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings of the cache."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "rolesanywhere_auth.cache" and record.levelno >= logging.WARNING
    ]


# What it gives


def test_the_second_process_takes_what_the_first_got(
    caller: Caller, new_caller: Callable[[], Caller]
) -> None:
    """All fields are the same, and the second signs in not at all."""
    first = caller()
    other = new_caller()

    assert other() == first
    assert caller() == first
    assert (caller.sign_ins, other.sign_ins) == (1, 0)


def test_an_entry_that_came_while_waiting_for_the_lock_is_taken(
    caller: Caller, new_caller: Callable[[], Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds nothing and then gets the lock looks again before it signs in."""
    first = caller()
    other = new_caller()
    real = HostCache._read
    looks: list[str] = []

    def read(self: HostCache, key: str) -> Any:
        looks.append(key)
        return None if len(looks) == 1 else real(self, key)

    monkeypatch.setattr(HostCache, "_read", read)

    assert other() == first
    assert (len(looks), other.sign_ins) == (2, 0)


def test_files_are_private_whatever_the_umask(caller: Caller, folder: Path) -> None:
    """The folder is 0700, the entry and the lock 0600, and no other file is left."""
    os.umask(0)
    caller()
    assert mode(folder) == 0o700
    assert {mode(each) for each in folder.iterdir()} == {0o600}
    assert {each.suffix for each in folder.iterdir()} == {".json", ".lock"}

    entry_of(folder).unlink()
    os.umask(0o277)
    caller()
    assert mode(entry_of(folder)) == 0o600
    assert caller.sign_ins == 2


def test_an_entry_that_the_caller_refuses_is_replaced(
    caller: Caller, new_caller: Callable[[], Caller]
) -> None:
    """The caller decides (near expiry, no newer than its own); the next one gets the new one."""
    old = caller()
    caller.acceptable = lambda found: found != old

    new = caller()

    assert new != old
    assert new_caller()() == new
    assert caller.sign_ins == 2


def test_an_expired_entry_is_never_offered(caller: Caller) -> None:
    """Even a caller that takes everything is not asked about it."""
    old = caller()
    caller.ahead = 3600

    assert caller() != old
    assert caller.sign_ins == 2


def test_errors_of_the_sign_in_are_the_callers(caller: Caller) -> None:
    """They come out unchanged, even an OSError, leave no entry and no lock."""

    def fail() -> SessionCredentials:
        raise PermissionError("the key store says no")

    with pytest.raises(PermissionError, match="key store"):
        caller(sign_in=fail)

    assert caller(timeout=0).role_arn == ROLE


def test_a_key_must_be_one_of_cache_key(caller: Caller, folder: Path) -> None:
    """No other file name can be reached."""
    for key in ("../../etc/passwd", KEY[:-1], KEY + "\n", KEY.upper()):
        with pytest.raises(ValueError, match=r"cache_key"):
            caller.cache.fetch(
                key,
                config=caller.config,
                sign_in=caller.sign_in,
                clock=caller.clock,
                acceptable=caller.acceptable,
                timeout=1,
            )
    assert not folder.exists()


def test_without_filelock_the_extra_is_named(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the command to install it; nothing was made."""
    monkeypatch.setitem(sys.modules, "filelock", None)

    with pytest.raises(MissingExtraError, match=r"pip install 'rolesanywhere-auth\[cache\]'") as it:
        caller()

    assert it.value.extra == "cache"
    assert caller.sign_ins == 0


def test_no_secret_is_logged_or_shown(
    caller: Caller, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG, with a hit, a damaged entry and a failure: no key and no token."""
    caplog.set_level(logging.DEBUG)
    caller()
    caller()
    entry_of(folder).write_bytes(entry_of(folder).read_bytes()[:-9])
    caller()
    folder.chmod(0o755)
    caller()

    assert caplog.records
    for secret in ("SECRET/", "TOKEN/"):
        assert secret not in caplog.text
    assert repr(caller.cache) == f"HostCache('{folder}')"
    assert pickle.loads(pickle.dumps(caller.cache))._directory == folder


# Where it is


@pytest.mark.parametrize("given", ["", b"/bytes", 7, True])
def test_the_directory_must_be_a_path(given: Any) -> None:
    """Anything else is refused at once."""
    with pytest.raises(ConfigurationError, match="path of a folder"):
        HostCache(given)


def test_other_systems_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Owners and modes are POSIX's."""
    monkeypatch.delattr(os, "geteuid")
    with pytest.raises(ConfigurationError, match="POSIX"):
        HostCache("cache")


def test_a_relative_directory_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of the working directory later does not move it; making it makes nothing."""
    monkeypatch.chdir(tmp_path)
    cache = HostCache("here")
    assert repr(cache) == f"HostCache('{tmp_path / 'here'}')"
    assert repr(HostCache()) == "HostCache('')"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of which the list of mounts says that it is tmpfs, as is all beside it."""
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 0:999 / /proc rw - proc proc rw\n"
        f"23 1 {os.major(device)}:{os.minor(device)} / /run rw shared:5 - tmpfs tmpfs rw\n"
    )
    monkeypatch.setattr(_private_folder, "_MOUNTS", mounts)
    monkeypatch.setattr(_private_folder, "_SHARED_MEMORY", tmp_path / "shm")
    (tmp_path / "shm").mkdir(mode=0o777)
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    return run


def used(caller: Caller, *candidates: Path) -> list[Path]:
    """Which of the folders the caller made an entry in."""
    caller()
    return [each for each in candidates if entry_of(each).exists()]


def test_the_default_is_the_runtime_directory(memory: Path, config: RolesAnywhereConfig) -> None:
    """XDG_RUNTIME_DIR is taken when it is private and in memory."""
    caller = Caller(None, config, XDG_RUNTIME_DIR=str(memory))
    assert used(caller, memory / "rolesanywhere-auth") == [memory / "rolesanywhere-auth"]


def _open_to_others(run: Path) -> str:
    run.chmod(0o755)
    return str(run)


def _of_another(run: Path) -> str:
    os.chown(run, NOBODY, NOBODY)
    return str(run)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda run: "", id="not set"),
        pytest.param(lambda run: "run", id="relative"),
        pytest.param(lambda run: str(run / "gone"), id="not there"),
        pytest.param(_open_to_others, id="open to others"),
        pytest.param(_of_another, id="of another user", marks=root_only),
        pytest.param(lambda run: "/proc", id="not in memory"),
    ],
)
def test_else_shared_memory(
    memory: Path,
    config: RolesAnywhereConfig,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], str],
) -> None:
    """Any other XDG_RUNTIME_DIR is passed over for a folder of this user in /dev/shm."""
    monkeypatch.chdir(memory.parent)
    caller = Caller(None, config, XDG_RUNTIME_DIR=spoil(memory))
    mine = memory.parent / "shm" / f"rolesanywhere-auth-{os.geteuid()}"
    assert used(caller, memory / "rolesanywhere-auth", mine) == [mine]
    assert mode(mine) == 0o700


@pytest.mark.parametrize("kind", ["ext4", "missing"])
def test_a_disk_is_never_the_default(memory: Path, config: RolesAnywhereConfig, kind: str) -> None:
    """Where nothing is in memory, or nobody can say, the user must name a directory."""
    mounts = memory.parent / "mountinfo"
    if kind == "missing":
        mounts.unlink()
    else:
        mounts.write_text(mounts.read_text().replace("tmpfs", kind))
    caller = Caller(None, config, XDG_RUNTIME_DIR=str(memory))

    with pytest.raises(ConfigurationError, match="Give the cache a directory"):
        caller()
    assert caller.sign_ins == 0


def test_device_not_among_the_mounts(memory: Path, config: RolesAnywhereConfig) -> None:
    """A file system that the list of mounts does not know counts as a disk."""
    (memory.parent / "mountinfo").write_text("22 1 0:999 / /proc rw - proc proc rw\n")
    with pytest.raises(ConfigurationError, match="no place in memory"):
        Caller(None, config)()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="this machine has no /dev/shm")
def test_this_machines_shared_memory_is_known_as_memory() -> None:
    """The real list of mounts is read: /dev/shm is memory, /proc is not."""
    assert _private_folder._in_memory(Path("/dev/shm").stat())
    assert not _private_folder._in_memory(Path("/proc").stat())


# A folder that is not fit


def _a_link(folder: Path) -> None:
    other = folder.with_name("other")
    other.mkdir(mode=0o700)
    folder.symlink_to(other)


def _a_file(folder: Path) -> None:
    folder.write_text("")


def _readable(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o750)


def _too_closed(folder: Path) -> None:
    folder.mkdir(mode=0o500)


def _foreign(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)


UNFIT = [
    pytest.param(_a_link, "symbolic link", id="symlink"),
    pytest.param(_a_file, "Not a directory", id="file"),
    pytest.param(_readable, "mode 0750", id="mode 0750"),
    pytest.param(_too_closed, "mode 0500", id="mode 0500"),
    pytest.param(_foreign, "of user 65534", id="owner", marks=root_only),
]


@pytest.mark.parametrize(("make", "reason"), UNFIT)
def test_an_unfit_folder_is_refused_at_first(
    caller: Caller, folder: Path, make: Callable[[Path], None], reason: str
) -> None:
    """The error names the folder, what is wrong and the mode it needs; nothing is put there."""
    make(folder)

    with pytest.raises(ConfigurationError, match=reason) as caught:
        caller()

    assert str(folder) in str(caught.value)
    assert "0700" in str(caught.value)
    assert caller.sign_ins == 0
    assert not list(folder.parent.rglob("*.json"))
    assert not list(folder.parent.rglob("*.lock"))


@pytest.mark.parametrize(("make", "reason"), UNFIT)
def test_a_folder_that_becomes_unfit_is_left_with_one_warning(
    caller: Caller,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[Path], None],
    reason: str,
) -> None:
    """While running the sign-in goes on without it, and nothing is read or put there."""
    known = caller()
    folder.rename(folder.with_name("before"))
    make(folder)

    assert caller() != known
    assert caller() != known

    assert caller.sign_ins == 3
    (warning,) = warnings_of(caplog)
    assert reason in warning
    assert not entry_of(folder).exists()
    assert not entry_of(folder.with_name("other")).exists()


def test_a_missing_parent_is_refused(folder: Path, config: RolesAnywhereConfig) -> None:
    """Only the last part of the path is made."""
    with pytest.raises(ConfigurationError, match="No such file"):
        Caller(folder / "deeper", config)()


def test_a_set_group_id_bit_does_no_harm(tmp_path: Path, config: RolesAnywhereConfig) -> None:
    """A folder inherits it from the one above, and it opens nothing."""
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(0o2755)
    caller = Caller(above / "cache", config)
    caller()
    caller()
    assert mode(above / "cache") == 0o2700
    assert caller.sign_ins == 1


def test_no_descriptor_to_spare(
    caller: Caller, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that has no file descriptor left is not told that its folder is wrong."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        caller()
        caller()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    (warning,) = warnings_of(caplog)
    assert "Too many open files" in warning
    assert caller.sign_ins == 2


# An entry that is not fit


def _rewritten(entry: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content as one who knows the format would, with a right checksum."""
    content = json.loads(entry.read_bytes().partition(b"\n")[2])
    change(content)
    payload = json.dumps(content).encode()
    entry.write_bytes(hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)


def _bare(entry: Path, payload: bytes) -> None:
    entry.write_bytes(hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)


def _edited(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes().replace(b"ASIA", b"AKIA"))


def _linked(entry: Path) -> None:
    entry.rename(entry.with_name("elsewhere"))
    entry.symlink_to("elsewhere")


def _fifo(entry: Path) -> None:
    entry.unlink()
    os.mkfifo(entry, 0o600)


def _chowned(entry: Path) -> None:
    os.chown(entry, NOBODY, NOBODY)


def _kept(name: str, value: object) -> Callable[[Path], None]:
    return lambda entry: _rewritten(entry, lambda all_: all_["credentials"].update({name: value}))


def _top(name: str, value: object) -> Callable[[Path], None]:
    return lambda entry: _rewritten(entry, lambda all_: all_.update({name: value}))


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(NOW + seconds, timezone.utc).isoformat()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda entry: entry.write_bytes(b""), id="empty"),
        pytest.param(lambda entry: os.truncate(entry, 300), id="torn"),
        pytest.param(lambda entry: os.truncate(entry, 70_000), id="padded"),
        pytest.param(_edited, id="edited"),
        pytest.param(lambda entry: _bare(entry, b"["), id="no JSON"),
        pytest.param(lambda entry: _bare(entry, b"[]"), id="no object"),
        pytest.param(lambda entry: _bare(entry, b"[" * 60_000), id="deep"),
        pytest.param(_top("version", 2), id="version"),
        pytest.param(_top("key", KEY[::-1]), id="key of another"),
        pytest.param(_top("clock_offset", "0"), id="offset no number"),
        pytest.param(_top("clock_offset", float("nan")), id="offset nan"),
        pytest.param(_top("clock_offset", float("inf")), id="offset infinite"),
        pytest.param(_top("clock_offset", -1e7), id="offset that makes it last too long"),
        pytest.param(_kept("role_arn", ROLE + "2"), id="role"),
        pytest.param(_kept("role_arn", ROLE.replace("1111", "9999")), id="account"),
        pytest.param(_kept("access_key", ""), id="empty key"),
        pytest.param(_kept("secret_key", "a\nb"), id="line end"),
        pytest.param(_kept("token", None), id="no token"),
        pytest.param(_kept("subject_arn", 7), id="type of a name"),
        pytest.param(_kept("packed_policy_size", "7"), id="type of a number"),
        pytest.param(_kept("unheard_of", 7), id="additional field"),
        pytest.param(_kept("expiration", "soon"), id="no time"),
        pytest.param(_kept("expiration", "2030-03-17T18:00:00"), id="no time zone"),
        pytest.param(_kept("expiration", _at(0)), id="expired"),
        pytest.param(_kept("expiration", _at(3600 + 241)), id="lasts too long"),
        pytest.param(lambda entry: entry.chmod(0o640), id="mode 0640"),
        pytest.param(lambda entry: entry.chmod(0o400), id="mode 0400"),
        pytest.param(_chowned, id="owner", marks=root_only),
        pytest.param(_linked, id="symlink"),
        pytest.param(lambda entry: os.link(entry, entry.with_name("x")), id="hard link"),
        pytest.param(_fifo, id="fifo"),
    ],
)
def test_an_unfit_entry_is_ignored_and_replaced(
    caller: Caller,
    new_caller: Callable[[], Caller],
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
) -> None:
    """Torn, edited, foreign, of another request: the next sign-in replaces it, without a word."""
    old = caller()
    spoil(entry_of(folder))

    other = new_caller()
    new = other()

    assert other.sign_ins == 1
    assert new.secret_key != old.secret_key
    assert new_caller()() == new
    assert mode(entry_of(folder)) == 0o600
    assert entry_of(folder).lstat().st_nlink == 1
    assert warnings_of(caplog) == []


def test_a_link_is_replaced_and_not_written_through(
    caller: Caller, folder: Path, tmp_path: Path
) -> None:
    """What links at the entry's and the lock's place point to keeps its content."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    folder.mkdir(mode=0o700)
    entry_of(folder).symlink_to(victim)
    (folder / f"{KEY}.lock").symlink_to(victim)

    found = caller()

    assert caller() == found
    assert victim.read_text() == "precious"
    assert not entry_of(folder).is_symlink()
    assert not (folder / f"{KEY}.lock").is_symlink()


def test_a_folder_in_the_entrys_place(
    caller: Caller, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It cannot be replaced: one warning, a sign-in each time, and no litter."""
    entry_of(folder).mkdir(parents=True)
    folder.chmod(0o700)

    caller()
    caller()

    assert caller.sign_ins == 2
    assert len(warnings_of(caplog)) == 1
    assert list(folder.glob("*.tmp")) == []


def test_a_folder_in_the_locks_place(
    caller: Caller, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no lock then, but an entry all the same."""
    (folder / f"{KEY}.lock").mkdir(parents=True)
    folder.chmod(0o700)

    assert caller() == caller()

    assert caller.sign_ins == 1
    assert len(warnings_of(caplog)) == 1


# A folder that fails


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A real file system of a few kilobytes, which only root may mount."""
    place = tmp_path / "tiny"
    place.mkdir(mode=0o700)
    options = ["-t", "tmpfs", "-o", "size=8k,mode=0700"]
    if subprocess.run(["mount", *options, "tmpfs", str(place)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_file_system(
    tiny: Path, config: RolesAnywhereConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """Signing in goes on; the half-written file is removed; room later is used."""
    (tiny / "filler").write_bytes(b"x" * 8192)
    caller = Caller(tiny, config)

    caller()
    caller()
    assert caller.sign_ins == 2
    (warning,) = warnings_of(caplog)
    assert "No space left" in warning
    assert list(tiny.glob("*.tmp")) == []

    (tiny / "filler").unlink()
    assert caller() == caller()
    assert caller.sign_ins == 3


def test_a_read_only_file_system(
    tiny: Path, config: RolesAnywhereConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """Entries are still read; otherwise signing in goes on without it."""
    caller = Caller(tiny, config)
    known = caller()
    subprocess.run(["mount", "-o", "remount,ro", str(tiny)], check=True)

    assert caller() == known
    caller.acceptable = lambda found: found != known
    caller()
    caller()

    assert caller.sign_ins == 3
    (warning,) = warnings_of(caplog)
    assert "Read-only" in warning


def test_a_file_that_cannot_grow(
    caller: Caller, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same as a full disk, where nothing can be mounted: a limit on the size of files."""
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        found = caller()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)

    assert found.access_key
    assert [each.suffix for each in folder.iterdir()] == [".lock"]
    (warning,) = warnings_of(caplog)
    assert "too large" in warning


def test_a_folder_removed_while_running_is_made_anew(caller: Caller, folder: Path) -> None:
    """As when a log-out empties the runtime directory."""
    caller()
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()

    assert caller() == caller()
    assert caller.sign_ins == 2


def test_a_folder_changed_between_two_looks(
    caller: Caller, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What becomes unfit while it signs in gets no entry; what does so before gets no lock."""

    def sign_in() -> SessionCredentials:
        folder.chmod(0o755)
        return caller.sign_in()

    caller(sign_in=sign_in)
    assert not entry_of(folder).exists()
    folder.chmod(0o700)
    old = caller()

    def refuse(found: SessionCredentials) -> bool:
        folder.chmod(0o755)
        return False

    assert caller(acceptable=refuse) != old
    assert caller.sign_ins == 3
    assert len(warnings_of(caplog)) == 1


def test_what_nobody_renews_is_removed(caller: Caller, folder: Path) -> None:
    """Files of other keys go a day after the last of them was written; other names stay."""
    caller()
    old, young, mixed = ("a" * 64, "b" * 64, "c" * 64)
    before = time.time() - 90_000
    for name, age in {
        f"{old}.json": before,
        f"{old}.lock": before,
        f"{old}.{'0' * 16}.tmp": before,
        f"{young}.json": before + 7200,
        f"{mixed}.json": time.time(),
        f"{mixed}.lock": before,
        f"{KEY}.lock": before,
        "notes.txt": before,
    }.items():
        (folder / name).touch()
        os.utime(folder / name, (age, age))
    (folder / f"{'d' * 64}.json").mkdir()
    os.utime(folder / f"{'d' * 64}.json", (before, before))
    caller.acceptable = lambda found: False

    caller()

    assert {each.name for each in folder.iterdir()} == {
        f"{young}.json",
        f"{mixed}.json",
        f"{mixed}.lock",
        f"{KEY}.json",
        f"{KEY}.lock",
        "notes.txt",
        f"{'d' * 64}.json",  # a folder is nothing of ours
    }


# Clocks


def test_the_clocks_correction_comes_with_the_entry(
    caller: Caller, new_caller: Callable[[], Caller]
) -> None:
    """A process that never spoke to the service learns from the entry how wrong the clock is."""

    def corrected() -> SessionCredentials:
        caller.clock.offset = 900.0
        return caller.sign_in()

    found = caller(sign_in=corrected)
    other = new_caller()

    assert other() == found
    assert other.clock.offset == 900.0
    assert found.expiration - other.clock.utcnow() == timedelta(hours=1)
    other.ahead = 3600  # its own clock alone would give it 15 minutes more
    assert other() != found


def test_a_refused_entry_teaches_no_time(caller: Caller, new_caller: Callable[[], Caller]) -> None:
    """The clock is as before when the caller does not take the entry."""
    caller.clock.offset = 900.0
    caller()
    other = new_caller()
    other.clock.offset = 5.0
    other.acceptable = lambda found: False

    other()

    assert other.clock.offset == 5.0


# Locks


def test_a_lock_held_too_long(
    caller: Caller,
    new_caller: Callable[[], Caller],
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After *timeout* it signs in by itself and warns; later callers need no lock any more."""
    caller()
    entry_of(folder).unlink()
    with filelock.FileLock(folder / f"{KEY}.lock"):
        found = caller(timeout=0.05)
        assert caller(timeout=0) == found
        other = new_caller()
        assert other(timeout=5) == found
        other.acceptable = lambda found: False
        other(timeout=-1)

    assert (caller.sign_ins, other.sign_ins) == (2, 1)
    first, second = warnings_of(caplog)
    assert "held its lock for 0.05 s" in first
    assert "held its lock for 0 s" in second


def test_threads_sign_in_once(caller: Caller) -> None:
    """Eight threads of one process are one flight too."""
    start = threading.Barrier(8)
    found = []

    def run() -> None:
        start.wait()
        found.append(caller().access_key)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len(set(found)) == 1
    assert caller.sign_ins == 1


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process; its lines are read from ``stdout``."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


_FETCH = """
import json, os, sys, time
from rolesanywhere_auth import RolesAnywhereConfig
from rolesanywhere_auth.cache import HostCache, cache_key
from rolesanywhere_auth.credentials import SignIn

arguments, folder, key, count, timeout = json.loads(sys.argv[1])

def fetch():
    sign_in = SignIn(RolesAnywhereConfig(**arguments))
    found = HostCache(folder).fetch(
        key,
        config=sign_in._config,
        sign_in=sign_in,
        clock=sign_in.clock,
        acceptable=lambda found: True,
        timeout=timeout,
    )
    os.write(1, (found.access_key + "\\n").encode())

print("ready", flush=True)
sys.stdin.readline()
children = []
for _ in range(count):
    child = os.fork()
    if not child:
        code = 1
        try:
            fetch()
            code = 0
        finally:
            os._exit(code)
    children.append(child)
if not count:
    fetch()
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """The service."""
    with Emulator() as emulator:
        yield emulator


def workers(emulator: Emulator, folder: Path, *counts: int) -> list[str]:
    """The access keys that processes got which start together: each forks so many, or none."""
    setup = emulator.set_up()
    arguments = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in setup.config_arguments().items()
    }
    sent = [json.dumps([arguments, str(folder), KEY, count, 60]) for count in counts]
    running = [python(_FETCH, each) for each in sent]
    for each in running:
        assert each.stdout
        assert each.stdout.readline() == "ready\n"
    for each in running:
        assert each.stdin
        each.stdin.write("go\n")
        each.stdin.flush()
    output = [each.communicate(timeout=60)[0] for each in running]
    assert [each.returncode for each in running] == [0] * len(running)
    return "".join(output).split()


def test_32_processes_sign_in_once(emulator: Emulator, folder: Path) -> None:
    """Two programs and what they fork, 32 processes at once, make one CreateSession."""
    keys = workers(emulator, folder, 16, 15, 0)

    assert len(keys) == 32
    assert len(set(keys)) == 1
    assert len(emulator.events) == 1
    assert mode(folder) == 0o700
    assert {mode(each) for each in folder.iterdir()} == {0o600}


_HOLD = """
import os, signal, sys, threading
from datetime import datetime, timedelta, timezone
from rolesanywhere_auth import RolesAnywhereConfig
from rolesanywhere_auth.cache import HostCache
from rolesanywhere_auth.exchange import Clock, SessionCredentials

folder, key, what, role, now = sys.argv[1:]
anywhere = "arn:aws:rolesanywhere:eu-west-1:111122223333:"
name = "/00000000-0000-0000-0000-000000000000"
config = RolesAnywhereConfig(
    trust_anchor_arn=anywhere + "trust-anchor" + name,
    profile_arn=anywhere + "profile" + name,
    role_arn=role,
    certificate="/no/such/file.pem",
)
inside = threading.Event()
say = lambda word: os.write(1, (word + "\\n").encode())

def session(access_key):
    expiration = datetime.fromtimestamp(float(now), timezone.utc) + timedelta(hours=1)
    return SessionCredentials(access_key, "secret", "token", expiration, role)

def sign_in():
    if what == "fork inside" and not os.fork():
        return session("CHILD")
    if what == "fork inside":
        os.wait()
    say("inside")
    inside.set()
    sys.stdin.readline()
    return session("PARENT")

def fetch(sign_in):
    return HostCache(folder).fetch(
        key,
        config=config,
        sign_in=sign_in,
        clock=Clock(lambda: float(now)),
        acceptable=lambda found: found.access_key != "CHILD",
        timeout=30,
    ).access_key

def child():
    say(f"child {os.getpid()}")
    if what == "fork, and fetch in the child":
        say("child got " + fetch(lambda: session("CHILD")))
    elif what == "fork, and the child stays":
        signal.pause()
    os._exit(0)

holder = threading.Thread(target=lambda: say("parent got " + fetch(sign_in)))
if what == "fork inside":
    parent = os.getpid()
    found = fetch(sign_in)
    if os.getpid() != parent:
        os._exit(0)
    say("parent got " + found)
else:
    holder.start()
    inside.wait()
    if what.startswith("fork") and not os.fork():
        child()
    holder.join()
    if what.startswith("fork"):
        os.wait()
"""


class Holder:
    """Another process, in the middle of its sign-in, and so with the lock in its hands."""

    def __init__(self, folder: Path, what: str) -> None:
        self.process = python(_HOLD, folder, KEY, what, ROLE, NOW)
        self.lock = folder / f"{KEY}.lock"
        assert self.line() == "inside"

    def line(self) -> str:
        """What it says next."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def go_on(self) -> set[str]:
        """Let it end its sign-in; what it says until its end."""
        return set(self.process.communicate("go\n", timeout=30)[0].split("\n")) - {""}

    def kill(self) -> None:
        """Kill it at once, and it alone."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()

    def is_held(self) -> bool:
        """Whether anybody has the lock."""
        try:
            with filelock.FileLock(self.lock, timeout=0):
                return False
        except filelock.Timeout:
            return True


def test_a_process_killed_with_the_lock(
    caller: Caller, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The lock goes with it: the next one signs in without a wait or a warning."""
    holder = Holder(folder, "plain")
    assert holder.is_held()
    holder.kill()

    assert caller(timeout=2).access_key.startswith("ASIA")
    assert caller.sign_ins == 1
    assert warnings_of(caplog) == []


def test_a_process_killed_while_its_child_lives(
    caller: Caller, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A child forked meanwhile has a copy of the descriptor; it must not keep the lock."""
    holder = Holder(folder, "fork, and the child stays")
    child = int(holder.line().removeprefix("child "))
    try:
        holder.kill()
        caller(timeout=2)
        os.kill(child, 0)  # it does live
    finally:
        os.kill(child, signal.SIGKILL)

    assert caller.sign_ins == 1
    assert warnings_of(caplog) == []


def test_a_child_that_ends_leaves_its_parents_lock(folder: Path) -> None:
    """Neither its end nor its own copies of our objects release what the parent holds."""
    holder = Holder(folder, "fork, and the child ends")
    child = int(holder.line().removeprefix("child "))
    wait_for_end(child)

    assert holder.is_held()
    assert holder.go_on() == {"parent got PARENT"}
    assert not holder.is_held()


def wait_for_end(process: int) -> None:
    """Wait until a process that is not our child has ended (it may be a zombie)."""
    for _ in range(500):
        if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.01)
    raise AssertionError(f"{process} goes on")


def test_a_child_waits_for_its_parent_like_any_other(folder: Path) -> None:
    """Forked in the middle of the parent's sign-in, it gets the parent's session."""
    holder = Holder(folder, "fork, and fetch in the child")
    holder.line()

    assert holder.go_on() == {"parent got PARENT", "child got PARENT"}


def test_a_fork_inside_the_sign_in(folder: Path) -> None:
    """A child that leaves the guarded section does not open it for others."""
    holder = Holder(folder, "fork inside")

    assert holder.is_held()
    assert holder.go_on() == {"parent got PARENT"}


# Keys


@pytest.fixture
def signed(emulator: Emulator) -> tuple[RolesAnywhereConfig, Identity]:
    """A configuration and the identity of its files."""
    config = RolesAnywhereConfig(**emulator.set_up().config_arguments())
    return config, identity_of(config)


def identity_of(config: RolesAnywhereConfig) -> Identity:
    """The identity that *config* names."""
    return Identity.load(
        config.certificate,
        private_key=config.private_key,
        certificate_chain=config.certificate_chain,
        now=datetime.now(timezone.utc),
    )


def test_equal_requests_have_one_key(
    signed: tuple[RolesAnywhereConfig, Identity], emulator: Emulator
) -> None:
    """However the certificate is read and the connection is made."""
    config, identity = signed
    assert isinstance(config.certificate, Path)
    same = replace(
        config,
        certificate=config.certificate.read_bytes(),
        session_duration=timedelta(hours=1),
        connect_timeout=1,
        max_attempts=1,
        verify=True,
    )
    key = cache_key(config, identity, endpoint="https://example.com")

    assert len(bytes.fromhex(key)) == 32
    assert cache_key(same, identity_of(same), endpoint="https://example.com/") == key


def test_whatever_changes_the_session_changes_the_key(
    signed: tuple[RolesAnywhereConfig, Identity], emulator: Emulator
) -> None:
    """Each ARN, duration, name, properties, endpoint, certificate, and an unverified line."""
    config, identity = signed
    renewed = RolesAnywhereConfig(**emulator.set_up().config_arguments())
    others = [
        replace(config, trust_anchor_arn=renewed.trust_anchor_arn),
        replace(config, profile_arn=renewed.profile_arn),
        replace(config, role_arn=config.role_arn + "x"),
        replace(config, session_duration=900),
        replace(config, role_session_name="me"),
        replace(config, instance_properties={"a": "b"}),
        replace(config, instance_properties={"a": "c"}),
        replace(config, verify=False),
    ]
    keys = [cache_key(each, identity, endpoint="https://a") for each in [config, *others]]
    keys.append(cache_key(config, identity, endpoint="https://b"))
    keys.append(cache_key(config, identity_of(renewed), endpoint="https://a"))

    assert len(set(keys)) == len(keys) == 11


# With the sign-in itself


def test_with_a_real_sign_in_that_is_refused(emulator: Emulator, folder: Path) -> None:
    """The service's error comes out, nothing is kept, and the next try works."""
    config = RolesAnywhereConfig(**emulator.set_up().config_arguments(), max_attempts=1)
    sign_in = SignIn(config)
    arguments: dict[str, Any] = {
        "config": config,
        "sign_in": sign_in,
        "clock": sign_in.clock,
        "acceptable": lambda found: True,
        "timeout": 5,
    }
    emulator.fail_next()
    with pytest.raises(ServiceUnavailableError):
        HostCache(folder).fetch(KEY, **arguments)
    assert not entry_of(folder).exists()

    found = HostCache(folder).fetch(KEY, **arguments)

    assert HostCache(folder).fetch(KEY, **arguments) == found
    assert found.secret_key in entry_of(folder).read_text()  # plain text, as documented

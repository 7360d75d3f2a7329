"""A pre-forking server: gunicorn itself, with an application that has a session."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from rolesanywhere_auth.testing import Emulator

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")

APP = """
import json, os
from rolesanywhere_auth import RolesAnywhereConfig, boto3_session

session = boto3_session(RolesAnywhereConfig(**json.loads(os.environ["APP_CONFIG"])))
if os.environ["APP_SIGNS_IN"] == "early":
    session.get_credentials().get_frozen_credentials()


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield f"{os.getpid()}\\n".encode()
    environ["wsgi.input"].read(1)  # keeps this worker busy until the others are
    yield session.get_credentials().get_frozen_credentials().access_key.encode() + b"\\n"
"""

# Taking 32 interpreters down takes seconds, and is the same for each; the few do it in full.
QUICK_EXIT = """
import os
def worker_exit(server, worker):
    os._exit(0)
"""


@contextmanager
def gunicorn(
    folder: Path, *options: str, config: dict[str, Any], signs_in: str
) -> Iterator[tuple[str, int]]:
    """Its address while it runs; it ends well when told to."""
    (folder / "served.py").write_text(APP)
    environ = {
        **os.environ,
        "APP_CONFIG": json.dumps(config, default=str),
        "APP_SIGNS_IN": signs_in,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONWARNINGS": "ignore::DeprecationWarning",  # forks while a thread runs
    }
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        number = listening.fileno()
        command = [sys.executable, "-m", "gunicorn", "--preload", "--bind", f"fd://{number}"]
        with subprocess.Popen(
            [*command, "--graceful-timeout", "18", *options, "served:app"],
            cwd=folder,
            env=environ,
            pass_fds=[number],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield listening.getsockname()
            finally:
                process.terminate()
                try:
                    _, log = process.communicate(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise
            assert process.returncode == 0, log
            assert "Traceback" not in log


def ask_all_at_once(address: tuple[str, int], *, count: int) -> list[tuple[str, str]]:
    """Which process answered each of *count* requests that overlap, and its access key."""
    with ExitStack() as stack:
        lines = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(address, timeout=30))
            connection.sendall(b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\n")
            lines.append((connection, stack.enter_context(connection.makefile("rb"))))
        found = []
        for _, answer in lines:
            while answer.readline().strip():
                pass
            found.append(answer.readline().strip().decode())
        for connection, _ in lines:
            connection.sendall(b"x")
        return [
            (process, answer.readline().strip().decode())
            for process, (_, answer) in zip(found, lines, strict=True)
        ]


@pytest.mark.parametrize(
    ("kind", "workers", "threads", "signs_in", "calls"),
    [("sync", 32, 1, "early", 1), ("gthread", 2, 8, "early", 1), ("gthread", 2, 8, "late", 2)],
)
def test_every_worker_answers(
    tmp_path: Path, kind: str, workers: int, threads: int, signs_in: str, calls: int
) -> None:
    """What the parent signed in for serves all workers; else each signs in once for its threads."""
    with Emulator() as emulator:
        options = f"--worker-class {kind} --workers {workers} --threads {threads}".split()
        if workers > 4:
            (tmp_path / "quick.py").write_text(QUICK_EXIT)
            options += ["--config", "quick.py"]
        options += ["--worker-connections", str(threads)]  # else one takes on more than it can do
        config = emulator.set_up().config_arguments()
        with gunicorn(tmp_path, *options, config=config, signs_in=signs_in) as address:
            answers = ask_all_at_once(address, count=workers * threads)
        assert len(emulator.events) == calls

    assert len(answers) == workers * threads
    assert len({process for process, _ in answers}) == workers
    assert len({key for _, key in answers}) == calls

"""The server of credentials under 64 clients: requests per second, and the slowest of a hundred.

Server and clients are two processes; ``python -m benchmarks.serve JSON`` is the first. All
clients are one thread with 64 kept connections, so that what is measured is the server.
"""

from __future__ import annotations

import asyncio
import json
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlsplit

from benchmarks.stage import ROOT, Stage
from benchmarks.table import OURS, Budget, budget, measure, ratios, section

CLIENTS = 64
BARE = "asyncio, a canned answer"
REQUESTS = 2000


class _Canned(asyncio.Protocol):
    """Sends one answer for whatever comes, as large as ours."""

    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1400\r\n\r\n" + b"x" * 1400

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        del data
        self._transport.write(self.answer)


async def _bare() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Canned, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", "", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def _serve(arguments: str) -> None:
    """The child: print URL and token file, and serve until standard input ends."""
    if not arguments:
        asyncio.run(_bare())
        return
    from rolesanywhere_auth import RolesAnywhereConfig
    from rolesanywhere_auth.serve import CredentialServer

    with CredentialServer(RolesAnywhereConfig(**json.loads(arguments))) as server:
        print(*server.environment().values(), flush=True)
        sys.stdin.read()


@contextmanager
def _child(arguments: str) -> Iterator[tuple[str, int, bytes]]:
    """Where it listens, and a request for it."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.serve", arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url, _, token_file = process.stdout.readline().strip("\n").partition(" ")
            parts = urlsplit(url)
            assert parts.hostname is not None
            assert parts.port is not None
            token = Path(token_file).read_text() if token_file else ""
            head = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: {token}"
            yield parts.hostname, parts.port, f"{head}\r\n\r\n".encode()
        finally:
            process.stdin.close()
            process.wait()


class _Crowd:
    """64 connections that stay."""

    def __init__(self, host: str, port: int, request: bytes) -> None:
        self._request = request
        self._selector = selectors.DefaultSelector()
        for _ in range(CLIENTS):
            line = socket.create_connection((host, port))
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(line, selectors.EVENT_READ)
        self.size = self._size_of_answer()

    def _size_of_answer(self) -> int:
        line = next(iter(self._selector.get_map().values())).fileobj
        assert isinstance(line, socket.socket)
        line.sendall(self._request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += line.recv(65536)
        head, _, body = answer.partition(b"\r\n\r\n")
        found = re.search(rb"(?im)^content-length: *(\d+)", head)
        assert found is not None
        while len(body) < int(found[1]):
            body += line.recv(65536)
        return len(head) + 4 + len(body)

    def run(self, requests: int, times: list[float]) -> float:
        """Microseconds per request; those of each are added to *times*, in milliseconds."""
        sent: dict[socket.socket, float] = {}
        left: dict[socket.socket, int] = {}
        begin = time.perf_counter()
        for key in self._selector.get_map().values():
            assert isinstance(key.fileobj, socket.socket)
            self._send(key.fileobj, sent, left)
        done, started = 0, CLIENTS
        while done < started:
            for key, _ in self._selector.select():
                line = key.fileobj
                assert isinstance(line, socket.socket)
                left[line] -= len(line.recv(65536))
                if left[line] > 0:
                    continue
                times.append((time.perf_counter() - sent[line]) * 1000)
                done += 1
                if started < requests:
                    started += 1
                    self._send(line, sent, left)
        return (time.perf_counter() - begin) / done * 1e6

    def _send(
        self, line: socket.socket, sent: dict[socket.socket, float], left: dict[socket.socket, int]
    ) -> None:
        sent[line], left[line] = time.perf_counter(), self.size
        line.sendall(self._request)

    def close(self) -> None:
        """Hang up."""
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()


def serving(found: Stage, *, rounds: int) -> list[Budget]:
    """Print microseconds per request, requests per second and the 99th percentile."""
    arguments = {OURS: json.dumps(found.config_arguments("ec-p256")), BARE: ""}
    times: dict[str, list[float]] = {name: [] for name in arguments}
    with ExitStack() as stack:
        contenders: dict[str, Callable[[], float]] = {}
        for name, given in arguments.items():
            crowd = _Crowd(*stack.enter_context(_child(given)))
            stack.callback(crowd.close)
            contenders[name] = partial(crowd.run, REQUESTS, times[name])
        samples = measure(contenders, rounds=rounds)
    print(section(f"{CLIENTS} clients, per request", samples, unit="µs", base=BARE))
    for name, figures in samples.items():
        slowest = quantiles(times[name], n=100)[98]
        print(f"{name:<44} {1e6 / median(figures):,.0f} requests/s, p99 {slowest:.1f} ms")
    return [budget("serve, 64 clients / bare asyncio", ratios(samples, OURS, BARE), 3.0)]


if __name__ == "__main__":
    _serve(sys.argv[1])

"""A CreateSession server that fails on demand: many lanes, each a port with its own manners.

Run as ``python -m benchmarks.faulty_server PEM``: the file holds its certificate and key.
Each line of its standard input is an order, a JSON object, answered by one line; it ends
when that input closes. `benchmarks.lanes` gives the orders. As in `benchmarks.server`, a
connection is closed after one answer, and nothing in a request is checked.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import socket
import ssl
import struct
import sys
import threading
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from benchmarks.server import answer_head, read_request, session

STATUSES = {"500": 500, "429": 429, "403": 403, "301": 301}
FAULTS = (
    *STATUSES,
    "reset",
    "close",
    "half a body",
    "bad JSON",
    "empty set",
    "null keys",
    "expired answer",
    "refused",
    "hang",
)
_marks = itertools.count(1)


@dataclass(frozen=True)
class Manners:
    """How a lane answers."""

    delay: float = 0.0
    """Seconds before the answer."""
    lifetime: float = 3600.0
    """Seconds until the credentials expire."""
    skew: float = 0.0
    """Seconds that this lane's clock is ahead."""
    fault: str | None = None
    """One of `FAULTS`; ``random`` is one of ``choice`` in ``rate`` of all requests."""
    rate: float = 1.0
    choice: tuple[str, ...] = ()


@dataclass
class Lane:
    """One port."""

    context: ssl.SSLContext
    listener: socket.socket
    manners: Manners = Manners()
    requests: int = 0
    faults: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        """Until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                raw, _ = self.listener.accept()
                threading.Thread(target=self._one, args=(raw,), daemon=True).start()

    def shut(self) -> None:
        """Refuse connections from now on, and let go of those that hang."""
        self.released.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes up accept()
        self.listener.close()

    def _one(self, raw: socket.socket) -> None:
        raw.settimeout(90)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError), self.context.wrap_socket(raw, server_side=True) as line:
            if read_request(line):
                manners = self.manners
                fault = _drawn(manners)
                with self.lock:
                    self.requests += 1
                    self.faults += fault is not None
                self.released.wait(manners.delay)
                self._answer(line, fault, manners)

    def _answer(self, line: ssl.SSLSocket, fault: str | None, manners: Manners) -> None:
        mark = f"{next(_marks):08d}"
        body = session(lifetime=manners.lifetime + manners.skew, mark=mark)
        if fault is None:
            line.sendall(answer_head(201, body) + body)
        elif fault in STATUSES:
            body = b'{"message": "injected by the benchmark"}'
            more = (f"Location: https://127.0.0.1:{self.port}/elsewhere",) if fault == "301" else ()
            line.sendall(answer_head(STATUSES[fault], body, *more) + body)
        elif fault == "reset":
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif fault == "hang":
            self.released.wait(90)
        elif fault == "half a body":
            line.sendall(answer_head(201, body) + body[: len(body) // 2])
        elif fault != "close":
            body = _spoilt(fault, body, manners)
            line.sendall(answer_head(201, body) + body)


def _drawn(manners: Manners) -> str | None:
    if manners.fault != "random":
        return manners.fault
    return random.choice(manners.choice) if random.random() < manners.rate else None


def _spoilt(fault: str, body: bytes, manners: Manners) -> bytes:
    if fault == "bad JSON":
        return b"<html>" + body
    if fault == "empty set":
        return b'{"credentialSet": []}'
    if fault == "expired answer":
        return session(lifetime=manners.skew - 60, mark="0")
    answer = json.loads(body)
    keys = answer["credentialSet"][0]["credentials"]
    keys.update(dict.fromkeys(("accessKeyId", "secretAccessKey", "sessionToken")))
    return json.dumps(answer).encode()


class Server:
    """Carries out orders."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._lanes: dict[int, Lane] = {}

    def _open(self, port: int = 0, manners: Manners | None = None) -> Lane:
        lane = Lane(self._context, socket.create_server(("127.0.0.1", port), backlog=128))
        lane.manners = manners or Manners()
        self._lanes[lane.port] = lane
        threading.Thread(target=lane.serve, daemon=True).start()
        return lane

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """``open``, or ``set`` (manners), ``count`` or ``shut`` of the lane ``port``."""
        if order["do"] == "open":
            return {"port": self._open().port}
        port: int = order["port"]
        lane = self._lanes[port]
        if order["do"] == "set":
            changes: dict[str, Any] = order["manners"]
            if "choice" in changes:
                changes["choice"] = tuple(changes["choice"])
            refused = lane.manners.fault == "refused"
            lane.manners = replace(lane.manners, **changes)
            if lane.manners.fault == "refused" and not refused:
                lane.shut()
            elif refused and lane.manners.fault != "refused":
                fresh = self._open(port, lane.manners)
                fresh.requests, fresh.faults = lane.requests, lane.faults
            return asdict(lane.manners)
        if order["do"] == "shut":
            lane.shut()
            del self._lanes[port]
        return {"requests": lane.requests, "faults": lane.faults}


def main() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    server = Server(context)
    for line in sys.stdin:
        print(json.dumps(server.obey(json.loads(line))), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()

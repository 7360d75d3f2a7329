"""A SPIFFE agent's Workload API, by grpcio and the package ``spiffe``'s stubs, in its own process.

It listens on the address that is its argument. Standard input commands it, one JSON a line, each
answered by a line on standard output with what has happened so far.
"""

from __future__ import annotations

import base64
import json
import queue
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from spiffe._proto import workload_pb2, workload_pb2_grpc

END = object()


class Agent(workload_pb2_grpc.SpiffeWorkloadAPIServicer):
    """What it grants, or how it refuses; all streams are told when that changes."""

    def __init__(self) -> None:
        self.answer: Any = (grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
        self.streams: list[queue.Queue[Any]] = []
        self.calls = 0
        self._lock = threading.Lock()

    def change(self, answer: Any) -> None:
        with self._lock:
            self.answer = answer
            for stream in self.streams:
                stream.put(answer)

    def FetchX509SVID(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        """The call, as its generated base names it."""
        if ("workload.spiffe.io", "true") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        stream: queue.Queue[Any] = queue.Queue()
        with self._lock:
            self.calls += 1
            self.streams.append(stream)
            stream.put(self.answer)
        context.add_callback(lambda: stream.put(END))
        try:
            while (answer := stream.get()) is not END:
                if isinstance(answer, tuple):
                    context.abort(*answer)
                if answer is not None:  # else it is silent
                    yield answer
        finally:
            with self._lock:
                self.streams.remove(stream)


def response(svids: list[dict[str, str]]) -> Any:
    """The message; with what else may be in one."""
    return workload_pb2.X509SVIDResponse(
        svids=[
            workload_pb2.X509SVID(
                spiffe_id=each["id"],
                x509_svid=base64.b64decode(each["chain"]),
                x509_svid_key=base64.b64decode(each["key"]),
                bundle=base64.b64decode(each["bundle"]),
                hint=each["hint"],
            )
            for each in svids
        ],
        crl=[b"0"],
        federated_bundles={"spiffe://other.example": b"0"},
    )


def listen(agent: Agent, address: str) -> Any:
    """The server, and its port if it has one."""
    server = grpc.server(ThreadPoolExecutor(64))
    workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(agent, server)
    port = server.add_insecure_port(address)
    server.start()
    return server, port


def say(what: dict[str, int]) -> None:
    """Answer a command."""
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


def main() -> None:
    """Listen, and obey until the commands end."""
    agent, address = Agent(), sys.argv[1]
    server, port = listen(agent, address)
    say({"port": port})
    for line in sys.stdin:
        command = json.loads(line)
        before = {"streams": len(agent.streams), "calls": agent.calls}
        if "grant" in command:
            agent.change(response(command["grant"]))
        elif "refuse" in command:
            agent.change((grpc.StatusCode[command["refuse"]], command["text"]))
        elif "silence" in command:
            agent.change(None)
        elif "down" in command:
            server.stop(0).wait()
        elif "up" in command:
            server, port = listen(agent, address)
        say(before)
    server.stop(0).wait()


if __name__ == "__main__":
    main()

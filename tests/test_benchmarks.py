from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

# At the end: an installed wheel of the package itself stays in front of the checkout.
sys.path.append(str(Path(__file__).parent.parent))

from benchmarks import emulator, loops, startup, table
from benchmarks.__main__ import SECTIONS, arguments, main
from benchmarks.server import answer
from benchmarks.stage import Stage


def test_contenders_run_in_turn_and_each_round_begins_with_another() -> None:
    """Noise strikes all contenders alike, and the warm-up is not counted."""
    order: list[str] = []

    def contender(name: str) -> float:
        order.append(name)
        return float(len(order))

    samples = table.measure(
        {"a": lambda: contender("a"), "b": lambda: contender("b")}, rounds=2, warm_up=1
    )
    assert order[2:] == ["a", "b", "b", "a"]
    assert samples == {"a": [3.0, 6.0], "b": [4.0, 5.0]}


def test_a_ratio_is_taken_round_by_round_over_what_is_common() -> None:
    """`minus` is taken off both sides of each round's ratio."""
    samples = {"a": [3.0, 8.0], "b": [6.0, 4.0], "c": [1.0, 2.0]}
    assert table.ratios(samples, "a", "b") == [0.5, 2.0]
    assert table.ratios(samples, "a", "b", minus="c") == [2 / 5, 6 / 2]


def test_a_budget_says_whether_the_median_meets_the_limit() -> None:
    """One slow round does not break a budget, and a slow median does."""
    assert table.budget("x", [0.1, 0.2, 9.0], 0.5).line().endswith(" met")
    assert table.budget("x", [0.1, 0.7, 0.8], 0.5).line().endswith("NOT MET")
    assert table.budget("x", [0.1, 0.7, 0.8], None).line().endswith("no limit")


def test_a_section_shows_every_contender_with_its_ratio() -> None:
    """The base itself stands there with 1.00."""
    lines = table.section("T", {"a": [1.0], "b": [2000.0]}, unit="ms", base="b").splitlines()
    assert "0.00 x b" in lines[-2]
    assert "2,000 ms" in lines[-1]
    assert lines[-1].endswith("1.00 x b")


def test_the_canned_answer_is_as_long_as_it_says() -> None:
    """A wrong Content-Length would make every contender wait."""
    head, _, body = answer().partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


def test_sections_can_be_chosen_and_others_are_refused() -> None:
    """A typo is no reason to measure for ten minutes."""
    assert arguments(["--only", "hotpath", "--quick"]).only == ["hotpath"]
    assert len(set(SECTIONS)) == len(SECTIONS)
    with pytest.raises(SystemExit):
        arguments(["--only", "hotpaht"])


def test_the_command_measures_and_prints_budgets(repository: Path) -> None:
    """A run of the quickest section, with real credentials of every contender, ends well."""
    pytest.importorskip("iam_rolesanywhere_session")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--rounds", "1", "--only", "hotpath"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "hot path / plain static Credentials" in done.stdout


def test_every_section_names_what_measures_it(repository: Path) -> None:
    """The module is there, and has the function; those that need the peer are not imported."""
    for place, usual, least in SECTIONS.values():
        module, _, function = place.partition(".")
        source = (repository / "benchmarks" / f"{module}.py").read_text()
        assert f"\ndef {function}(found: Stage" in source.replace("(_: Stage", "(found: Stage")
        assert 0 < least <= usual


def test_what_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without aiobotocore or moto their sections are left out, and a line says what is missing."""
    monkeypatch.setitem(sys.modules, "aiobotocore", None)
    assert loops.loops(Stage(tmp_path, 0), rounds=1) == []
    assert "pip install 'rolesanywhere-auth[aio]'" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "moto", None)
    assert emulator.emulators(Stage(tmp_path, 0), rounds=1) == []
    assert "pip install 'rolesanywhere-auth[testing]' pytest" in capsys.readouterr().out


def test_a_section_that_fails_leaves_what_the_others_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Budgets of earlier sections are printed, and the failure is seen."""

    def fails(*_: object, **__: object) -> list[table.Budget]:
        raise RuntimeError("no such machine")

    monkeypatch.setattr(startup, "imports", lambda *_, **__: [table.budget("one", [1], 2)])
    monkeypatch.setattr(loops, "loops", fails)
    with pytest.raises(RuntimeError, match="no such machine"):
        main(["--only", "import", "--only", "asyncio"])
    assert capsys.readouterr().out.splitlines()[-1].endswith("<= 2.00     met")


def test_a_loop_that_stands_still_is_seen() -> None:
    """A task that blocks shows, and tasks that wait do not count as that."""

    async def blocked() -> float:
        watching = asyncio.create_task(loops._stall(time.perf_counter() + 0.2))
        await asyncio.sleep(0)  # now it looks, whatever the machine does meanwhile
        time.sleep(0.1)  # noqa: ASYNC251 - what must be seen
        return await watching

    assert asyncio.run(blocked()) > 60


def test_the_faulty_server_shows_every_fault_to_an_ordinary_client() -> None:
    """What a contender is said to have met is what the wire carried, and a lane recovers."""
    pytest.importorskip("iam_rolesanywhere_session")
    from benchmarks.faulty_server import FAULTS, STATUSES
    from benchmarks.lanes import Lane, serving
    from benchmarks.stage import stage

    def ask(lane: Lane, bundle: str) -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=bundle)
        line = http.client.HTTPSConnection("127.0.0.1", lane.port, context=context, timeout=0.2)
        try:
            line.request("POST", "/sessions", body=b"{}")
            answer = line.getresponse()
            return answer.status, answer.read()
        finally:
            line.close()

    cut = (http.client.HTTPException, ConnectionError, ssl.SSLError)
    raised = {
        "reset": cut,
        "close": cut,
        "half a body": http.client.IncompleteRead,
        "refused": ConnectionRefusedError,
        "hang": TimeoutError,
    }
    with stage() as found, serving(found) as server, server.lane() as lane:
        for fault in FAULTS:
            lane.set(fault=fault)
            if fault in raised:
                with pytest.raises(raised[fault]):
                    ask(lane, found.bundle)
            else:
                status, body = ask(lane, found.bundle)
                assert status == STATUSES.get(fault, 201)
                assert (fault == "bad JSON") == (not body.startswith(b"{"))
        lane.set(fault=None)
        assert json.loads(ask(lane, found.bundle)[1])["credentialSet"][0]["credentials"]
        assert lane.requests == len(FAULTS)
        assert lane.faults == len(FAULTS) - 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_soak_ends_by_itself_and_says_that_all_held(repository: Path) -> None:
    """Two seconds of it: threads, forked children, faults and a leak check."""
    pytest.importorskip("iam_rolesanywhere_session")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.03"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all invariants held\n")

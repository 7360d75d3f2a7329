"""Peak memory of a process that has credentials and an S3 client."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from benchmarks.stage import Stage
from benchmarks.startup import STATIC, WAYS, environment, programs
from benchmarks.table import OURS, PEER, Budget, budget, measure, ratios, section

# On Linux ``ru_maxrss`` is inherited from the process that started this one.
_PEAK = """
import pathlib, sys
if sys.platform == "linux":
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    print(*(line.split()[1] for line in lines if line.startswith("VmHWM:")))
else:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak // 1024 if sys.platform == "darwin" else peak)
"""


def _peak(found: Stage, source: str, env: Mapping[str, str]) -> float:
    """MiB."""
    return int(found.run(source + _PEAK, env=env)[0]) / 1024


def memory(found: Stage, *, rounds: int) -> list[Budget]:
    """Print peak memory; the budget on what comes on top of boto3 with static keys."""
    budgets = []
    for endpoint in (False, True):
        sources = programs(found, "ec-p256", endpoint=endpoint, client=True)
        env = environment(found, endpoint=endpoint)
        contenders = {name: partial(_peak, found, text, env) for name, text in sources.items()}
        samples = measure(contenders, rounds=rounds)
        title = f"Peak memory, with credentials and an S3 client, {WAYS[endpoint]}"
        print(section(title, samples, unit="MiB"))
        extra = ratios(samples, OURS, PEER, minus=STATIC)
        what = f"memory over boto3 static, {WAYS[endpoint]} / peer's"
        budgets.append(budget(what, extra, 0.65))
    return budgets

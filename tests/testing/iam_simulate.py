"""Invented policies and requests, and what another evaluator says of them.

The other is ``@cloud-copilot/iam-simulate`` from npm (AGPL-3.0-or-later), which is no
dependency of ours: its answers were recorded once, one letter for each case, in
``data/iam_simulate.json``. To record them again, with Node.js:

    npm install @cloud-copilot/iam-simulate@0.1.173
    python tests/testing/iam_simulate.py node_modules > tests/testing/data/iam_simulate.json

Where the two were found to differ, the IAM User Guide decided, and no such case is invented
any more (`test_conditions.py` and `test_policy.py` have them):

* ``NotIpAddress`` with a list: the other wants one of it not to match, the guide none of it
  ("a logical NOR"). A lone IPv4 address against an IPv6 one: the other says no match.
* ``0.0.0.0/0`` holds no address for the other.
* A negated operator and a variable without a value: "inverted condition operators … do match
  against a null value"; not so the other.
* ``NotResource`` and a variable without a value: the other lets the statement not apply.
* ``${*}``, ``${?}`` and ``${$}`` in operators that compare exactly: the other keeps a backslash.
* ``ForAllValues:`` and an empty string: for the guide a "null dataset", which is true.
* ``ForAnyValue:…IfExists`` and an absent key: the guide says two things.
* ``[`` in an action: for the other the beginning of a class of letters.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

COUNT = 3000
SEED = 20221006
ANSWERS = Path(__file__).parent / "data" / "iam_simulate.json"

BUCKET = "arn:aws:s3:::bucket"
TEAM, OWNER, ABSENT = "aws:PrincipalTag/team", "aws:PrincipalTag/owner", "aws:PrincipalTag/none"
ROLE = "arn:aws:iam::111122223333:role"

# What the request may have for a key, and what a policy may want of it, by kind of operator.
TEXTS = ["red", "Red", "blue", "re*", "r?d", "red/blue", "a[b]c", "red.", "$", ""]
TEXTS_WANTED = [*TEXTS, "*", "?*", "r*d", "*e*", "[a-z]*", f"${{{TEAM}}}", f"${{{ABSENT}}}"]
TEXTS_WANTED += [f"${{{ABSENT}, 'red'}}", f"${{{OWNER}}}*", "re${*}", "r${?}d", "${$}", "a[b]?"]
ARNS = [f"{ROLE}/app", f"{ROLE}/team/app", "arn:aws:s3:::bucket/a:b", "arn:aws:sts::1:x/y"]
ARNS_WANTED = [*ARNS, "arn:*:*:*:*:*", f"{ROLE}/*", "arn:aws:iam::*:role/app", f"{ROLE}/?pp"]
ARNS_WANTED += ["arn:aws:iam:*:111122223333:role/app", "arn:aws:s3:::bucket/*:b", f"{ROLE}/*p"]
ARNS_WANTED += [f"{ROLE}/${{{TEAM}}}", f"{ROLE}/${{{ABSENT}, 'app'}}", f"{ROLE}/${{{ABSENT}}}"]
NUMBERS = ["0", "1", "10", "9.5", "-3", "10.0", "1000"]
DATES = ["2024-01-31T12:00:00Z", "2024-01-31T13:00:00+01:00", "2024-02-01", "2025-06"]
DATES += ["2024-01-31T11:59:59.5Z", "2023-12-31T23:59Z"]
ADDRESSES = ["10.0.0.1", "10.0.1.1", "203.0.113.7", "2001:db8::1"]
NETWORKS = ["10.0.0.0/24", "10.0.0.0/8", "203.0.113.7/32", "10.0.0.1", "2001:db8::/32", "0.0.0.0/1"]
BOOLEANS = ["true", "false", "True"]
BINARIES = ["cmVk", "Ymx1ZQ==", "cmVkIQ=="]

_ORDER = ["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"]
KINDS: list[tuple[list[str], list[str], list[str]]] = [
    (
        [
            *("StringEquals", "StringNotEquals", "StringLike", "StringNotLike"),
            *("StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"),
        ],
        TEXTS,
        TEXTS_WANTED,
    ),
    (["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"], ARNS, ARNS_WANTED),
    (["Numeric" + name for name in _ORDER], NUMBERS, NUMBERS),
    (["Date" + name for name in _ORDER], DATES, DATES),
    (["IpAddress", "NotIpAddress"], ADDRESSES, NETWORKS),
    (["Bool"], BOOLEANS, BOOLEANS),
    (["BinaryEquals"], BINARIES, BINARIES),
]
RESOURCES = [BUCKET, f"{BUCKET}/red", f"{BUCKET}/red/a:b", f"{BUCKET}/app/x", "arn:aws:s3:::other"]
RESOURCES_WANTED = [
    *RESOURCES,
    "*",
    "*",
    f"{BUCKET}*",
    f"{BUCKET}/*",
    f"{BUCKET}/r?d",
]
RESOURCES_WANTED += [f"{BUCKET}/${{{TEAM}}}", f"{BUCKET}/${{{TEAM}}}/*", "arn:aws:s3:::*/red"]
RESOURCES_WANTED += [f"{BUCKET}/${{{ABSENT}, 'red'}}", f"{BUCKET}/*:b", "arn:aws:s3:*"]
RESOURCES_WANTED += ["arn:aws:s?:::bucket/red"]
ACTIONS = ["s3:GetObject", "s3:PutObject", "s3:ListBucket"]
ACTIONS_WANTED = [*ACTIONS, "*", "*", "s3:*", "s3:*", "S3:getobject", "s3:Get*", "s3:?etObject"]


class Dice:
    """Picks; of the generator only random() is used, which is the same on every Python."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def pick(self, options: Sequence[Any]) -> Any:
        """One of *options*."""
        return options[int(self._random() * len(options))]

    def some(self, options: Sequence[Any], most: int = 3) -> Any:
        """One of *options*, or a list of a few."""
        count = self.pick([1, 1, *range(2, most + 1)])
        listed = [self.pick(options) for _ in range(count)]
        return listed if count > 1 or self.chance(0.2) else listed[0]

    def chance(self, share: float) -> bool:
        """True in *share* of the calls."""
        return self._random() < share


def cases() -> Iterator[dict[str, Any]]:
    """Policies with a request each."""
    dice = Dice(SEED)
    for _ in range(COUNT):
        context: dict[str, Any] = {}
        count = dice.pick([1, 1, 2, 3])
        statements = [statement(dice, context) for _ in range(count)]
        for key in (TEAM, OWNER):
            context[key] = dice.pick(["red", "blue", "app", "r*d", "Red"])
        yield {
            "policy": {"Version": "2012-10-17", "Statement": statements},
            "action": dice.pick(ACTIONS),
            "resource": dice.pick(RESOURCES),
            "context": context,
        }


def statement(dice: Dice, context: dict[str, Any]) -> dict[str, Any]:
    """A statement; the values of the keys that it asks for are put into *context*."""
    found: dict[str, Any] = {"Effect": dice.pick(["Allow", "Allow", "Deny"])}
    if dice.chance(0.9):
        found["Action"] = dice.some(ACTIONS_WANTED)
    else:
        found["NotAction"] = dice.some(ACTIONS_WANTED)
    if dice.chance(0.85):
        found["Resource"] = dice.some([*RESOURCES_WANTED, f"{BUCKET}/${{{ABSENT}}}"])
    else:
        found["NotResource"] = dice.some(RESOURCES_WANTED)
    if dice.chance(0.8):
        found["Condition"] = {}
        for _ in range(dice.pick([1, 1, 2])):
            operator, key, wanted = condition(dice, context)
            found["Condition"][operator] = {key: wanted}
    return found


def condition(dice: Dice, context: dict[str, Any]) -> tuple[str, str, Any]:
    """One operator, key and value of a Condition."""
    operators, has, wants = dice.pick(KINDS)
    operator = dice.pick(operators)
    key = "custom:" + dice.pick(["One", "Two"]) + operators[0]
    if dice.chance(0.1):
        return "Null", dice.pick([key, key.upper()]), dice.some(["true", "false"], 2)
    if dice.chance(0.3):
        key += "s"
        operator = dice.pick(["ForAllValues:", "ForAnyValue:"]) + operator
        values = [dice.pick(has) or "red" for _ in range(dice.pick([1, 2, 3]))]
        if dice.chance(0.75):
            context.setdefault(key, values)
    elif dice.chance(0.75):
        context.setdefault(key, dice.pick(has))
    if dice.chance(0.2) and "ForAny" not in operator:
        operator += "IfExists"
    fit = [want for want in wants if is_agreed(operator, want)]
    wanted = dice.pick(fit) if "NotIpAddress" in operator else dice.some(fit)
    return operator, dice.pick([key, key, key.lower()]), wanted


def is_agreed(operator: str, want: str) -> bool:
    """False where the other is known to differ; see the top of this module."""
    if "Not" in operator and (f"{ABSENT}}}" in want or want == "10.0.0.1"):
        return False
    return "Equals" not in operator or want not in ("re${*}", "r${?}d", "${$}")


def digest() -> str:
    """A hash of all cases, by which answers belong to them."""
    return hashlib.sha256(json.dumps(list(cases())).encode()).hexdigest()


PROGRAM = """
const { runUnsafeSimulation } = require("@cloud-copilot/iam-simulate");
const cases = JSON.parse(require("fs").readFileSync(0));
const answers = cases.map(({ policy, action, resource, context }) =>
  runUnsafeSimulation({
    identityPolicies: [{ name: "p", policy }],
    serviceControlPolicies: [],
    resourceControlPolicies: [],
    request: {
      principal: "arn:aws:sts::111122223333:assumed-role/app/name",
      action,
      resource: { resource, accountId: "111122223333" },
      contextVariables: context,
    },
  }, {})[0]);
console.log(answers.join(""));
"""


def main(node_modules: str) -> None:
    """Write the answers: A(llowed), E(xplicitly denied) or I(mplicitly denied)."""
    package = Path(node_modules) / "@cloud-copilot" / "iam-simulate" / "package.json"
    answers = subprocess.run(
        ["node", "-e", PROGRAM],
        input=json.dumps(list(cases())),
        cwd=Path(node_modules).parent,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.strip()
    version = json.loads(package.read_text())["version"]
    found = {"iam-simulate": version, "cases": digest(), "answers": answers}
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])

# SPDX-License-Identifier: Apache-2.0
"""The record of answers: its format, what is taken out of it, and how two are compared.

JSON lines. The first has ``format``, ``version``, ``recorded_at``, ``endpoint``, ``region``,
``botocore`` and ``library``; each further one has ``experiment``, ``question``, ``request`` and
``answer``. There is no key, no token, no signature and no account number in it, and what
differs from run to run (ARNs, serial numbers, times) is a word in braces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

FORMAT = "rolesanywhere-answers"
VERSION = 1
_SECRETS = {"accessKeyId", "secretAccessKey", "sessionToken"}
_PATTERNS = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "{uuid}"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)"), "{time}"),
    (re.compile(r"\d{8}T\d{6}Z"), "{time}"),
    (re.compile(r"\bAROA[A-Z0-9]{12,}"), "{role-id}"),
)
_KEPT_HEADERS = ("x-amzn-errortype", "content-type", "retry-after")


def redacted(value: Any, placeholders: Mapping[str, str], *, now: datetime) -> Any:
    """*value* without secrets, with words in place of what differs from run to run."""
    if isinstance(value, dict):
        return {
            key: "***" if key in _SECRETS else _member(key, item, placeholders, now)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [redacted(item, placeholders, now=now) for item in value]
    if not isinstance(value, str):
        return value
    for actual, word in placeholders.items():
        value = value.replace(actual, word)
    for pattern, word in _PATTERNS:
        value = pattern.sub(word, value)
    return value


def _member(key: str, item: Any, placeholders: Mapping[str, str], now: datetime) -> Any:
    if key == "expiration":
        return _from_now(item, now)
    return redacted(item, placeholders, now=now)


def _from_now(text: Any, now: datetime) -> Any:
    """How long a session lives, to the minute: the exact second is the clock's."""
    try:
        end = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except (TypeError, ValueError):
        return text
    return f"{{now + {round((end - now).total_seconds() / 60)} minutes}}"


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an answer that say something, in lower case."""
    lower = {name.lower(): value for name, value in headers.items()}
    return {name: lower[name] for name in _KEPT_HEADERS if name in lower}


def written(line: Mapping[str, Any]) -> str:
    """*line* as JSON, with a line end."""
    return json.dumps(line, ensure_ascii=False) + "\n"


def read(text: str, *, source: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The first line and the answers of a record.

    Raises:
        ValueError: It is not a record, or of another version.
    """
    try:
        head, *answers = [json.loads(line) for line in text.splitlines() if line.strip()]
        if head["format"] != FORMAT or head["version"] != VERSION:
            raise ValueError(f"the format is {head['format']} {head['version']}")
        for line in answers:
            line["experiment"], line["answer"]["status"]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{source} is no record of answers, version {VERSION} ({type(error).__name__}: {error})"
        ) from None
    return head, answers


def differences(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Where two answers differ: ``path: recorded …, here …``."""
    before, after = _flat("", _comparable(recorded)), _flat("", _comparable(here))
    return [
        f"{path}: recorded {_shown(before, path)}, here {_shown(after, path)}"
        for path in dict.fromkeys((*before, *after))
        if before.get(path, _ABSENT) != after.get(path, _ABSENT)
    ]


_ABSENT = object()


def _shown(values: Mapping[str, Any], path: str) -> str:
    return json.dumps(values[path], ensure_ascii=False) if path in values else "nothing"


def _comparable(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Without what says nothing about the service: letter case of ``message``, URLs of types."""
    body = answer.get("body")
    if isinstance(body, dict):
        body = {("message" if key == "Message" else key): value for key, value in body.items()}
    headers = dict(answer.get("headers", {}))
    kind = headers.pop("x-amzn-errortype", None)
    found = {**answer, "headers": headers, "body": body}
    if kind is not None:
        found["error"] = kind.partition(":")[0]
    return found


def _flat(path: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and value:
        found: dict[str, Any] = {}
        for key, item in value.items():
            found |= _flat(f"{path}.{key}" if path else key, item)
        return found
    if isinstance(value, list) and value:
        found = {}
        for number, item in enumerate(value):
            found |= _flat(f"{path}[{number}]", item)
        return found
    return {} if value in ({}, []) else {path: value}

# SPDX-License-Identifier: Apache-2.0
"""The restJson codec, driven by the service model of the botocore that is installed.

Routes, names, types and limits come from botocore's ``service-2`` file, so that
the emulator knows what the client beside it knows (the model moves: certificate
bundles grew from 8,000 to 204,800 characters within a year).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qsl, unquote

import botocore.loaders
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from rolesanywhere_auth.testing.service import validation
from rolesanywhere_auth.testing.service.wire import Refusal, Request, Response


class Codec:
    """Finds the operation of a request, reads its members and writes the answer."""

    def __init__(self) -> None:
        loader = botocore.loaders.create_loader()
        # Not `load_service_model`, which first looks into the folders of all services.
        version = loader.determine_latest_version("rolesanywhere", "service-2")
        self.model = ServiceModel(loader.load_data(f"rolesanywhere/{version}/service-2"))
        self._routes = [
            _route(self.model.operation_model(name)) for name in self.model.operation_names
        ]

    def route(self, request: Request) -> tuple[OperationModel, dict[str, str]] | None:
        """The operation and its decoded URI members, or None for a path the model lacks.

        Matches the raw path: ARNs travel inside one segment with their slashes encoded.
        """
        for method, pattern, operation in self._routes:
            match = pattern.fullmatch(request.path)
            if match and method == request.method:
                return operation, {key: unquote(raw) for key, raw in match.groupdict().items()}
        return None

    def parse(
        self, operation: OperationModel, uri: Mapping[str, str], request: Request
    ) -> dict[str, Any]:
        """The members of *request*, typed and checked against the model.

        Raises:
            Refusal: ``SerializationException`` for a body that cannot be read,
                ``ValidationException`` for a broken constraint.
        """
        shape = operation.input_shape
        assert isinstance(shape, StructureShape)
        body = json_object(request.body)
        query = parse_qsl(request.query, keep_blank_values=True)
        members = {}
        for name, member in shape.members.items():
            value = _raw_member(name, member, uri, query, body)
            if value is not None:
                members[name] = _read(member, value, name)
        validation.check(shape, members)
        return members

    def answer(self, operation: OperationModel, output: Mapping[str, Any]) -> Response:
        """*output* as the operation's answer; members that the model lacks are left out."""
        shape = operation.output_shape
        body = _write(shape, output) if shape is not None else {}
        return Response(int(operation.http.get("responseCode", 200)), body)


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in *body*; an empty body is an empty object.

    Raises:
        Refusal: 400 ``SerializationException`` (the text is ours).
    """
    if not body.strip():
        return {}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "SerializationException", f"The body is not JSON: {error}") from None
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise Refusal(400, "SerializationException", f"The body is not a JSON object: {kind}")
    return value


def _route(operation: OperationModel) -> tuple[str, re.Pattern[str], OperationModel]:
    uri = operation.http["requestUri"].split("?")[0]
    pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(uri))
    return operation.http["method"], re.compile(pattern), operation


def _raw_member(
    name: str,
    member: Shape,
    uri: Mapping[str, str],
    query: list[tuple[str, str]],
    body: Mapping[str, Any],
) -> Any:
    location = member.serialization.get("location")
    wire_name = member.serialization.get("name", name)
    if location == "uri":
        return uri.get(wire_name)
    if location == "querystring":
        values = [value for key, value in query if key == wire_name]
        if isinstance(member, ListShape):
            return values or None
        return values[0] if values else None
    return body.get(wire_name)


def _wrong(where: str, value: Any, wanted: str) -> Refusal:
    kind = "null" if value is None else type(value).__name__
    text = f"The member '{where}' must be {wanted}, not {kind}."
    return Refusal(400, "SerializationException", text)


def _read(shape: Shape, value: Any, where: str) -> Any:
    if isinstance(shape, StructureShape):
        if not isinstance(value, dict):
            raise _wrong(where, value, "an object")
        if shape.metadata.get("union") and sum(item is not None for item in value.values()) > 1:
            text = f"The union '{where}' must have one member, not {', '.join(value)}."
            raise Refusal(400, "SerializationException", text)
        return {
            name: _read(member, value[name], f"{where}.{name}")
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if isinstance(shape, ListShape):
        if not isinstance(value, list):
            raise _wrong(where, value, "a list")
        return [_read(shape.member, item, f"{where}.{n}") for n, item in enumerate(value, start=1)]
    return _read_scalar(shape, value, where)


def _read_scalar(shape: Shape, value: Any, where: str) -> Any:
    if shape.type_name in ("integer", "long"):
        return _read_integer(shape, value, where)
    if shape.type_name == "boolean":
        if not isinstance(value, bool):
            raise _wrong(where, value, "a boolean")
        return value
    if not isinstance(value, str):
        raise _wrong(where, value, "a string")
    if shape.type_name != "blob":
        return value
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:  # `binascii.Error` is one; letters beyond ASCII give a plain one
        raise _wrong(where, value, "base64") from None


def _read_integer(shape: Shape, value: Any, where: str) -> int:
    if isinstance(value, str) and shape.serialization.get("location") == "querystring":
        if re.fullmatch(r"-?\d{1,9}", value):
            return int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _wrong(where, value, "an integer")


def _write(shape: Shape, value: Any) -> Any:
    if isinstance(shape, StructureShape):
        return {
            name: _write(member, value[name])
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if isinstance(shape, ListShape):
        return [_write(shape.member, item) for item in value]
    if isinstance(shape, MapShape):
        return {key: _write(shape.value, item) for key, item in value.items()}
    if isinstance(value, datetime):
        return iso8601(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def iso8601(moment: datetime) -> str:
    """``2022-07-01T18:11:27.380711Z``, as the service writes its timestamps."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

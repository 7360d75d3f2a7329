"""Every constraint of every member of botocore's model, at its bound and beyond."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import boto3
import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from botocore.model import (
    DenormalizedStructureBuilder,
    ListShape,
    OperationModel,
    ServiceModel,
    Shape,
    StructureShape,
)

from rolesanywhere_auth.testing.service import validation
from rolesanywhere_auth.testing.service.wire import Refusal

MODEL = ServiceModel(Loader().load_service_model("rolesanywhere", "service-2"))


class Case(NamedTuple):
    """A rule for one member: a value that breaks it, and one that keeps it where that is known."""

    keys: tuple[str | int, ...]
    rule: str
    bad: Any
    good: Any = None

    @property
    def failure(self) -> str:
        """What the service says of the bad value, without the value."""
        where = ""
        for key in self.keys:
            where += f".{key}.member" if isinstance(key, int) else f".{key}" if where else key
        return f" at '{where}' failed to satisfy constraint: {self.rule}"


def walk(shape: Shape, keys: tuple[str | int, ...] = ()) -> Iterator[Case]:
    """The cases for *shape* and everything below it."""
    if isinstance(shape, StructureShape):
        for name in shape.required_members:
            yield Case((*keys, name), "Member must not be null", None)
        for name, member in shape.members.items():
            yield from walk(member, (*keys, name))
    elif isinstance(shape, ListShape):
        entry: Any = {} if isinstance(shape.member, StructureShape) else "a"
        yield from sizes(shape, keys, "length", lambda size: [entry] * size)
        if isinstance(shape.member, StructureShape):
            yield from walk(shape.member, (*keys, 1))
        else:
            texts = [case.rule for case in scalar(shape.member, keys)]
            for case in scalar(shape.member, keys):
                rule = f"Member must satisfy constraint: [{', '.join(texts)}]"
                yield Case(keys, rule, ["a", case.bad])
    else:
        yield from scalar(shape, keys)


def scalar(shape: Shape, keys: tuple[str | int, ...]) -> Iterator[Case]:
    """The cases for a string, a blob or a number."""
    if shape.type_name == "integer":
        yield from sizes(shape, keys, "value", lambda size: size)
        return
    one: Any = b"a" if shape.type_name == "blob" else "a"
    yield from sizes(shape, keys, "length", lambda size: one * size)
    rules = shape.metadata
    if "pattern" in rules:
        text = f"Member must satisfy regular expression pattern: {rules['pattern']}"
        yield Case(keys, text, "§")
    if "enum" in rules:
        text = f"Member must satisfy enum value set: [{', '.join(rules['enum'])}]"
        yield Case(keys, text, "NOPE", rules["enum"][0])


def sizes(shape: Shape, keys: tuple[str | int, ...], what: str, of_size: Any) -> Iterator[Case]:
    """The cases for ``max`` and ``min``."""
    rules = shape.metadata
    if "max" in rules:
        text = f"Member must have {what} less than or equal to {rules['max']}"
        yield Case(keys, text, of_size(rules["max"] + 1), of_size(rules["max"]))
    if rules.get("min"):  # nothing is shorter than 0
        text = f"Member must have {what} greater than or equal to {rules['min']}"
        yield Case(keys, text, of_size(rules["min"] - 1), of_size(rules["min"]))


def members(operation: OperationModel, keys: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A call with *value* at *keys*, and something wherever the path needs it."""
    for key in reversed(keys):
        value = [value] if isinstance(key, int) else {} if value is None else {key: value}
    path = {
        name: "x"
        for name, member in operation.input_shape.members.items()
        if member.serialization.get("location") == "uri"
    }
    return path | value


def cases(operation: OperationModel) -> list[Case]:
    """The cases of an operation that botocore can send: no path without its parts."""
    found = walk(operation.input_shape)
    in_path = members(operation, (), {})
    return [case for case in found if case.keys[0] not in in_path or case.bad]


@pytest.fixture(scope="module")
def careless(_running_emulator):
    """A boto3 client that lets the service find what is wrong with the parameters."""
    return boto3.client(
        "rolesanywhere",
        region_name="eu-west-1",
        endpoint_url=_running_emulator.endpoint_url,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(parameter_validation=False, proxies={}),
    )


def said(client, operation: OperationModel, keys, value) -> str:
    """The code and text of the service's refusal; "" if there is none."""
    try:
        getattr(client, xform_name(operation.name))(**members(operation, keys, value))
    except ClientError as error:
        return f"{error.response['Error']['Code']}: {error.response['Error']['Message']}"
    return ""


@pytest.mark.conformance(
    "every operation: Every length, bound, pattern and enum of the installed model is kept; what "
    "is beyond is refused in the words that AWS's services share.",
    source="model",
)
@pytest.mark.parametrize("name", MODEL.operation_names)
def test_every_rule_of_the_model_is_kept(emulator, careless, name):
    """Beyond a bound the service says so, in AWS's words; at the bound it does not."""
    operation = MODEL.operation_model(name)

    for case in cases(operation):
        refused = said(careless, operation, case.keys, case.bad)
        assert refused.startswith("ValidationException: "), case
        assert case.failure in refused, case
        if case.good is not None:
            assert case.failure not in said(careless, operation, case.keys, case.good), case


def test_the_model_has_rules_to_keep():
    """The test above does not pass for want of cases."""
    found = {name: len(cases(MODEL.operation_model(name))) for name in MODEL.operation_names}

    assert found["CreateProfile"] > 15
    assert found["PutNotificationSettings"] > 8
    assert sum(found.values()) > 130


@pytest.mark.conformance("every operation", source="observed + choice")
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([{"key": "a", "on": True}], "[{key=a, on=true}]"),
        (b"123", "3 bytes"),
        (7, "7"),
    ],
)
def test_values_in_texts_are_written_as_java_does(value, shown):
    """AWS's services print what they refuse by Java's rules; bytes are only counted (ours)."""
    assert validation.constraint_failure(value, "x", "no") == (
        f"Value '{shown}' at 'x' failed to satisfy constraint: no"
    )


def test_list_of_a_wrong_enum_has_one_text():
    """A list tells every rule for its members once, whichever of them break it."""
    model = DenormalizedStructureBuilder().with_members(
        {"kinds": {"type": "list", "member": {"type": "string", "enum": ["A", "B"]}}}
    )

    with pytest.raises(Refusal) as caught:
        validation.check(model.build_model(), {"kinds": ["A", "C", "D"]})
    assert caught.value.message == (
        "1 validation error detected: Value '[A, C, D]' at 'kinds' failed to satisfy constraint: "
        "Member must satisfy constraint: [Member must satisfy enum value set: [A, B]]"
    )

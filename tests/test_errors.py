"""The tree of exceptions: drawn as it is, caught as promised, safe to copy and send."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, CredentialRetrievalError

import rolesanywhere_auth
from rolesanywhere_auth import errors
from rolesanywhere_auth.errors import (
    ARNError,
    ConfigurationError,
    IdentityError,
    MissingExtraError,
    MissingPermissionError,
    ProvisioningError,
    ResourceConflictError,
    RolesAnywhereError,
    ServiceError,
    SignInError,
    ThrottlingError,
    TransportError,
)

CLASSES: list[type[RolesAnywhereError]] = sorted(
    (
        found
        for _, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, RolesAnywhereError)
    ),
    key=lambda found: found.__name__,
)
LEAVES = [found for found in CLASSES if not found.__subclasses__()]
FIXED = {
    "TransportError",
    "SignInTimeoutError",
    "InvalidResponseError",
    "ThrottlingError",
    "ServiceUnavailableError",
}
OTHER_DATA: dict[type[RolesAnywhereError], dict[str, Any]] = {
    TransportError: {"endpoint": "https://host.example", "retryable": False},
    MissingExtraError: {"extra": "pkcs11"},
    ARNError: {"arn": "arn:aws:iam::111122223333:role/app"},
    IdentityError: {"source": "/etc/pki/app.pem"},
    MissingPermissionError: {"code": "AccessDenied", "action": "iam:GetRole", "resource": None},
    ResourceConflictError: {"arns": ("arn:aws:iam::111122223333:role/app",)},
    ProvisioningError: {"code": "Throttling"},
}
LINE = re.compile(r"^    ((?:│   |    )*)(├── |└── )?([A-Z]\w+Error)\b *(.*)$")


def data_of(cls: type[RolesAnywhereError]) -> dict[str, Any]:
    """Arguments that fill everything this class carries."""
    if issubclass(cls, ServiceError):
        return {
            "status": 403,
            "code": "AccessDeniedException",
            "service_message": "Invalid signature",
            "request_id": "3f0c",
            "causes": ("one", "another"),
            "retry_after": 1.5,
        }
    for kind, data in OTHER_DATA.items():
        if issubclass(cls, kind):
            return data
    return {}


def drawn() -> Iterator[tuple[str, str | None, str]]:
    """Name, parent and remark of each line of the picture."""
    above: list[str] = []
    for line in str(errors.__doc__).splitlines():
        if found := LINE.match(line):
            bars, branch, name, remark = found.groups()
            depth = len(bars) // 4 + bool(branch)
            del above[depth:]
            yield name, above[-1] if above else None, remark
            above.append(name)


def test_the_picture_is_the_tree() -> None:
    """The tree at the top of the module has every class, each once, below its parent."""
    picture = [(name, parent) for name, parent, _ in drawn()]
    real = [
        (cls.__name__, None if cls is RolesAnywhereError else cls.__bases__[0].__name__)
        for cls in CLASSES
    ]
    assert sorted(picture, key=str) == sorted(real, key=str)


def test_the_picture_says_what_is_retryable() -> None:
    """Just the classes marked so in the picture are retryable."""
    marked = {name for name, _, remark in drawn() if "retryable" in remark}
    assert marked == FIXED
    assert {cls.__name__ for cls in CLASSES if cls.retryable} == FIXED


def test_every_class_is_public() -> None:
    """The package offers each of them by name."""
    for cls in CLASSES:
        assert getattr(rolesanywhere_auth, cls.__name__) is cls
        assert cls.__name__ in rolesanywhere_auth.__all__


def test_bases_that_only_group_are_never_raised() -> None:
    """No module raises a class that exists to be caught alone."""
    groups = "RolesAnywhereError|IdentityError|CertificateError|PrivateKeyError|SignInError"
    package = Path(str(rolesanywhere_auth.__file__)).parent
    for path in package.rglob("*.py"):
        assert not re.search(rf"raise ({groups})\b", path.read_text("utf-8")), path


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_botocore_handlers_catch_it(cls: type[RolesAnywhereError]) -> None:
    """Code that handles botocore's errors handles this one, with its message as it is."""
    with pytest.raises(BotoCoreError, match=r"^50 % of \{provider\}$") as caught:
        raise cls("50 % of {provider}", **data_of(cls))
    assert isinstance(caught.value, CredentialRetrievalError)
    assert caught.value.kwargs == {
        "provider": "rolesanywhere",
        "error_msg": "50 % of {provider}",
    }
    assert caught.value.args == ("50 % of {provider}",)
    assert isinstance(caught.value, ValueError) is issubclass(
        cls, ConfigurationError | IdentityError
    )


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_it_carries_its_data(cls: type[RolesAnywhereError]) -> None:
    """What the constructor takes can be read back."""
    error = cls("text", **data_of(cls))
    assert error.message == str(error) == "text"
    for name, value in data_of(cls).items():
        assert getattr(error, name) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_it_survives_pickle(cls: type[RolesAnywhereError], protocol: int) -> None:
    """A pickle gives back type, message and data."""
    error = cls("text", **data_of(cls))
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is cls
    assert (str(again), again.args, vars(again)) == ("text", ("text",), vars(error))


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
@pytest.mark.parametrize("cls", LEAVES, ids=lambda cls: cls.__name__)
def test_it_survives_copying(cls: type[RolesAnywhereError], copier: Any) -> None:
    """A copy is another object of the same type, message and data."""
    error = cls("text", **data_of(cls))
    again = copier(error)
    assert again is not error
    assert type(again) is cls
    assert (str(again), again.args, vars(again)) == ("text", ("text",), vars(error))


def test_another_process_can_read_it() -> None:
    """It crosses to another process, as from a pool's worker."""
    error = ThrottlingError("slower, please", **data_of(ThrottlingError))
    program = (
        "import pickle, sys; e = pickle.load(sys.stdin.buffer); "
        "print(type(e).__name__, e, e.retryable, e.retry_after)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps(error),
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().split() == ["ThrottlingError", "slower,", "please", "True", "1.5"]


class OwnError(SignInError):
    """A user's own leaf, with an argument of another shape."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


def test_a_users_own_subclass_survives_pickle() -> None:
    """A subclass need not repeat anything to be picklable."""
    again = pickle.loads(pickle.dumps(OwnError(code=7)))
    assert type(again) is OwnError
    assert (str(again), again.code) == ("code 7", 7)


def test_a_pickle_holds_neither_cause_nor_context() -> None:
    """What a lower library raised, and may hold, does not travel."""
    try:
        try:
            raise RuntimeError("hunter2")
        except RuntimeError as cause:
            raise TransportError("no answer", endpoint="https://host.example") from cause
    except TransportError as error:
        sent = pickle.dumps(error)
    assert b"hunter2" not in sent
    assert pickle.loads(sent).__cause__ is None


def test_a_transport_error_may_be_final() -> None:
    """Whether it is worth trying again is the instance's to say."""
    assert TransportError("text", endpoint="https://host.example").retryable
    assert not TransportError("text", endpoint="https://host.example", retryable=False).retryable

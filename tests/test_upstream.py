"""What we take the place of in botocore, and the rules that botocore is moving to."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import botocore
import botocore.credentials
import botocore.loaders
import pytest
from botocore.credentials import ReadOnlyCredentials, RefreshableCredentials
from botocore.httpsession import URLLib3Session

from rolesanywhere_auth.errors import (
    AccessDeniedError,
    CertificateRevokedError,
    RolesAnywhereError,
    TransportError,
)
from rolesanywhere_auth.keeper import Keeper
from rolesanywhere_auth.renewal import Renewal, Snapshot
from rolesanywhere_auth.schedule import MANDATORY_WINDOW, renewal_window

# The first half of the SHA-256 of each source that our subclass overrides, of botocore
# 1.37.0, 1.43.117 and 1.44.5. A botocore that changes one fails here by name: read the
# change, see whether ours must follow, and add the new value.
KNOWN = {
    "__init__": {"ebff6237120d83d9", "f96b5344637a82e2"},
    "access_key": {"1737732f1eb0b38a"},
    "account_id": {"03e318586ea2db7d"},
    "get_frozen_credentials": {"5dacfa2ca8485798"},
    "refresh_needed": {"2f486e3d984c50a5"},
    "secret_key": {"d7bba083f9301ad5"},
    "token": {"89360699e3b57c99"},
}


@pytest.mark.parametrize("name", KNOWN)
def test_what_we_override_is_as_we_read_it(name: str) -> None:
    """botocore's own source of each overridden name is one that was read and judged."""
    member = inspect.getattr_static(RefreshableCredentials, name)
    source = inspect.getsource(member.fget if isinstance(member, property) else member)
    found = hashlib.sha256(source.encode()).hexdigest()[:16]

    assert found in KNOWN[name], (
        f"botocore {botocore.__version__} changed RefreshableCredentials.{name}: reread and update"
    )


def test_the_one_private_name_is_as_we_read_it() -> None:
    """`rolesanywhere_auth.tls` overrides how botocore makes the context for TLS."""
    from rolesanywhere_auth.tls import GuardedSession

    ours = {name for name in vars(GuardedSession) if not name.startswith("__")}
    source = inspect.getsource(URLLib3Session._get_ssl_context)
    found = hashlib.sha256(source.encode()).hexdigest()[:16]

    assert ours == {"_get_ssl_context"}
    assert found == "edf40308e93a7944", (
        f"botocore {botocore.__version__} changed URLLib3Session._get_ssl_context: reread"
    )


# What `rolesanywhere_auth._service_models` takes the place of, of botocore 1.37.0, 1.43.117
# and 1.44.8; some are behind a decorator of botocore's.
LOADING = {
    "JSONFileLoader._load_file": {"8e9da7ac3d7d5c30"},
    "JSONFileLoader.load_file": {"4b6735d5cf3c559f"},
    "Loader._find_extras": {"49c6f70134fb09bf"},
    "Loader.list_available_services": {"28a49e0005a58c29"},
    "Loader.load_service_model": {"6763999cad5e1077", "da82cb2bd0e465bd"},
    "Loader.search_paths": {"5bdd0bf1ee31e840"},
    "create_loader": {"89050e30206e5ea7"},
}


@pytest.mark.parametrize("name", LOADING)
def test_the_loader_that_ours_takes_the_place_of_is_as_we_read_it(name: str) -> None:
    """botocore's ways to a description of a service are ones that were read and judged."""
    member = functools.reduce(inspect.getattr_static, name.split("."), botocore.loaders)
    member = member.fget if isinstance(member, property) else member
    member = inspect.getclosurevars(member).nonlocals.get("func", member)
    found = hashlib.sha256(inspect.getsource(member).encode()).hexdigest()[:16]

    assert found in LOADING[name], (
        f"botocore {botocore.__version__} changed {name}: reread and update"
    )


# What `rolesanywhere_auth.chain` puts its providers into, for source_profile and
# credential_source, and who reads it there; of the same three releases.
CHAINING = {
    "AssumeRoleProvider._resolve_credentials_from_profile": {
        "f225989056b8f9fb",
        "cbac272cae4c88f2",
    },
    "AssumeRoleProvider._resolve_credentials_from_source": {"b0907ae3dab92545", "d4a3a44698b2e8b2"},
    "AssumeRoleProvider._validate_credential_source": {"c31f68a1797d2eb3"},
    "CanonicalNameCredentialSourcer.__init__": {"cd1e470affb91df8"},
    "CanonicalNameCredentialSourcer._get_provider": {"f4d8071f3c5ec3f2"},
    "CanonicalNameCredentialSourcer._get_provider_by_canonical_name": {"0aed9c9af3be9f40"},
    "CanonicalNameCredentialSourcer.is_supported": {"49e164a5ec03bb80"},
    "ProfileProviderBuilder.providers": {"9b097284a0e90544", "516579a01f5f87c2"},
}


@pytest.mark.parametrize("name", CHAINING)
def test_what_chaining_relies_on_is_as_we_read_it(name: str) -> None:
    """botocore's ways from one profile to the next are ones that were read and judged."""
    kind, _, method = name.partition(".")
    source = inspect.getsource(getattr(getattr(botocore.credentials, kind), method))
    found = hashlib.sha256(source.encode()).hexdigest()[:16]

    assert found in CHAINING[name], (
        f"botocore {botocore.__version__} changed {name}: reread and update"
    )


@pytest.mark.parametrize("room", ["RolesAnywhereCredentials", "RenewedCredentials", "AssumedRole"])
def test_nothing_private_is_overridden(room: str) -> None:
    """Of botocore's class we replace public names only."""
    from rolesanywhere_auth import RolesAnywhereCredentials
    from rolesanywhere_auth.renewed import RenewedCredentials
    from rolesanywhere_auth.roles import AssumedRoleCredentials

    each = {
        "RolesAnywhereCredentials": RolesAnywhereCredentials,
        "RenewedCredentials": RenewedCredentials,
        "AssumedRole": AssumedRoleCredentials,
    }[room]
    ours = {name for name in vars(each) if not name.startswith("__")}
    private = {name for name in vars(RefreshableCredentials) if name.startswith("_")}

    assert not ours & private


@dataclass(frozen=True)
class Case:
    """One row: credentials of *lifetime* seconds, *left* of them, and what the service does."""

    lifetime: float
    left: float
    answer: str
    gets: str
    calls: int


# In the shape of botocore's credential-refresh tests: given credentials and the
# answer to a refresh, which credentials does a caller get, and was the service asked?
# "heals" is a failure that may pass, "lasts" one that will not. Two windows open later
# than botocore's, at the last third of the life: of 21 minutes and of 90.
TABLE = [
    Case(900, 900, "new", "old", 0),
    Case(900, 301, "new", "old", 0),
    Case(900, 299, "new", "new", 1),
    Case(900, 299, "heals", "old", 1),
    Case(900, 299, "lasts", "old", 1),
    Case(1200, 301, "new", "old", 0),
    Case(1200, 299, "new", "new", 1),
    Case(1260, 421, "new", "old", 0),
    Case(1260, 419, "new", "new", 1),
    Case(3600, 901, "new", "old", 0),
    Case(3600, 899, "heals", "old", 1),
    Case(5399, 899, "new", "new", 1),
    Case(5400, 1801, "new", "old", 0),
    Case(5400, 1799, "new", "new", 1),
    Case(43200, 3601, "new", "old", 0),
    Case(43200, 3599, "new", "new", 1),
    Case(3600, 59, "new", "new", 1),
    Case(3600, 59, "heals", "old", 1),
    Case(3600, 59, "lasts", "old", 1),
    Case(3600, -1, "new", "new", 1),
    Case(3600, -1, "heals", "old", 1),
    Case(3600, -1, "lasts", "error", 1),
    Case(3600, -86400, "heals", "old", 1),
]


def snapshot(name: str, *, now: float, lifetime: float) -> Snapshot:
    """Credentials called *name*, made at *now*."""
    expires = now + lifetime
    return Snapshot(
        frozen=ReadOnlyCredentials(name, "secret", "token"),
        issued=now,
        fresh_until=expires - renewal_window(lifetime),
        usable_until=expires - MANDATORY_WINDOW,
        expires=expires,
        expiration=None,
    )


def failure(answer: str) -> RolesAnywhereError:
    """A failure that may heal, or one that lasts."""
    if answer == "heals":
        return TransportError("down", endpoint="https://service.example")
    return CertificateRevokedError(
        "revoked", status=403, code="AccessDeniedException", service_message="Certificate revoked"
    )


class World:
    """A clock, a service, and a renewal without a thread, so that each step can be seen."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0
        self.calls = 0
        self.answers: list[Callable[[], Snapshot]] = []
        self.renewal = Renewal(
            self.sign_in,
            now=lambda: self.time,
            steady=lambda: self.time,
            random=lambda: 0.0,
            patience=5,
        )

    def sign_in(self, *, once: bool) -> Snapshot:
        """The next answer."""
        self.calls += 1
        return self.answers.pop(0)()

    def gives(self, name: str, *, lifetime: float = 3600) -> None:
        """The next answer is good."""
        self.answers.append(lambda: snapshot(name, now=self.time, lifetime=lifetime))

    def fails(self, answer: str) -> None:
        """The next answer is a failure."""

        def raise_it() -> Snapshot:
            raise failure(answer)

        self.answers.append(raise_it)

    def call(self) -> str:
        """What a caller gets."""
        try:
            return self.renewal.current().frozen.access_key
        except AccessDeniedError:
            return "error"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in which no thread can be started: the caller does what is due."""
    monkeypatch.setattr(Keeper, "ensure", lambda _: False)
    return World()


@pytest.mark.parametrize("case", TABLE, ids=str)
def test_rules_of_renewal(case: Case, world: World) -> None:
    """Windows by lifetime; cached credentials stay on failure, even expired if it may heal."""
    world.gives("old", lifetime=case.lifetime)
    assert world.call() == "old"
    world.time += case.lifetime - case.left
    if case.answer == "new":
        world.gives("new")
    else:
        world.fails(case.answer)

    assert world.call() == case.gets
    assert world.calls - 1 == case.calls


def test_back_off_after_a_failure(world: World) -> None:
    """After a failure no new attempt for 5 to 10 minutes, at most a quarter of what is left."""
    world.gives("old", lifetime=43200)
    world.call()
    world.time += 43200 - 3000
    world.fails("heals")
    assert world.call() == "old"
    assert world.renewal.circuit_state == "open"

    world.time += 299
    assert world.call() == "old"
    assert world.calls == 2
    world.time += 2
    assert world.renewal.circuit_state == "half-open"
    world.fails("heals")
    assert world.call() == "old"
    assert world.renewal.circuit_state == "open"
    world.time += 301
    world.gives("new")
    assert world.call() == "new"
    assert world.renewal.circuit_state == "closed"


def test_lasting_error_is_raised_again_without_contact(world: World) -> None:
    """An error that will not heal stands for up to five seconds."""
    world.gives("old")
    world.call()
    world.time += 3601
    world.fails("lasts")
    assert [world.call() for _ in range(10)] == ["error"] * 10
    assert world.calls == 2

    world.time += 5
    world.gives("new")
    assert world.call() == "new"


def test_windows_move_with_success_only(world: World) -> None:
    """A shorter session that came last decides; a failure changes nothing."""
    world.gives("long", lifetime=43200)
    world.call()
    world.time += 43200 - 30
    world.gives("short", lifetime=900)
    assert world.call() == "short"
    world.time += 599
    assert world.call() == "short"
    assert world.calls == 2
    world.time += 2
    world.gives("next", lifetime=900)
    assert world.call() == "next"


def test_first_use_does_not_undo_a_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    """New credentials that land while old ones are used for the first time stay."""
    world = World()
    newer = snapshot("newer", now=world.time, lifetime=3600)
    world.renewal.snapshot = snapshot("older", now=world.time, lifetime=3600)

    def land(_: Keeper) -> bool:
        world.renewal.snapshot = newer
        return True

    monkeypatch.setattr(Keeper, "ensure", land)
    assert world.call() == "older"
    assert world.renewal.snapshot is newer

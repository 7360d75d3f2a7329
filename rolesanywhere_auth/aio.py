# SPDX-License-Identifier: Apache-2.0
"""aiobotocore sessions that sign in by certificate, without blocking the event loop.

The renewal is the same as everywhere: `RolesAnywhereCredentials` with its background
thread. What is added here is the waiting, which is left to the loop: only where there are
no usable credentials does a task wait at all, and all tasks of a loop wait for one thread,
where files are read, PKCS#11 modules and TPMs are asked, and the request is sent.

Needs the extra ``aio``, which brings aiobotocore and the botocore that it pins.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import threading
import time
import weakref
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth.errors import MissingExtraError, SignInTimeoutError
from rolesanywhere_auth.flight import copy_of

try:
    from aiobotocore.credentials import AioRefreshableCredentials
    from aiobotocore.session import AioSession
except ImportError as missing:
    raise MissingExtraError(
        f"rolesanywhere_auth.aio needs aiobotocore ({missing}): "
        "pip install 'rolesanywhere-auth[aio]'",
        extra="aio",
    ) from missing

import botocore.session

from rolesanywhere_auth._service_models import read_models_quickly
from rolesanywhere_auth._version import __version__
from rolesanywhere_auth.credentials import METHOD, RolesAnywhereCredentials
from rolesanywhere_auth.endpoints import variable

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.events import AttemptHook, Health, Labels, RenewalHook

__all__ = ["AioRolesAnywhereCredentials", "RolesAnywhereAioSession", "aiobotocore_session"]


class AioRolesAnywhereCredentials(AioRefreshableCredentials):  # type: ignore[misc]
    """Credentials for aiobotocore that sign in when first needed, and again before expiry.

    Any number of tasks, threads and event loops may share one.

    Args:
        config: Who signs in, and for which role.
        session: A botocore session (not an aiobotocore one) whose settings count; one is
            made at the first sign-in by default.
        on_event: Told of every sign-in, in the thread that signs in.
        now: Seconds since the epoch, as `time.time`.
    """

    def __init__(
        self,
        config: RolesAnywhereConfig,
        *,
        session: botocore.session.Session | None = None,
        on_event: RenewalHook | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        # The parent's own __init__ makes locks and clocks that nothing here uses.
        self.method = METHOD
        self.config = config
        self._blocking = RolesAnywhereCredentials(
            config, session=session, on_event=on_event, now=now
        )
        self._waits: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, asyncio.Future[ReadOnlyCredentials]
        ] = weakref.WeakKeyDictionary()

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """The credentials of this moment, all of one session.

        Raises:
            RolesAnywhereError: there are none, and signing in failed.
        """
        found = self._blocking.at_hand()
        return await self._wait() if found is None else found

    async def _wait(self) -> ReadOnlyCredentials:
        """Wait for the one thread of this loop that waits for credentials."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.config.patience
        while True:
            wait = self._waits.get(loop)
            joined = wait is not None and not wait.done()
            if wait is None or wait.done():
                wait = self._waits[loop] = _in_thread(loop, self._blocking.get_frozen_credentials)
            try:
                return await asyncio.shield(wait)
            except SignInTimeoutError as error:
                # Who came first has waited long enough, and took the others with it.
                if not joined or loop.time() >= deadline:
                    raise copy_of(error) from None
            except Exception as error:  # noqa: BLE001 - each task gets its own, whatever it is
                raise copy_of(error) from None

    async def get_access_key(self) -> str:
        """The access key id; for several at once use `get_frozen_credentials()`."""
        return str((await self.get_frozen_credentials()).access_key)

    async def get_secret_key(self) -> str:
        """The secret access key; for several at once use `get_frozen_credentials()`."""
        return str((await self.get_frozen_credentials()).secret_key)

    async def get_token(self) -> str | None:
        """The session token; for several at once use `get_frozen_credentials()`."""
        return (await self.get_frozen_credentials()).token

    async def get_account_id(self) -> str:
        """The account of the role; needs no sign-in."""
        return self.config.account_id

    @property
    def expires_at(self) -> datetime | None:
        """When the present credentials expire (aware, UTC), or None before the first sign-in."""
        return self._blocking.expires_at

    def health(self) -> Health:
        """How the credentials stand; reads and sends nothing."""
        return self._blocking.health()

    @property
    def labels(self) -> Labels:
        """Role and profile, as they stand in metrics and log records."""
        return self._blocking.labels

    def add_hook(self, hook: RenewalHook, *, attempts: AttemptHook | None = None) -> None:
        """Tell one more hook of every sign-in, in the thread that signs in.

        Args:
            hook: As ``on_event``.
            attempts: Told of every request of a sign-in too.
        """
        self._blocking.add_hook(hook, attempts=attempts)

    def refresh_needed(self, refresh_in: float | None = None) -> bool:
        """Whether fewer than *refresh_in* seconds (by default: the advisory window) are left."""
        return self._blocking.refresh_needed(refresh_in)

    def __repr__(self) -> str:
        return f"AioRolesAnywhereCredentials({self.config!r})"

    def __copy__(self) -> AioRolesAnywhereCredentials:
        return self  # a copy would sign in for itself

    def __deepcopy__(self, memo: dict[int, Any]) -> AioRolesAnywhereCredentials:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.config,)


def _in_thread(
    loop: asyncio.AbstractEventLoop, call: Callable[[], ReadOnlyCredentials]
) -> asyncio.Future[ReadOnlyCredentials]:
    """Run *call* in a thread of its own: the loop's executor may be busy, or never end."""
    future: asyncio.Future[ReadOnlyCredentials] = loop.create_future()
    # Nobody may be left to look at it.
    future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def settle(found: ReadOnlyCredentials | None, error: BaseException | None) -> None:
        if error is not None:
            future.set_exception(error)
        else:
            assert found is not None
            future.set_result(found)

    def work() -> None:
        found, failure = None, None
        try:
            found = call()
        except BaseException as error:  # noqa: BLE001 - the task that waits gets it
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, found, failure)

    threading.Thread(target=work, name="rolesanywhere-aio", daemon=True).start()
    return future


class _Provider:
    """A session's only provider."""

    def __init__(self, credentials: AioRolesAnywhereCredentials) -> None:
        self._credentials = credentials

    async def load_credentials(self) -> AioRolesAnywhereCredentials:
        return self._credentials


class RolesAnywhereAioSession(AioSession):  # type: ignore[misc]
    """What `aiobotocore_session` makes: it pickles by its configuration.

    Equal sessions have equal ``repr``, by which fsspec finds the file system that it
    made before for the same arguments.
    """

    def __init__(
        self,
        config: RolesAnywhereConfig,
        region_name: str | None = None,
        profile_name: str | None = None,
        on_event: RenewalHook | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(profile=profile_name)
        self._made_of = (config, region_name, profile_name, on_event, now)
        settings = None if profile_name is None else botocore.session.Session(profile=profile_name)
        credentials = AioRolesAnywhereCredentials(
            config, session=settings, on_event=on_event, now=now
        )
        self.register_component("credential_provider", _Provider(credentials))
        read_models_quickly(self)
        extra = f"rolesanywhere-auth/{__version__}"
        self.user_agent_extra: str = f"{self.user_agent_extra} {extra}".strip()
        if not variable(self, "region") or region_name:
            self.set_config_variable("region", region_name or config.region)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_of

    def __copy__(self) -> RolesAnywhereAioSession:
        return self  # a copy would sign in for itself

    def __deepcopy__(self, memo: dict[int, Any]) -> RolesAnywhereAioSession:
        return self

    def __repr__(self) -> str:
        config, region_name, profile_name, on_event, _ = self._made_of
        shown = [repr(config), repr(region_name), repr(profile_name)]
        try:
            pickle.dumps(config)
        except Exception:  # noqa: BLE001 - whatever a signer of the caller's may raise
            shown.append(f"at {id(config):#x}")  # it holds content, of which nothing is shown
        if on_event is not None:
            shown.append(getattr(on_event, "__qualname__", type(on_event).__qualname__))
        return f"RolesAnywhereAioSession({', '.join(shown)})"


def aiobotocore_session(
    config: RolesAnywhereConfig,
    *,
    region_name: str | None = None,
    profile_name: str | None = None,
    on_event: RenewalHook | None = None,
    now: Callable[[], float] = time.time,
) -> RolesAnywhereAioSession:
    """An aiobotocore session whose clients take their credentials from *config*.

    The arguments are those of `rolesanywhere_auth.botocore_session()`. Give it to s3fs as
    ``S3FileSystem(session=…)``.
    """
    return RolesAnywhereAioSession(config, region_name, profile_name, on_event, now)

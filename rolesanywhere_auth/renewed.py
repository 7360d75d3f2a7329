# SPDX-License-Identifier: Apache-2.0
"""`RenewedCredentials`: a botocore credentials object over a `Renewal`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from botocore.credentials import ReadOnlyCredentials, RefreshableCredentials

from rolesanywhere_auth.events import AttemptHook, Health, Labels, RenewalHook
from rolesanywhere_auth.forking import local_work
from rolesanywhere_auth.hooks import Hooks
from rolesanywhere_auth.renewal import Renewal

if TYPE_CHECKING:
    from rolesanywhere_auth.adapters import ObstoreProvider, PolarsProvider


def renewal_of(credentials: RenewedCredentials) -> Renewal:
    """What keeps credentials fresh; for the ways in of this package, users need it for nothing."""
    return credentials._renewal


class RenewedCredentials(RefreshableCredentials):
    """Credentials for botocore that a `Renewal` keeps fresh.

    Args:
        renewal: Fetches them, when and as its rules say.
        method: botocore's name for where they come from.
        now: Seconds since the epoch, as `time.time`.
        hooks: Told of sign-ins.
    """

    def __init__(
        self, renewal: Renewal, *, method: str, now: Callable[[], float], hooks: Hooks
    ) -> None:
        # The parent's own __init__ makes locks and clocks that nothing here uses.
        self.method = method
        self._now = now
        self._renewal = renewal
        self._hooks = hooks

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """The credentials of this moment, all of one session.

        Raises:
            RolesAnywhereError: there are none, and signing in failed.
        """
        snapshot = self._renewal.snapshot
        if self._now() < snapshot.hot_until:
            return snapshot.frozen
        return self._renewal.current().frozen

    def at_hand(self) -> ReadOnlyCredentials | None:
        """The same without waiting: None where `get_frozen_credentials()` would have to.

        A renewal that is due goes on in the background.
        """
        snapshot = self._renewal.at_hand()
        return None if snapshot is None else snapshot.frozen

    @property
    def expires_at(self) -> datetime | None:
        """When the present credentials expire (aware, UTC), or None before the first sign-in."""
        return self._renewal.snapshot.expiration

    def health(self) -> Health:
        """How the credentials stand; reads and sends nothing."""
        renewal = self._renewal
        success = renewal.last_success
        return Health(
            state=renewal.state,
            circuit=renewal.circuit_state,
            expires_at=renewal.snapshot.expiration,
            last_success=None if success is None else datetime.fromtimestamp(success, timezone.utc),
            last_error=renewal.error,
            next_attempt=renewal.next_attempt,
            certificate_serial_number=None,
            certificate_expires_at=None,
        )

    @property
    def labels(self) -> Labels:
        """Role and profile, as they stand in metrics and log records."""
        return self._renewal.labels

    def add_hook(self, hook: RenewalHook, *, attempts: AttemptHook | None = None) -> None:
        """Tell one more hook of every sign-in, beside that given as ``on_event``.

        Hooks are told in the order in which they came, and none of another's errors.

        Args:
            hook: As ``on_event``.
            attempts: Told of every request of a sign-in too.
        """
        self._hooks.add(hook, attempts=attempts)

    def refresh_needed(self, refresh_in: float | None = None) -> bool:
        """Whether fewer than *refresh_in* seconds (by default: the advisory window) are left."""
        snapshot = self._renewal.snapshot
        limit = snapshot.fresh_until if refresh_in is None else snapshot.expires - refresh_in
        return self._now() >= limit

    # The parent's four can be set; here that would break the one consistent snapshot.

    @property  # type: ignore[misc]
    def access_key(self) -> str:  # type: ignore[override]
        """The access key id; for several at once use `get_frozen_credentials()`."""
        return str(self.get_frozen_credentials().access_key)

    @property  # type: ignore[misc]
    def secret_key(self) -> str:  # type: ignore[override]
        """The secret access key; for several at once use `get_frozen_credentials()`."""
        return str(self.get_frozen_credentials().secret_key)

    @property  # type: ignore[misc]
    def token(self) -> str | None:  # type: ignore[override]
        """The session token; for several at once use `get_frozen_credentials()`."""
        return self.get_frozen_credentials().token

    # The same for libraries that have never heard of botocore.

    def to_obstore(self) -> ObstoreProvider:
        """For obstore: ``S3Store(…, credential_provider=credentials.to_obstore())``.

        It tells obstore the true expiry, and pickles by the configuration.
        """
        with local_work():
            from rolesanywhere_auth.adapters import ObstoreProvider

        return ObstoreProvider(self, current=self._renewal.current, now=self._now)

    def to_polars(self) -> PolarsProvider:
        """For polars: ``scan_parquet(…, credential_provider=credentials.to_polars())``.

        polars goes on with what it has up to the last second it was told, so it is told to
        ask again when the background renewal begins. It pickles by the configuration.
        """
        with local_work():
            from rolesanywhere_auth.adapters import PolarsProvider

        return PolarsProvider(self, current=self._renewal.current, now=self._now)

    def __copy__(self) -> RenewedCredentials:
        return self  # a copy would sign in for itself

    def __deepcopy__(self, memo: dict[int, Any]) -> RenewedCredentials:
        return self

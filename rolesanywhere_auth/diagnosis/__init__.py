# SPDX-License-Identifier: Apache-2.0
"""Why a sign-in fails, or will: every step of one, checked by itself.

`diagnose` reads what a configuration names, goes the way to the service, and signs in once. It
changes nothing. Each check says what it found and what to do; the first that fails names the
cause. ``rolesanywhere-auth doctor`` prints it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from rolesanywhere_auth.diagnosis import leaf, material, network, signing_in
from rolesanywhere_auth.diagnosis.case import Case, Step, examine
from rolesanywhere_auth.diagnosis.report import Check, Diagnosis

if TYPE_CHECKING:
    import boto3
    import botocore.session

    from rolesanywhere_auth.config import RolesAnywhereConfig

__all__ = ["Check", "Diagnosis", "diagnose", "steps"]


def steps(*, administrator: bool) -> Iterator[Step]:
    """All checks in order; those of the control plane where there is an *administrator*."""
    yield from material.SETTINGS
    yield from material.MATERIAL
    yield from leaf.RULES
    yield from network.STEPS
    yield from leaf.TIMES
    if administrator:
        from rolesanywhere_auth.diagnosis import control_plane

        yield from control_plane.STEPS
    yield from signing_in.TAGS
    yield from signing_in.SIGN_IN


def diagnose(
    config: RolesAnywhereConfig,
    *,
    session: botocore.session.Session | None = None,
    administrator: boto3.Session | None = None,
    expiry_days: float = 30,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], object] = time.sleep,
) -> Diagnosis:
    """Check every step of a sign-in with *config*, and make one.

    It takes as long as a sign-in, or until the time-outs of *config* are over. It logs in to a
    key store once, and makes one signature to try the key and one to sign in. The host's cache
    (``cache``) is left alone.

    Args:
        config: What to examine.
        session: The botocore session whose settings (proxies, CA bundle, endpoints) count; by
            default a new one.
        administrator: A boto3 session that may read trust anchors, profiles, CRLs and the role
            (``rolesanywhere:GetTrustAnchor``, ``GetProfile``, ``ListCrls``, ``iam:GetRole``):
            then these are checked too, and the role's trust policy is judged.
        expiry_days: Days left from which a certificate is warned of, unless it was issued for
            fewer.
        now: Seconds since the epoch.
        sleep: As `time.sleep`; used between attempts.

    Returns:
        The checks. Whatever is wrong with the set-up is in there and not raised.
    """
    return run(
        lambda: config,
        origin="the configuration that was given",
        session=None if session is None else lambda: session,
        administrator=None if administrator is None else lambda: administrator,
        expiry_days=expiry_days,
        now=now,
        sleep=sleep,
    )


def run(
    make_config: Callable[[], RolesAnywhereConfig],
    *,
    origin: str,
    session: Callable[[], botocore.session.Session] | None = None,
    administrator: Callable[[], boto3.Session] | None = None,
    expiry_days: float = 30,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], object] = time.sleep,
) -> Diagnosis:
    """As `diagnose`, of a configuration that has yet to be made, which may fail."""
    case = Case(
        make_config,
        origin=origin,
        make_session=session or _new_session,
        administrator=administrator,
        now=now,
        sleep=sleep,
        jitter=random.random,  # noqa: S311 - spreads retries, no secret
        expiry_days=expiry_days,
    )
    checks = tuple(examine(case, steps(administrator=administrator is not None)))
    return Diagnosis(checks, datetime.fromtimestamp(now(), timezone.utc))


def _new_session() -> botocore.session.Session:
    import botocore.session

    return botocore.session.Session()

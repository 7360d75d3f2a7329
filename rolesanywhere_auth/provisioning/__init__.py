# SPDX-License-Identifier: Apache-2.0
"""Set up, tear down and revoke: a trust anchor, a role and a profile, and who may use them.

Each is planned first, which changes nothing, and then applied::

    admin = Admin.from_profile("administrator")
    blueprint = Blueprint(name="app", ca_bundle="ca.pem", require={"x509Subject/CN": "app"})
    plan = plan_setup(blueprint, admin, now=datetime.now(timezone.utc))
    print(plan)
    arns = apply(plan, admin)
"""

from __future__ import annotations

from rolesanywhere_auth.provisioning.admin import Admin
from rolesanywhere_auth.provisioning.authority import (
    Authority,
    LeafFiles,
    issue_leaf,
    make_development_ca,
)
from rolesanywhere_auth.provisioning.blueprint import Blueprint
from rolesanywhere_auth.provisioning.crl import build_crl, parse_serial
from rolesanywhere_auth.provisioning.plan import Plan, Step, apply
from rolesanywhere_auth.provisioning.revoking import plan_revoke, verify_revoked
from rolesanywhere_auth.provisioning.setting_up import plan_setup
from rolesanywhere_auth.provisioning.tearing_down import plan_teardown

__all__ = [
    "Admin",
    "Authority",
    "Blueprint",
    "LeafFiles",
    "Plan",
    "Step",
    "apply",
    "build_crl",
    "issue_leaf",
    "make_development_ca",
    "parse_serial",
    "plan_revoke",
    "plan_setup",
    "plan_teardown",
    "verify_revoked",
]

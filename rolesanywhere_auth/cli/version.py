# SPDX-License-Identifier: Apache-2.0
"""``rolesanywhere-auth version``: the version alone, as ``aws_signing_helper`` prints it."""

from __future__ import annotations

import argparse
from typing import Any

from rolesanywhere_auth._version import __version__


def add_to(verbs: Any) -> None:
    """Add the command."""
    verbs.add_parser("version", help="print the version", allow_abbrev=False).set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print."""
    del options
    print(__version__)
    return 0

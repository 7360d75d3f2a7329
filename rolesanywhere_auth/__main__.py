# SPDX-License-Identifier: Apache-2.0
"""``python -m rolesanywhere_auth`` is the command ``rolesanywhere-auth``."""

from __future__ import annotations

import sys

from rolesanywhere_auth.cli import main

sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""Where a command's log goes."""

from __future__ import annotations

import argparse
import logging
import sys


def log_to_stderr(options: argparse.Namespace, *, level: int = logging.WARNING) -> None:
    """Let this process's log go to standard error."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if options.debug else level,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
    )

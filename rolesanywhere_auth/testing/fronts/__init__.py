# SPDX-License-Identifier: Apache-2.0
"""The ways into the emulated service: its own HTTP server, and moto."""

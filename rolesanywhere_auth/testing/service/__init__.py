# SPDX-License-Identifier: Apache-2.0
"""The emulated service itself, independent of HTTP libraries and of moto."""

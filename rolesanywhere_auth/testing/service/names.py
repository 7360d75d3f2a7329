# SPDX-License-Identifier: Apache-2.0
"""Comparison of distinguished names (RFC 5280, section 7.1), for `trust` and its neighbours.

`cryptography` compares letter by letter. Here upper and lower case, the width of
spaces, Unicode's compatibility forms and the type of the string do not matter.
"""

from __future__ import annotations

import unicodedata

from cryptography import x509

_Attribute = tuple[str, "str | bytes"]


def canonical(name: x509.Name) -> tuple[frozenset[_Attribute], ...]:
    """The relative distinguished names of *name*, equal for names that RFC 5280 holds equal."""
    return tuple(
        frozenset((part.oid.dotted_string, _prepared(part.value)) for part in rdn)
        for rdn in name.rdns
    )


def same_name(one: x509.Name, other: x509.Name) -> bool:
    """Whether both are the name of one entity."""
    return one == other or canonical(one) == canonical(other)


def is_self_issued(certificate: x509.Certificate) -> bool:
    """Whether subject and issuer are one name (RFC 5280, section 3.2)."""
    return same_name(certificate.subject, certificate.issuer)


def _prepared(value: str | bytes) -> str | bytes:
    """RFC 4518, section 2, as far as it matters in names: mapping, normalisation, spaces."""
    if isinstance(value, bytes):
        return value
    folded = unicodedata.normalize("NFKC", value).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())

# SPDX-License-Identifier: Apache-2.0
"""Name constraints (RFC 5280, section 4.2.1.10) for `trust`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from cryptography import x509

from rolesanywhere_auth.testing.service.names import canonical, is_self_issued


class NameConstraintError(Exception):
    """A certificate has a name that a CA above it may not certify."""


def check_names(issuer: x509.Certificate, below: Sequence[x509.Certificate]) -> None:
    """Hold the names of the certificates *below* against the constraints of *issuer*.

    Self-issued intermediates are exempt, the leaf ``below[0]`` never is.

    Raises:
        NameConstraintError: A name is excluded, not permitted, or of a kind that
            is constrained and cannot be judged here.
    """
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return
    permitted = constraints.permitted_subtrees or []
    excluded = constraints.excluded_subtrees or []
    for certificate in below:
        if certificate is not below[0] and is_self_issued(certificate):
            continue
        for name in _names(certificate):
            alike = [base for base in permitted if type(base) is type(name)]
            allowed = not alike or any(_within(name, base) for base in alike)
            if not allowed or any(
                _within(name, base) for base in excluded if type(base) is type(name)
            ):
                raise NameConstraintError(
                    f"{name!r} is outside the name constraints of {issuer.subject.rfc4514_string()}"
                )


def _names(certificate: x509.Certificate) -> Iterator[x509.GeneralName]:
    if list(certificate.subject):
        yield x509.DirectoryName(certificate.subject)
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        for attribute in certificate.subject.get_attributes_for_oid(x509.NameOID.EMAIL_ADDRESS):
            yield x509.RFC822Name(str(attribute.value))
        return
    yield from extension.value


def _within(name: x509.GeneralName, base: x509.GeneralName) -> bool:
    if isinstance(name, x509.DirectoryName):
        wanted = canonical(base.value)
        return canonical(name.value)[: len(wanted)] == wanted
    if isinstance(name, x509.DNSName):
        host, domain = name.value.lower(), base.value.lower()
        return not domain or host == domain or host.endswith("." + domain.lstrip("."))
    if isinstance(name, x509.UniformResourceIdentifier):
        return _host_within(_host(name.value), base.value.lower())
    if isinstance(name, x509.RFC822Name):
        local, _, host = name.value.rpartition("@")
        mailbox, _, domain = base.value.rpartition("@")
        if mailbox:
            return (local, host.lower()) == (mailbox, domain.lower())
        return _host_within(host.lower(), domain.lower())
    if isinstance(name, x509.IPAddress):
        return bool(name.value in ipaddress.ip_network(base.value))
    raise NameConstraintError(f"a constraint on names like {name!r} cannot be judged here")


def _host(uri: str) -> str:
    """The host; RFC 5280 wants a URI without one, or with an address, refused if constrained."""
    try:
        host = urlsplit(uri).hostname or ""
    except ValueError as error:
        raise NameConstraintError(f"{uri!r} is no URI, but URIs are constrained") from error
    if not host or ":" in host or host.rpartition(".")[2].isdigit():
        raise NameConstraintError(f"{uri!r} has no host name, but URIs are constrained")
    return host


def _host_within(host: str, base: str) -> bool:
    """For URIs and mail: ".example" are the hosts below, "example" is that host alone."""
    return host.endswith(base) if base.startswith(".") else host == base

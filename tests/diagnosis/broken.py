"""Set-ups with one thing wrong each, and what the doctor must say of it first.

Each is built for real: files, tokens, sockets, and resources of the emulator. The table in
docs/doctor.md is made of this one by ``python tests/diagnosis/table.py --write``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import servers
from bench import Bench
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from backends import softhsm, stop_modules
from rolesanywhere_auth.testing import CertificateAuthority

Build = Callable[[Bench], "dict[str, Any] | str"]
DAY = timedelta(days=1)
ELSEWHERE = "arn:aws:rolesanywhere:eu-west-1:111122223333:{}/00000000-0000-4000-8000-000000000000"
PIN = "rolesanywhere-wrong-pin"
CN = "aws:PrincipalTag/x509Subject/CN"


@dataclass(frozen=True)
class Broken:
    """One set-up.

    ``check`` is the first that fails (or, of a warning, the one that warns), ``says`` a part
    of its line.
    """

    title: str
    check: str
    says: str
    build: Build
    status: str
    administrator: bool

    @property
    def name(self) -> str:
        """Of the test."""
        return self.build.__name__.replace("_", "-")


BROKEN: list[Broken] = []


def broken(
    title: str, *, check: str, says: str, status: str = "FAIL", administrator: bool = False
) -> Callable[[Build], Build]:
    """Put a set-up into the table; what it builds are the settings of a profile, or its text."""

    def register(build: Build) -> Build:
        BROKEN.append(Broken(title, check, says, build, status, administrator))
        return build

    return register


def warned(title: str, *, check: str, says: str, administrator: bool = False) -> Any:
    """One that works, and should be looked at."""
    return broken(title, check=check, says=says, status="WARN", administrator=administrator)


def now() -> datetime:
    return datetime.now(timezone.utc)


# Settings


@broken("The profile has no block", check="configuration", says="has no block `rolesanywhere =`")
def no_block(bench: Bench) -> str:
    return "[profile app]\nregion = eu-west-1\n"


@broken(
    "A setting is misspelt",
    check="configuration",
    says="rolesanywhere has no setting 'private_keys'",
)
def misspelt_setting(bench: Bench) -> dict[str, Any]:
    return bench.settings(private_keys="app.key")


@broken(
    "The profile is in another Region than the trust anchor",
    check="arns",
    says="the profile is in us-east-1 and the trust anchor in eu-west-1",
)
def other_region(bench: Bench) -> dict[str, Any]:
    return bench.settings(profile_arn=ELSEWHERE.replace("eu-west-1", "us-east-1").format("profile"))


@broken(
    "The role is in another account",
    check="arns",
    says="the role is in account 444455556666 and the trust anchor in account 111122223333",
)
def other_account(bench: Bench) -> dict[str, Any]:
    return bench.settings(role_arn="arn:aws:iam::444455556666:role/app")


@broken(
    "The ARNs of trust anchor and profile are exchanged", check="arns", says="is no trust anchor"
)
def exchanged_arns(bench: Bench) -> dict[str, Any]:
    found = bench.settings()
    anchor, profile = found["trust_anchor_arn"], found["profile_arn"]
    return {**found, "trust_anchor_arn": profile, "profile_arn": anchor}


# Files


@broken(
    "The path of the certificate is misspelt",
    check="certificate-file",
    says="ap.pem, given as certificate, does not exist; the folder has app.pem",
)
def missing_certificate(bench: Bench) -> dict[str, Any]:
    return bench.settings(certificate=f"{bench.folder}/ap.pem")


@broken(
    "The path of the key leads into no folder",
    check="key-file",
    says="there is no folder",
)
def missing_folder(bench: Bench) -> dict[str, Any]:
    return bench.settings(private_key=f"{bench.folder}/private/app.key")


@broken(
    "A folder is given as certificate",
    check="certificate-file",
    says="given as certificate, is a folder",
)
def folder_as_certificate(bench: Bench) -> dict[str, Any]:
    return bench.settings(certificate=bench.folder)


@broken(
    "The key can be read by its owner alone, who is another user",
    check="key-file",
    says="given as private_key, cannot be read by this process",
)
def unreadable_key(bench: Bench) -> dict[str, Any]:
    found = bench.settings()
    bench.write("app.key", (bench.folder / "app.key").read_bytes(), mode=0)
    bench.as_nobody()
    return found


@broken(
    "The key is in a folder that the user may not enter",
    check="key-file",
    says="is below a folder that this process",
)
def closed_folder(bench: Bench) -> dict[str, Any]:
    found = bench.settings()
    folder = bench.folder / "private"
    folder.mkdir(mode=0)
    bench.cleanup.callback(folder.chmod, 0o700)
    bench.as_nobody()
    return {**found, "private_key": folder / "app.key"}


@broken(
    "The chain's file is empty", check="chain-file", says="given as certificate_chain, is empty"
)
def empty_chain(bench: Bench) -> dict[str, Any]:
    return bench.settings(certificate_chain=bench.write("chain.pem", ""))


@broken(
    "A certificate request stands in the certificate's place",
    check="certificate",
    says="a certificate request (CSR), not a certificate",
)
def request_as_certificate(bench: Bench) -> dict[str, Any]:
    setup = bench.set_up()
    builder = x509.CertificateSigningRequestBuilder(setup.leaf.certificate.subject)
    pem = builder.sign(setup.leaf.private_key, SHA256()).public_bytes(Encoding.PEM)
    return bench.settings(setup, certificate=bench.write("app.csr", pem))


@broken(
    "The certificate's file is cut short",
    check="certificate",
    says="a PEM block lacks its -----END line",
)
def cut_certificate(bench: Bench) -> dict[str, Any]:
    setup = bench.set_up()
    return bench.settings(
        setup, certificate=bench.write("cut.pem", setup.leaf.certificate_pem[:300])
    )


@broken(
    "Certificate and key are exchanged",
    check="certificate",
    says="holds no certificate but a private key",
)
def exchanged_files(bench: Bench) -> dict[str, Any]:
    found = bench.settings()
    certificate, key = found["certificate"], found["private_key"]
    return {**found, "certificate": key, "private_key": certificate}


# Keys


@broken(
    "The certificate's file holds no key, and none is given",
    check="private-key",
    says="No private_key was given",
)
def no_key(bench: Bench) -> dict[str, Any]:
    return bench.settings(private_key=None)


@broken(
    "The key belongs to another certificate",
    check="key-match",
    says="belongs to none of the certificates",
)
def other_key(bench: Bench) -> dict[str, Any]:
    other = CertificateAuthority().issue("other").private_key_pem
    return bench.settings(private_key=bench.write("other.key", other))


@broken(
    "The key is encrypted, and no passphrase is given",
    check="private-key",
    says="encrypted",
)
def no_passphrase(bench: Bench) -> dict[str, Any]:
    setup = bench.set_up()
    pem = setup.leaf.encrypted_private_key_pem("sesame-open")
    return bench.settings(setup, private_key=bench.write("encrypted.key", pem))


@broken("The passphrase is wrong", check="private-key", says="passphrase")
def wrong_passphrase(bench: Bench) -> dict[str, Any]:
    bench.monkeypatch.setenv("KEY_PASSPHRASE", PIN)
    return {**no_passphrase(bench), "passphrase": "env:KEY_PASSPHRASE"}


@broken("The passphrase of the PKCS#12 file is wrong", check="certificate", says="passphrase")
def wrong_pkcs12_passphrase(bench: Bench) -> dict[str, Any]:
    bench.monkeypatch.setenv("KEY_PASSPHRASE", PIN)
    setup = bench.set_up()
    return bench.settings(
        setup,
        certificate=bench.write("app.p12", setup.leaf.pkcs12("sesame-open")),
        private_key=None,
        passphrase="env:KEY_PASSPHRASE",
    )


@broken(
    "The variable that holds the passphrase is not set",
    check="certificate",
    says="env:KEY_PASSPHRASE: the environment variable KEY_PASSPHRASE is not set",
)
def unset_passphrase(bench: Bench) -> dict[str, Any]:
    return {**no_passphrase(bench), "passphrase": "env:KEY_PASSPHRASE"}


@broken(
    "The key is of a kind that the service does not know (Ed25519)",
    check="private-key",
    says="a key of the kind Ed25519",
)
def ed25519_key(bench: Bench) -> dict[str, Any]:
    setup = bench.set_up()
    key = ed25519.Ed25519PrivateKey.generate()
    leaf = setup.authority.issue("app", public_key=key.public_key())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return bench.settings(
        setup,
        certificate=bench.write("ed.pem", leaf.certificate_pem),
        private_key=bench.write("ed.key", pem),
    )


@broken(
    "The key is on a curve that the service does not know (secp256k1)",
    check="private-key",
    says="an EC key on the curve secp256k1",
)
def secp256k1_key(bench: Bench) -> dict[str, Any]:
    setup = bench.set_up()
    key = ec.generate_private_key(ec.SECP256K1())
    leaf = setup.authority.issue("app", public_key=key.public_key())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return bench.settings(
        setup,
        certificate=bench.write("k1.pem", leaf.certificate_pem),
        private_key=bench.write("k1.key", pem),
    )


def token(bench: Bench, *, label: str, pin: str) -> dict[str, Any]:
    missing = softhsm.Store.missing()
    pytest.importorskip("pkcs11")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    store = softhsm.SoftHSM(bench.folder)
    store.new_token("prod")
    setup = bench.set_up()
    store.add_key("prod", "app", "01", setup.leaf.private_key_pem)
    bench.monkeypatch.setenv("SOFTHSM2_CONF", str(store.configuration))
    bench.monkeypatch.setenv("TOKEN_PIN", pin)
    stop_modules()
    bench.cleanup.callback(stop_modules)
    return bench.settings(
        setup,
        private_key=f"pkcs11:token=prod;object={label}?module-path={softhsm.MODULE}",
        passphrase="env:TOKEN_PIN",
    )


@broken("The PIN of the token is wrong", check="private-key", says="PIN")
def wrong_pin(bench: Bench) -> dict[str, Any]:
    return token(bench, label="app", pin="914285")


@broken("The token has no key of that name", check="private-key", says="object=other")
def no_such_object(bench: Bench) -> dict[str, Any]:
    return token(bench, label="other", pin=softhsm.PIN)


# What the service demands of the certificate


def flawed(bench: Bench, flaw: Any) -> dict[str, Any]:
    setup = bench.set_up()
    return bench.settings(setup, leaf=setup.authority.issue_flawed(flaw))


@broken("The certificate is a CA's", check="end-entity", says="CA:TRUE")
def ca_certificate(bench: Bench) -> dict[str, Any]:
    return flawed(bench, "ca-true")


@broken(
    "The key usage lacks digitalSignature",
    check="key-usage",
    says="keyUsage lacks digitalSignature; it has keyAgreement",
)
def no_digital_signature(bench: Bench) -> dict[str, Any]:
    return flawed(bench, "no-digital-signature")


@broken("There is no key usage", check="key-usage", says="the certificate has no keyUsage")
def no_key_usage(bench: Bench) -> dict[str, Any]:
    return flawed(bench, "no-key-usage")


@broken(
    "The CA signed with SHA-1", check="signature-hash", says="signed the certificate with SHA-1"
)
def sha1(bench: Bench) -> dict[str, Any]:
    return flawed(bench, "sha1")


@broken("The certificate is X.509 v1", check="x509-version", says="the certificate is X.509 v1")
def version_1(bench: Bench) -> dict[str, Any]:
    return flawed(bench, "version-1")


@broken("The subject is empty", check="subject", says="the certificate's subject is empty")
def empty_subject(bench: Bench) -> dict[str, Any]:
    return flawed(bench, "empty-subject")


@broken("The certificate has expired", check="validity", says="the certificate expired at")
def expired(bench: Bench) -> dict[str, Any]:
    return flawed(bench, "expired")


@broken(
    "The certificate is not valid yet", check="validity", says="the certificate is valid only from"
)
def not_yet_valid(bench: Bench) -> dict[str, Any]:
    return flawed(bench, "not-yet-valid")


@broken(
    "This machine's clock is an hour behind",
    check="clock",
    says="seconds behind the service's",
)
def skewed_clock(bench: Bench) -> dict[str, Any]:
    bench.emulator.advance(3600)
    return bench.settings()


# The chain


def below_root(bench: Bench, **arguments: Any) -> tuple[Any, CertificateAuthority]:
    root = CertificateAuthority("Root")
    middle = root.intermediate("Issuing CA", **arguments)
    return bench.set_up(authority=middle, anchor=root), root


@broken(
    "The intermediate is missing",
    check="sign-in",
    says="Sent was the certificate alone, issued by CN=Issuing CA",
)
def missing_intermediate(bench: Bench) -> dict[str, Any]:
    setup, _ = below_root(bench)
    return bench.settings(setup, certificate_chain=None)


@broken(
    "The same, seen with control-plane permission",
    check="trust-path",
    says="no path to the trust anchor, which holds CN=Root: no way up to an anchor: the issuer is "
    "CN=Issuing CA",
    administrator=True,
)
def missing_intermediate_seen(bench: Bench) -> dict[str, Any]:
    return missing_intermediate(bench)


@broken(
    "The intermediate is that of an older key",
    check="sign-in",
    says="The certificate of CN=Issuing CA that was given has another key",
)
def intermediate_of_other_key(bench: Bench) -> dict[str, Any]:
    setup, root = below_root(bench)
    older = root.intermediate("Issuing CA").certificate_pem
    return bench.settings(setup, certificate_chain=bench.write("older.pem", older))


@broken(
    "The intermediate has expired",
    check="chain-validity",
    says="the intermediate CN=Issuing CA is valid from",
)
def expired_intermediate(bench: Bench) -> dict[str, Any]:
    setup, _ = below_root(bench, not_valid_after=now() - DAY)
    return bench.settings(setup)


@broken(
    "The chain has a CA below one that allows none",
    check="chain-validity",
    says="CN=Policy CA allows 0 CAs below it, not 1",
)
def path_length(bench: Bench) -> dict[str, Any]:
    root = CertificateAuthority("Root")
    middle = root.intermediate("Policy CA", path_length=0).intermediate("Issuing CA")
    return bench.settings(bench.set_up(authority=middle, anchor=root))


@broken(
    "In the chain stands a certificate that is no CA's",
    check="chain",
    says="is no CA's (basicConstraints CA:TRUE is missing)",
)
def issuer_without_ca(bench: Bench) -> dict[str, Any]:
    setup, root = below_root(bench)
    impostor = root.issue("Issuing CA").certificate_pem
    return bench.settings(setup, certificate_chain=bench.write("impostor.pem", impostor))


@broken(
    "The certificate is self-signed",
    check="chain",
    says="signed itself: no CA issued it",
)
def self_signed(bench: Bench) -> dict[str, Any]:
    setup = bench.set_up()
    public_key = setup.leaf.private_key.public_key()
    builder = x509.CertificateBuilder(
        issuer_name=setup.leaf.certificate.subject,
        subject_name=setup.leaf.certificate.subject,
        public_key=public_key,
        serial_number=7,
        not_valid_before=now() - DAY,
        not_valid_after=now() + 90 * DAY,
    )
    for extension in setup.leaf.certificate.extensions:
        if isinstance(extension.value, (x509.BasicConstraints, x509.KeyUsage)):
            builder = builder.add_extension(extension.value, critical=True)
    pem = builder.sign(setup.leaf.private_key, SHA256()).public_bytes(Encoding.PEM)
    return bench.settings(setup, certificate=bench.write("self.pem", pem))


@broken(
    "The chain has six intermediates",
    check="chain",
    says="has a chain of 6 intermediates; the service takes 5",
)
def long_chain(bench: Bench) -> dict[str, Any]:
    authority = root = CertificateAuthority("Root")
    for number in range(6):
        authority = authority.intermediate(f"CA {number}")
    return bench.settings(bench.set_up(authority=authority, anchor=root))


@broken(
    "The trust anchor is another CA's, and the root is in the chain's file",
    check="sign-in",
    says="whole up to the root CN=Root: the trust anchor's CA is another",
)
def other_anchor(bench: Bench) -> dict[str, Any]:
    setup, root = below_root(bench)
    whole = setup.leaf.chain_pem + root.certificate_pem
    return bench.settings(
        setup,
        trust_anchor_arn=bench.set_up().trust_anchor_arn,
        certificate_chain=bench.write("whole.pem", whole),
    )


@broken(
    "The trust anchor is another CA's, seen with control-plane permission",
    check="trust-path",
    says="no path to the trust anchor, which holds CN=Other CA",
    administrator=True,
)
def other_anchor_seen(bench: Bench) -> dict[str, Any]:
    other = bench.set_up(authority=CertificateAuthority("Other CA"))
    return bench.settings(trust_anchor_arn=other.trust_anchor_arn)


# The way to the service


@broken(
    "The endpoint's name does not exist",
    check="dns",
    says="rolesanywhere.eu-west-1.invalid has no address",
)
def no_such_host(bench: Bench) -> dict[str, Any]:
    return bench.settings(endpoint_url="https://rolesanywhere.eu-west-1.invalid")


@broken("Nothing listens at the endpoint", check="tcp", says="Connection refused")
def refused(bench: Bench) -> dict[str, Any]:
    return bench.settings(endpoint_url=f"https://127.0.0.1:{servers.closed_port()}")


@broken(
    "FIPS is asked for in a Region without",
    check="endpoint",
    says="the service has no FIPS endpoint in eu-west-1",
)
def no_fips(bench: Bench) -> dict[str, Any]:
    return bench.settings(endpoint_url=None, use_fips_endpoint="true")


def by_proxy(bench: Bench, port: int, **changes: Any) -> dict[str, Any]:
    bench.monkeypatch.setenv("HTTPS_PROXY", f"http://user:proxy-password@127.0.0.1:{port}")
    return bench.over_tls(**changes)


@broken(
    "The proxy of the environment is not there",
    check="proxy",
    says="(HTTPS_PROXY) cannot be reached: Connection refused",
)
def dead_proxy(bench: Bench) -> dict[str, Any]:
    return by_proxy(bench, servers.closed_port())


@broken(
    "The proxy wants another password",
    check="proxy",
    says="HTTP 407 Proxy Authentication Required",
)
def proxy_wants_login(bench: Bench) -> dict[str, Any]:
    handler = servers.answering("407 Proxy Authentication Required")
    return by_proxy(bench, bench.cleanup.enter_context(servers.listening(handler)))


@broken("The proxy does not let this host through", check="proxy", says="refuses to connect to")
def proxy_forbids(bench: Bench) -> dict[str, Any]:
    handler = servers.answering("403 Forbidden")
    return by_proxy(bench, bench.cleanup.enter_context(servers.listening(handler)))


@broken("The proxy cannot reach the host", check="proxy", says="HTTP 502 Bad Gateway")
def proxy_fails(bench: Bench) -> dict[str, Any]:
    handler = servers.answering("502 Bad Gateway")
    return by_proxy(bench, bench.cleanup.enter_context(servers.listening(handler)))


@broken("A SOCKS proxy is set", check="proxy", says="botocore cannot use a SOCKS proxy")
def socks(bench: Bench) -> dict[str, Any]:
    bench.monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1080")
    return bench.over_tls()


@broken(
    "TLS is opened on the way, by a CA that is not known here",
    check="tls",
    says="was issued by CN=Foreign CA, which is not among the CAs of",
)
def unknown_ca(bench: Bench) -> dict[str, Any]:
    certificate, key, _ = bench.foreign_tls(dns_names=("localhost",))
    handler = servers.tls(certificate, key)
    port = bench.cleanup.enter_context(servers.listening(handler))
    return bench.over_tls(endpoint_url=f"https://localhost:{port}")


@broken("The server's certificate is for another name", check="tls", says="is for another name")
def other_name(bench: Bench) -> dict[str, Any]:
    certificate, key, authority = bench.foreign_tls(dns_names=("elsewhere.example",))
    port = bench.cleanup.enter_context(servers.listening(servers.tls(certificate, key)))
    return bench.over_tls(endpoint_url=f"https://localhost:{port}", verify=authority)


@broken(
    "The server's certificate has expired",
    check="tls",
    says="is not valid now: certificate has expired; by this machine's clock it is",
)
def expired_server(bench: Bench) -> dict[str, Any]:
    certificate, key, authority = bench.foreign_tls(
        dns_names=("localhost",), not_valid_after=now() - DAY
    )
    port = bench.cleanup.enter_context(servers.listening(servers.tls(certificate, key)))
    return bench.over_tls(endpoint_url=f"https://localhost:{port}", verify=authority)


@broken("The CA bundle is a file without certificates", check="tls", says="cannot be used")
def broken_bundle(bench: Bench) -> dict[str, Any]:
    return bench.over_tls(verify=bench.write("bundle.pem", "no certificates"))


@broken("The CA bundle does not exist", check="tls", says="does not exist")
def missing_bundle(bench: Bench) -> dict[str, Any]:
    bench.monkeypatch.setenv("AWS_CA_BUNDLE", f"{bench.folder}/no-bundle.pem")
    return bench.over_tls(verify=None)


@broken("https is spoken to a port of http", check="tls", says="does not speak TLS as expected")
def http_port(bench: Bench) -> dict[str, Any]:
    return bench.settings(endpoint_url=bench.emulator.endpoint_url.replace("http:", "https:"))


@broken(
    "The server takes the connection and says nothing",
    check="tls",
    says="did not end: no answer in time",
)
def silent_server(bench: Bench) -> dict[str, Any]:
    port = bench.cleanup.enter_context(servers.silent())
    return bench.settings(endpoint_url=f"https://127.0.0.1:{port}", connect_timeout=0.5)


@broken("The server never answers a request", check="service", says="Read timeout")
def hanging_server(bench: Bench) -> dict[str, Any]:
    port = bench.cleanup.enter_context(servers.silent())
    return bench.settings(endpoint_url=f"http://127.0.0.1:{port}", read_timeout=0.5)


@broken(
    "A captive portal answers",
    check="service",
    says="something else answers: HTTP 200 (text/html) without the headers of AWS",
)
def captive_portal(bench: Bench) -> dict[str, Any]:
    handler = servers.answering("200 OK", "Content-Type: text/html", body=b"<html>Log in</html>")
    port = bench.cleanup.enter_context(servers.listening(handler))
    return bench.settings(endpoint_url=f"http://127.0.0.1:{port}")


# What the service refuses


@broken("The trust anchor does not exist", check="sign-in", says="404 ResourceNotFoundException")
def no_such_anchor(bench: Bench) -> dict[str, Any]:
    return bench.settings(trust_anchor_arn=ELSEWHERE.format("trust-anchor"))


@broken(
    "The same, seen with control-plane permission",
    check="trust-anchor",
    says="00000000-0000-4000-8000-000000000000 does not exist (ResourceNotFoundException)",
    administrator=True,
)
def no_such_anchor_seen(bench: Bench) -> dict[str, Any]:
    return no_such_anchor(bench)


def disabled(bench: Bench, operation: str, name: str) -> dict[str, Any]:
    setup = bench.set_up()
    arn = setup.trust_anchor_arn if name == "trustAnchorId" else setup.profile_arn
    getattr(bench.emulator.control_plane(), operation)(**{name: arn.rpartition("/")[2]})
    return bench.settings(setup)


@broken("The trust anchor is disabled", check="sign-in", says="Trust anchor is disabled")
def disabled_anchor(bench: Bench) -> dict[str, Any]:
    return disabled(bench, "disable_trust_anchor", "trustAnchorId")


@broken(
    "The same, seen with control-plane permission",
    check="trust-anchor",
    says="the trust anchor emulator is disabled",
    administrator=True,
)
def disabled_anchor_seen(bench: Bench) -> dict[str, Any]:
    return disabled_anchor(bench)


@broken("The profile is disabled", check="sign-in", says="Profile is disabled")
def disabled_profile(bench: Bench) -> dict[str, Any]:
    return disabled(bench, "disable_profile", "profileId")


@broken(
    "The same, seen with control-plane permission",
    check="profile",
    says="the profile emulator is disabled",
    administrator=True,
)
def disabled_profile_seen(bench: Bench) -> dict[str, Any]:
    return disabled_profile(bench)


@broken(
    "The profile does not list the role",
    check="sign-in",
    says="Requested Role isn't one of those listed in the Profile",
)
def unlisted_role(bench: Bench) -> dict[str, Any]:
    return bench.settings(role_arn=bench.set_up().role_arn)


@broken(
    "The same, seen with control-plane permission",
    check="role-in-profile",
    says="the profile does not list",
    administrator=True,
)
def unlisted_role_seen(bench: Bench) -> dict[str, Any]:
    return unlisted_role(bench)


@broken("The certificate is revoked", check="sign-in", says="Certificate revoked")
def revoked(bench: Bench) -> dict[str, Any]:
    setup = bench.set_up()
    bench.emulator.revoke(setup.leaf)
    return bench.settings(setup)


@broken(
    "The same, seen with control-plane permission",
    check="revocation",
    says="revoked by the enabled CRL emulator: CN=app, serial",
    administrator=True,
)
def revoked_seen(bench: Bench) -> dict[str, Any]:
    return revoked(bench)


@broken(
    "A session name is asked for that the profile does not accept",
    check="sign-in",
    says="Not authorized to set roleSessionName",
)
def session_name(bench: Bench) -> dict[str, Any]:
    return bench.settings(role_session_name="my-session")


@broken(
    "The same, seen with control-plane permission",
    check="session-name",
    says="role_session_name=my-session is asked for, which the profile does not accept",
    administrator=True,
)
def session_name_seen(bench: Bench) -> dict[str, Any]:
    return session_name(bench)


@broken(
    "The session would be longer than the role allows",
    check="sign-in",
    says="exceeds the MaxSessionDuration",
)
def too_long(bench: Bench) -> dict[str, Any]:
    policy = bench.trusting()
    setup = bench.set_up(session_duration=7200, role_arn=policy.role_arn)
    return bench.settings(setup, session_duration=7200)


@broken(
    "The same, seen with control-plane permission",
    check="duration",
    says="sessions would live 7200 seconds; the role allows 3600 (MaxSessionDuration)",
    administrator=True,
)
def too_long_seen(bench: Bench) -> dict[str, Any]:
    return too_long(bench)


@broken(
    "The role does not exist",
    check="role",
    says="iam:GetRole: nobody does not exist (NoSuchEntity)",
    administrator=True,
)
def no_such_role(bench: Bench) -> dict[str, Any]:
    return bench.settings(bench.set_up(role_arn="arn:aws:iam::111122223333:role/nobody"))


@broken(
    "The trust policy refuses, and nothing more is known",
    check="sign-in",
    says="Unable to assume role for arn:aws:iam::111122223333:role/",
)
def other_common_name(bench: Bench) -> dict[str, Any]:
    return bench.settings(bench.trusting(condition={"StringEquals": {CN: "other"}}))


@broken(
    "A condition of the trust policy asks for another common name",
    check="trust-policy",
    says=f"StringEquals {CN} wants ['other'], the request has 'app'",
    administrator=True,
)
def other_common_name_seen(bench: Bench) -> dict[str, Any]:
    return other_common_name(bench)


@broken(
    "A condition of the trust policy asks for another trust anchor",
    check="trust-policy",
    says=f"ArnEquals aws:SourceArn wants ['{ELSEWHERE.format('trust-anchor')}'], the request has",
    administrator=True,
)
def other_source_arn(bench: Bench) -> dict[str, Any]:
    wanted = {"ArnEquals": {"aws:SourceArn": ELSEWHERE.format("trust-anchor")}}
    return bench.settings(bench.trusting(condition=wanted))


@broken(
    "A condition of the trust policy asks for an attribute that the certificate has not",
    check="trust-policy",
    says="aws:PrincipalTag/x509Subject/OU wants ['ops'], the request has no such key",
    administrator=True,
)
def missing_attribute(bench: Bench) -> dict[str, Any]:
    wanted = {"StringEquals": {"aws:PrincipalTag/x509Subject/OU": "ops"}}
    return bench.settings(bench.trusting(condition=wanted))


@broken(
    "The trust policy lacks sts:TagSession",
    check="trust-policy",
    says="no statement allows sts:TagSession: statement 1: its Action does not list sts:TagSession",
    administrator=True,
)
def no_tag_session(bench: Bench) -> dict[str, Any]:
    return bench.settings(bench.trusting(actions=["sts:AssumeRole", "sts:SetSourceIdentity"]))


@broken("Something on the way changes requests", check="sign-in", says="Invalid signature")
def tampering(bench: Bench) -> dict[str, Any]:
    port = int(bench.emulator.endpoint_url.rpartition(":")[2])
    changed = bench.cleanup.enter_context(servers.listening(servers.tampering(port)))
    return bench.settings(endpoint_url=f"http://127.0.0.1:{changed}")


@broken("The service throttles", check="sign-in", says="HTTP 429")
def throttled(bench: Bench) -> dict[str, Any]:
    bench.emulator.faults.refuse(status=429, code="ThrottlingException")
    return bench.settings()


@broken("The service is not available", check="sign-in", says="HTTP 503")
def unavailable(bench: Bench) -> dict[str, Any]:
    bench.emulator.faults.refuse()
    return bench.settings()


@broken(
    "The connection breaks in the middle of the sign-in",
    check="sign-in",
    says="no answer from",
)
def broken_connection(bench: Bench) -> dict[str, Any]:
    bench.emulator.faults.close()
    return bench.settings()


# What works, and should be looked at


@warned(
    "The chain's file is in the wrong order",
    check="chain",
    says="the certificates stand in another order than that of the chain",
)
def wrong_order(bench: Bench) -> dict[str, Any]:
    root = CertificateAuthority("Root")
    lower = root.intermediate("Policy CA").intermediate("Issuing CA")
    setup = bench.set_up(authority=lower, anchor=root)
    pems = setup.leaf.chain_pem.split("-----END CERTIFICATE-----\n")[:2]
    turned = "".join(f"{pem}-----END CERTIFICATE-----\n" for pem in reversed(pems))
    return bench.settings(setup, certificate_chain=bench.write("turned.pem", turned))


@warned(
    "The chain's file holds a certificate of another chain",
    check="chain",
    says="CN=Stranger did not issue any of this chain and is not sent",
)
def stranger(bench: Bench) -> dict[str, Any]:
    other = CertificateAuthority("Strange Root").intermediate("Stranger").certificate_pem
    return bench.settings(certificate_chain=bench.write("stranger.pem", other))


@warned(
    "Every user may read the key",
    check="key-file",
    says="holds the private key, and others than its owner may read or change it",
)
def open_key(bench: Bench) -> dict[str, Any]:
    found = bench.settings()
    bench.write("app.key", (bench.folder / "app.key").read_bytes(), mode=0o644)
    return found


@warned("The RSA key is short", check="private-key", says="short for an RSA key")
def short_key(bench: Bench) -> dict[str, Any]:
    setup = bench.set_up()
    key = rsa.generate_private_key(65537, 1024)
    leaf = setup.authority.issue("app", public_key=key.public_key())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return bench.settings(
        setup,
        certificate=bench.write("short.pem", leaf.certificate_pem),
        private_key=bench.write("short.key", pem),
    )


@warned("The certificate ends in five days", check="validity", says="days left: 4")
def ends_soon(bench: Bench) -> dict[str, Any]:
    setup = bench.set_up()
    leaf = setup.authority.issue(not_valid_before=now() - 90 * DAY, not_valid_after=now() + 5 * DAY)
    return bench.settings(setup, leaf=leaf)


@warned(
    "The intermediate ends in five days",
    check="chain-validity",
    says="the first to end is CN=Issuing CA",
)
def chain_ends_soon(bench: Bench) -> dict[str, Any]:
    times = {"not_valid_before": now() - 90 * DAY, "not_valid_after": now() + 5 * DAY}
    return bench.settings(below_root(bench, **times)[0])


@warned(
    "The certificate ends before the next renewal",
    check="renewal",
    says="by then the certificate may have ended",
)
def ends_before_renewal(bench: Bench) -> dict[str, Any]:
    setup = bench.set_up()
    return bench.settings(
        setup, leaf=setup.authority.issue(not_valid_after=now() + timedelta(minutes=30))
    )


@warned(
    "This machine's clock is two minutes ahead",
    check="clock",
    says="seconds ahead of the service's",
)
def clock_off(bench: Bench) -> dict[str, Any]:
    bench.emulator.advance(-120)
    return bench.settings()


@warned(
    "The server's certificate is not verified",
    check="tls",
    says="nobody knows with whom: the certificate is not verified",
)
def not_verified(bench: Bench) -> dict[str, Any]:
    return bench.over_tls(verify="false")


@warned(
    "A value of the certificate cannot be a session tag",
    check="session-tags",
    says="Some attributes failed to be mapped into session tags. Issuer: [  ]; Subject: [ OU ]",
)
def odd_attribute(bench: Bench) -> dict[str, Any]:
    setup = bench.set_up()
    leaf = setup.authority.issue("app", organizational_units=["ops (night)"])
    return bench.settings(setup, leaf=leaf)


@warned(
    "The profile's duration is shorter than what is asked for",
    check="session",
    says="seconds instead of 3600",
)
def short_profile(bench: Bench) -> dict[str, Any]:
    return bench.settings(bench.set_up(session_duration=900))


def with_crl(bench: Bench, *, enabled: bool, **arguments: Any) -> dict[str, Any]:
    setup = bench.set_up()
    if not enabled:
        setup.authority.revoke(setup.leaf)
    bench.emulator.control_plane().import_crl(
        name="list",
        crlData=setup.authority.crl_pem(**arguments).encode(),
        trustAnchorArn=setup.trust_anchor_arn,
        enabled=enabled,
    )
    return bench.settings(setup)


@warned(
    "The CRL is past its next update",
    check="revocation",
    says="1 of them past the time of its next update",
    administrator=True,
)
def stale_crl(bench: Bench) -> dict[str, Any]:
    return with_crl(bench, enabled=True, last_update=now() - 9 * DAY, next_update=now() - 2 * DAY)


@warned(
    "A CRL that is disabled lists the certificate",
    check="revocation",
    says="one that is disabled revokes this certificate",
    administrator=True,
)
def disabled_crl(bench: Bench) -> dict[str, Any]:
    return with_crl(bench, enabled=False)

"""What all measurements share: keys, certificates, the server, and clean child processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rolesanywhere_auth.testing import CertificateAuthority

ROOT = Path(__file__).parent.parent
KEY_TYPES = (
    "rsa-2048",
    "rsa-4096",
    "ec-p256",
    "ec-p384",
    "ec-p521",
    "ml-dsa-44",
    "ml-dsa-65",
    "ml-dsa-87",
)
REGION = "eu-west-1"
ARNS = {
    "trust_anchor_arn": f"arn:aws:rolesanywhere:{REGION}:111122223333:trust-anchor/"
    "11111111-2222-4333-8444-555555555555",
    "profile_arn": f"arn:aws:rolesanywhere:{REGION}:111122223333:profile/"
    "66666666-7777-4888-9999-000000000000",
    "role_arn": "arn:aws:iam::111122223333:role/app",
}


@cache
def _authority() -> CertificateAuthority:
    return CertificateAuthority()


@dataclass(frozen=True)
class Stage:
    """A folder, a server, and the environment of every child process."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """The server's."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def bundle(self) -> str:
        """The CA bundle that holds the server's CA, and nothing else."""
        return str(self.folder / "ca.pem")

    def files(self, key_type: str) -> dict[str, str]:
        """Paths of the certificate and the key, by the names that both libraries use.

        Raises:
            RuntimeError: ML-DSA, with a ``cryptography`` that has none.
        """
        folder = self.folder / key_type
        if not folder.exists():
            _authority().issue("app", key_type=key_type).write_to(folder)  # type: ignore[arg-type]
        return {
            "certificate": str(folder / "client.pem"),
            "private_key": str(folder / "client.key"),
        }

    def config_arguments(self, key_type: str, *, endpoint: bool = True) -> dict[str, Any]:
        """Keywords for `RolesAnywhereConfig`."""
        given = {"endpoint_url": self.url} if endpoint else {}
        return {**ARNS, **self.files(key_type), **given, "verify": self.bundle}

    def peer_arguments(self, key_type: str, *, endpoint: bool = True) -> dict[str, Any]:
        """Keywords for the peer's ``IAMRolesAnywhereSession``."""
        given = {"endpoint": f"127.0.0.1:{self.port}"} if endpoint else {}
        return {**ARNS, **self.files(key_type), **given, "verify": self.bundle, "region": REGION}

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Nothing of the user's settings; byte code is kept, as after an installation."""
        kept = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "TMPDIR", "LD_LIBRARY_PATH")
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "AWS_CONFIG_FILE": str(self.folder / "no-config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "no-credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_DEFAULT_REGION": REGION,
            **(extra or {}),
        }

    def run(
        self, source: str, *, env: Mapping[str, str] | None = None, options: tuple[str, ...] = ()
    ) -> list[str]:
        """Run *source* in a new interpreter; the words it printed."""
        return self.execute([sys.executable, *options, "-c", source], env).stdout.split()

    def execute(
        self, arguments: Sequence[str], env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the clean environment of all contenders."""
        done = subprocess.run(
            arguments,
            env=self.environment(env),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"a measured program failed:\n{arguments[-1]}\n{done.stderr}")
        return done


@contextmanager
def stage() -> Iterator[Stage]:
    """Make everything that the measurements need, and take it away afterwards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_server_files(folder)
        server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server", str(folder / "server.pem")],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield Stage(folder, int(server.stdout.readline()))
        finally:
            server.stdin.close()
            server.wait()
            server.stdout.close()


def _write_server_files(folder: Path) -> None:
    """``ca.pem``, and ``server.pem`` with certificate and key for 127.0.0.1."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark CA")])
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(
        _certificate(issuer, issuer, ca_key, ca_key, ca=True).public_bytes(pem)
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    (folder / "server.pem").write_bytes(
        _certificate(subject, issuer, key, ca_key, ca=False).public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    ca_key: ec.EllipticCurvePrivateKey,
    *,
    ca: bool,
) -> x509.Certificate:
    now = datetime.now(timezone.utc)
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=ca, crl_sign=ca, **usage),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
    )
    if not ca:
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(ca_key, hashes.SHA256())

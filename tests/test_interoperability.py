"""What code of others makes or accepts: openssl's certificates, and the AWS CLI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509

from rolesanywhere_auth import RolesAnywhereConfig, create_session
from rolesanywhere_auth.testing import Emulator

# After "Getting started" of the AWS IAM Roles Anywhere user guide and AWS's posts:
# a root, an intermediate, and an end-entity certificate with digitalSignature.
CONFIGURATION = """
[req]
prompt = no
distinguished_name = name
[name]
C = US
O = Example
OU = Security
CN = $ENV::COMMON_NAME
[v3_ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
[v3_intermediate]
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always, issuer
[v3_end]
basicConstraints = CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectAltName = DNS:app.example.com, URI:spiffe://example.com/app
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid, issuer
"""

KINDS = {
    "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "p256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "p384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
}


def openssl(folder: Path, *arguments: str, common_name: str = "none") -> str:
    """Run openssl in *folder* with the configuration above."""
    done = subprocess.run(
        ["openssl", *arguments],
        cwd=folder,
        env={**os.environ, "OPENSSL_CONF": "openssl.cnf", "COMMON_NAME": common_name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def certify(folder: Path, name: str, *, issuer: str, extensions: str, serial: str) -> None:
    """A certificate *name*.pem for *name*.key, by *issuer*."""
    request = ("req", "-new", "-key", f"{name}.key", "-out", f"{name}.csr")
    openssl(folder, *request, common_name=name)
    openssl(
        folder,
        *("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", "-days", "30"),
        *("-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-set_serial", serial),
        *("-extfile", "openssl.cnf", "-extensions", extensions, "-sha384"),
        common_name=name,
    )


@pytest.fixture(scope="module", params=KINDS)
def pki(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root, intermediate and leaf with keys of one kind, all by the openssl command line."""
    folder = tmp_path_factory.mktemp(f"openssl-{request.param}")
    (folder / "openssl.cnf").write_text(CONFIGURATION)
    for name in ("root", "intermediate", "leaf"):
        openssl(folder, "genpkey", *KINDS[request.param], "-out", f"{name}.key")
    openssl(
        folder,
        *("req", "-x509", "-new", "-key", "root.key", "-out", "root.pem", "-days", "30"),
        *("-extensions", "v3_ca"),
        common_name="root",
    )
    certify(folder, "intermediate", issuer="root", extensions="v3_intermediate", serial="7")
    certify(folder, "leaf", issuer="intermediate", extensions="v3_end", serial="4096")
    verified = ("verify", "-CAfile", "root.pem", "-untrusted", "intermediate.pem", "leaf.pem")
    assert openssl(folder, *verified) == "leaf.pem: OK\n"
    return folder


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """An emulator with STS behind it."""
    with Emulator(aws=True) as running:
        yield running


@pytest.mark.parametrize("form", ["files", "bundle", "pkcs12", "der"])
def test_certificates_of_openssl_sign_in(pki: Path, form: str, emulator: Emulator) -> None:
    """A chain that openssl made signs in, from files, a bundle, PKCS#12 or DER.

    The anchor is the root, made through the control plane with openssl's own PEM.
    """
    emulator.clear()
    root = x509.load_pem_x509_certificate((pki / "root.pem").read_bytes())
    authority = SimpleNamespace(certificate=root, certificate_pem=(pki / "root.pem").read_text())
    anchor = emulator.create_trust_anchor(authority)  # type: ignore[arg-type]
    role = emulator.create_role("app", trust_anchor_arn=anchor)
    profile = emulator.control_plane().create_profile(name="p", roleArns=[role], enabled=True)
    arguments: dict[str, object] = {
        "certificate": pki / "leaf.pem",
        "private_key": pki / "leaf.key",
        "certificate_chain": pki / "intermediate.pem",
    }
    if form == "bundle":
        names = ("root.pem", "intermediate.pem", "leaf.key", "leaf.pem")
        (pki / "bundle.pem").write_text("".join((pki / n).read_text() for n in names))
        arguments = {"certificate": pki / "bundle.pem"}
    elif form == "pkcs12":
        openssl(
            pki,
            *("pkcs12", "-export", "-inkey", "leaf.key", "-in", "leaf.pem", "-out", "leaf.p12"),
            *("-certfile", "intermediate.pem", "-passout", "pass:s3cret"),
        )
        arguments = {"certificate": pki / "leaf.p12", "passphrase": "s3cret"}
    elif form == "der":
        for name in ("leaf", "intermediate"):
            openssl(pki, "x509", "-in", f"{name}.pem", "-outform", "DER", "-out", f"{name}.der")
        openssl(pki, "pkey", "-in", "leaf.key", "-outform", "DER", "-out", "leaf.key.der")
        arguments = {
            "certificate": (pki / "leaf.der").read_bytes(),
            "private_key": pki / "leaf.key.der",
            "certificate_chain": pki / "intermediate.der",
        }

    found = create_session(
        RolesAnywhereConfig(
            trust_anchor_arn=anchor,
            profile_arn=profile["profile"]["profileArn"],
            role_arn=role,
            endpoint_url=emulator.https_endpoint_url,
            verify=emulator.ca_bundle,
            **arguments,  # type: ignore[arg-type]
        )
    )

    assert found.assumed_role_arn == "arn:aws:sts::111122223333:assumed-role/app/1000"
    assert found.source_identity == "CN=leaf"


def test_aws_cli_takes_the_credential_process(emulator: Emulator, tmp_path: Path) -> None:
    """``aws sts get-caller-identity`` with our command as credential_process is the role."""
    emulator.clear()
    setup = emulator.set_up()
    command = " ".join(
        [
            f"{sys.executable} -m rolesanywhere_auth credential-process",
            f"--trust-anchor-arn {setup.trust_anchor_arn} --profile-arn {setup.profile_arn}",
            f"--role-arn {setup.role_arn} --certificate {setup.certificate}",
            f"--private-key {setup.private_key} --endpoint {emulator.https_endpoint_url}",
        ]
    )
    config = tmp_path / "config"
    config.write_text(f"[profile app]\nregion = eu-west-1\ncredential_process = {command}\n")
    environment = {
        **os.environ,
        "AWS_CONFIG_FILE": str(config),
        "AWS_CA_BUNDLE": emulator.ca_bundle,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }

    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "aws"),
            *("sts", "get-caller-identity", "--profile", "app", "--output", "json"),
            *("--endpoint-url", emulator.aws_endpoint_url),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    serial = f"{setup.leaf.serial_number:x}"
    session_name = serial if len(serial) % 2 == 0 else f"0{serial}"
    assert json.loads(done.stdout)["Arn"] == (
        f"arn:aws:sts::111122223333:assumed-role/app/{session_name}"
    )
    assert len(emulator.events) == 1

"""Run by scripts/test-tpm-kernel under a kernel with a TPM: sign in through /dev/tpmrm0."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_public_key

from rolesanywhere_auth import RolesAnywhereConfig, RolesAnywhereCredentials
from rolesanywhere_auth.keys import Signer, check_signature
from rolesanywhere_auth.keys.pkcs11 import PKCS11Signer
from rolesanywhere_auth.keys.tpm import TPMSigner
from rolesanywhere_auth.testing import Emulator

PARENT = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt"
HANDLE = "0x81000001"
PIN = "739182"
MODULE = next(Path("/usr/lib").glob("*/libtpm2_pkcs11.so*"))
TOKEN = f"pkcs11:token=prod;object=app?module-path={MODULE}"
PASSPHRASES = {f"tpm:{HANDLE}": "pw", TOKEN: PIN}


def run(*command: str) -> None:
    """A command that must end well."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make_keys() -> dict[str, Any]:
    """Public keys by reference: at a handle with a password, and in a file."""
    run("tpm2_createprimary", "-C", "o", "-G", "ecc256:aes128cfb", "-a", PARENT, "-c", "p.ctx")
    for name, *auth in (("handle", "-p", "pw"), ("file",)):
        run(
            "tpm2_create", "-C", "p.ctx", "-G", "ecc256", "-u", f"{name}.pub",
            "-r", f"{name}.priv", "-f", "pem", "-o", f"{name}.public.pem", *auth,
        )  # fmt: skip
    run("tpm2_load", "-C", "p.ctx", "-u", "handle.pub", "-r", "handle.priv", "-c", "handle.ctx")
    run("tpm2_evictcontrol", "-C", "o", "-c", "handle.ctx", HANDLE)
    run(
        "tpm2_encodeobject", "-C", "p.ctx", "-u", "file.pub", "-r", "file.priv", "-o", "file.pem"
    )  # fmt: skip
    return {
        f"tpm:{HANDLE}": load_pem_public_key(Path("handle.public.pem").read_bytes()),
        "file.pem": load_pem_public_key(Path("file.public.pem").read_bytes()),
    }


def make_token() -> Any:
    """The public key of tpm2-pkcs11's token, whose private key is in the TPM."""
    os.environ["TPM2_PKCS11_STORE"] = str(Path.cwd())
    os.environ["TPM2_PKCS11_TCTI"] = "device:/dev/tpmrm0"
    run("tpm2_ptool", "init")
    run("tpm2_ptool", "addtoken", "--pid=1", "--label=prod", f"--userpin={PIN}", "--sopin=1234")
    run(
        "tpm2_ptool", "addkey", "--label=prod", "--algorithm=ecc256", "--key-label=app",
        f"--userpin={PIN}",
    )  # fmt: skip
    return PKCS11Signer(TOKEN, passphrase=PIN).public_key()


def check(signer: Signer) -> None:
    """Sign, and verify that."""
    check_signature(signer.public_key(), signer.sign(b"data"), b"data", source="guest")


def check_everywhere(signers: Sequence[Signer]) -> None:
    """In threads, while the process forks, and in the children."""
    done: list[None] = []

    def work() -> None:
        for _ in range(5):
            for signer in signers:
                check(signer)
        done.append(None)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for _ in range(2):
        child = os.fork()
        if not child:
            try:
                for signer in signers:
                    check(signer)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
    for each in threads:
        each.join()
    assert len(done) == len(threads)


def main() -> None:
    """Say what worked, on the console."""
    os.chdir(tempfile.mkdtemp())
    keys = {**make_keys(), TOKEN: make_token()}
    del os.environ["TPM2TOOLS_TCTI"]  # what finds the device by itself
    with Emulator() as emulator:
        setup = emulator.set_up()
        for reference, public_key in keys.items():
            leaf = setup.authority.issue(public_key=public_key)
            arguments = {
                **setup.config_arguments(),
                "certificate": leaf.certificate_pem,
                "certificate_chain": None,
                "private_key": reference,
                "passphrase": PASSPHRASES.get(reference),
            }
            credentials = RolesAnywhereCredentials(RolesAnywhereConfig(**arguments))
            assert credentials.get_frozen_credentials().access_key
            sys.stdout.write(f"signed in with {reference}\n")
    signers = [TPMSigner(f"tpm:{HANDLE}", passphrase="pw"), TPMSigner("file.pem")]
    assert {each._device.name for each in signers} == {"the TPM (device:/dev/tpmrm0)"}
    check_everywhere([*signers, PKCS11Signer(TOKEN, passphrase=PIN)])
    sys.stdout.write("signed in threads and children\n")


if __name__ == "__main__":
    main()

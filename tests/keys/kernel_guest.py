"""Run by scripts/test-tpm-kernel under a kernel with a TPM: sign in through /dev/tpmrm0."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_public_key

from rolesanywhere_auth import RolesAnywhereConfig, RolesAnywhereCredentials
from rolesanywhere_auth.keys import check_signature
from rolesanywhere_auth.keys.tpm import TPMSigner
from rolesanywhere_auth.testing import Emulator

PARENT = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt"
HANDLE = "0x81000001"


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


def check(signer: TPMSigner) -> None:
    """Sign, and verify that."""
    check_signature(signer.public_key(), signer.sign(b"data"), b"data", source="guest")


def check_everywhere(signers: list[TPMSigner]) -> None:
    """In threads, while the process forks, and in the children."""
    done: list[None] = []

    def work() -> None:
        for _ in range(10):
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
    keys = make_keys()
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
                "passphrase": "pw" if reference.startswith("tpm:") else None,
            }
            credentials = RolesAnywhereCredentials(RolesAnywhereConfig(**arguments))
            assert credentials.get_frozen_credentials().access_key
            sys.stdout.write(f"signed in with {reference}\n")
    signers = [TPMSigner(f"tpm:{HANDLE}", passphrase="pw"), TPMSigner("file.pem")]
    assert {each._device.name for each in signers} == {"the TPM (device:/dev/tpmrm0)"}
    check_everywhere(signers)
    sys.stdout.write("signed in threads and children\n")


if __name__ == "__main__":
    main()

"""Run by a Windows Python (`scripts/setup-wine`): puts keys into Windows' stores, and uses them.

Reads JSON from standard input, ``{"answers": FILE, "requests": [{"do": NAME, …}, …]}``, and writes
an answer for each to the file, up to the first error. Importing keys is done here by ctypes, and
not by what is under test.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import struct
import sys
import threading
import traceback
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_void_p, c_wchar_p
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

windows: Any = ctypes
crypt32 = windows.WinDLL("crypt32", use_last_error=True)
advapi32 = windows.WinDLL("advapi32", use_last_error=True)
ncrypt = windows.WinDLL("ncrypt", use_last_error=True)

AES_PROVIDER = "Microsoft Enhanced RSA and AES Cryptographic Provider"
LOCATIONS = {"CurrentUser": 1 << 16, "LocalMachine": 2 << 16}


class ProviderInfo(ctypes.Structure):
    _fields_ = (
        ("container", c_wchar_p),
        ("provider", c_wchar_p),
        ("type", c_uint32),
        ("flags", c_uint32),
        ("count", c_uint32),
        ("parameters", c_void_p),
        ("spec", c_uint32),
    )


class KeyContext(ctypes.Structure):
    _fields_ = (("size", c_uint32), ("handle", c_size_t), ("spec", c_uint32))


def declare(library: Any, name: str, result: Any, *parameters: Any) -> None:
    """Say what a function takes."""
    function = getattr(library, name)
    function.restype, function.argtypes = result, parameters


declare(crypt32, "CertOpenStore", c_void_p, c_void_p, c_uint32, c_size_t, c_uint32, c_wchar_p)
declare(crypt32, "CertCloseStore", c_int, c_void_p, c_uint32)
declare(crypt32, "CertControlStore", c_int, c_void_p, c_uint32, c_uint32, c_void_p)
declare(crypt32, "CertCreateCertificateContext", c_void_p, c_uint32, c_char_p, c_uint32)
declare(crypt32, "CertFreeCertificateContext", c_int, c_void_p)
declare(crypt32, "CertSetCertificateContextProperty", c_int, c_void_p, c_uint32, c_uint32, c_void_p)
declare(crypt32, "CertAddCertificateContextToStore", c_int, c_void_p, c_void_p, c_uint32, c_void_p)
declare(crypt32, "CertEnumCertificatesInStore", c_void_p, c_void_p, c_void_p)
declare(crypt32, "CertDeleteCertificateFromStore", c_int, c_void_p)
declare(crypt32, "CertDuplicateCertificateContext", c_void_p, c_void_p)
declare(
    advapi32, "CryptAcquireContextW", c_int, POINTER(c_size_t), c_wchar_p, c_wchar_p, c_uint32,
    c_uint32,
)  # fmt: skip
declare(advapi32, "CryptReleaseContext", c_int, c_size_t, c_uint32)
declare(
    advapi32, "CryptImportKey", c_int, c_size_t, c_char_p, c_uint32, c_size_t, c_uint32,
    POINTER(c_size_t),
)  # fmt: skip
declare(advapi32, "CryptDestroyKey", c_int, c_size_t)
declare(ncrypt, "NCryptOpenStorageProvider", c_int, POINTER(c_size_t), c_wchar_p, c_uint32)
declare(
    ncrypt, "NCryptImportKey", c_int, c_size_t, c_size_t, c_wchar_p, c_void_p, POINTER(c_size_t),
    c_char_p, c_uint32, c_uint32,
)  # fmt: skip


def ensure(done: Any, what: str) -> Any:
    """Raise if a function of Windows failed."""
    if not done:
        raise OSError(f"{what}: 0x{windows.get_last_error() & 0xFFFFFFFF:08x}")
    return done


def open_store(place: str) -> int:
    """A store by its place; it is made if it is not there."""
    location, _, name = place.partition("/")
    return int(ensure(crypt32.CertOpenStore(10, 0, 0, LOCATIONS[location], name), place))


def close_store(store: int) -> None:
    """Have what was changed written."""
    crypt32.CertControlStore(store, 0, 3, None)  # wine writes only when it is told to
    crypt32.CertCloseStore(store, 0)


def put(place: str, der: bytes, *, info: ProviderInfo | None = None) -> None:
    """A certificate into a store, replacing the same one."""
    store = open_store(place)
    context = ensure(crypt32.CertCreateCertificateContext(1, der, len(der)), "certificate")
    if info is not None:
        ensure(crypt32.CertSetCertificateContextProperty(context, 2, 0, byref(info)), "property")
    ensure(crypt32.CertAddCertificateContextToStore(store, context, 3, None), "add")
    crypt32.CertFreeCertificateContext(context)
    close_store(store)


def numbers(pem: str) -> Any:
    """The numbers of an RSA key."""
    key: Any = serialization.load_pem_private_key(pem.encode(), None)
    return key.private_numbers()


def install(request: dict[str, Any]) -> None:
    """An RSA key into a container of CryptoAPI, and its certificate, which names it.

    The container is the user's, for LocalMachine too: wine looks for no other.
    """
    private = numbers(request["key"])

    def little(value: int, size: int) -> bytes:
        return value.to_bytes(size, "little")

    blob = struct.pack("<BBHL4sLL", 7, 2, 0, 0xA400, b"RSA2", 2048, private.public_numbers.e)
    blob += little(private.public_numbers.n, 256)
    for value in (private.p, private.q, private.dmp1, private.dmq1, private.iqmp):
        blob += little(value, 128)
    blob += little(private.d, 256)
    container, key = c_size_t(), c_size_t()
    ensure(
        advapi32.CryptAcquireContextW(
            byref(container), request["container"], AES_PROVIDER, 24, 8 | 0x40
        ),
        "container",
    )
    ensure(advapi32.CryptImportKey(container, blob, len(blob), 0, 0, byref(key)), "import")
    advapi32.CryptDestroyKey(key)
    advapi32.CryptReleaseContext(container, 0)
    info = ProviderInfo(request["container"], AES_PROVIDER, 24, 0, 0, None, 1)
    put(request["place"], der_of(request["certificate"]), info=info)
    for each in request.get("authorities", ()):
        put(request["place"].partition("/")[0] + "/CA", der_of(each))


def remove_container(request: dict[str, Any]) -> None:
    """The key goes, its certificate stays."""
    handle = c_size_t()
    ensure(
        advapi32.CryptAcquireContextW(byref(handle), request["container"], AES_PROVIDER, 24, 16),
        "delete",
    )


def der_of(pem: str) -> bytes:
    """The certificate in DER."""
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(serialization.Encoding.DER)


def config_of(request: dict[str, Any], **changed: Any) -> Any:
    """The configuration to sign in with."""
    from rolesanywhere_auth import RolesAnywhereConfig

    return RolesAnywhereConfig(**{**request["config"], **changed})


def sign_in(request: dict[str, Any]) -> Any:
    """What STS says of a session, signed in with what the reference names."""
    from rolesanywhere_auth import boto3_session

    sts = boto3_session(config_of(request)).client("sts", endpoint_url=request["sts"])
    return {"arn": sts.get_caller_identity()["Arn"], "loaded": sorted(sys.modules)}


def load(request: dict[str, Any]) -> Any:
    """Open the reference, as signing in does."""
    from rolesanywhere_auth.identity import Identity

    identity = Identity.load(request["reference"], now=datetime.now(timezone.utc))
    return {
        "serial": identity.serial_number,
        "intermediates": len(identity.intermediates),
        "signer": repr(identity.signer),
    }


def command(request: dict[str, Any]) -> Any:
    """What the command prints, and how it ends."""
    from rolesanywhere_auth import cli

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(request["arguments"])
    return {"status": status, "out": out.getvalue(), "err": err.getvalue()}


def sign_in_threads(request: dict[str, Any]) -> Any:
    """Sign in eight threads, 200 times each; every signature is checked here."""
    from rolesanywhere_auth.identity import Identity
    from rolesanywhere_auth.keys import check_signature

    identity = Identity.load(request["reference"], now=datetime.now(timezone.utc))
    failures: list[str] = []

    def work() -> None:
        try:
            for number in range(200):
                data = b"%d" % number
                signature = identity.signer.sign(data)
                check_signature(identity.signer.public_key(), signature, data, source="wine")
        except Exception as error:  # noqa: BLE001
            failures.append(repr(error))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return {"failures": failures}


def renew(request: dict[str, Any]) -> Any:
    """Replace the certificate and its key while an identity is in use."""
    from rolesanywhere_auth.identity import IdentitySource

    now = datetime.now(timezone.utc)
    source = IdentitySource(request["reference"])
    before = source.current(now=now).serial_number
    quiet = source.poll(now=now)
    install(request)
    later = now + timedelta(minutes=1)
    noticed = source.poll(now=later)
    identity = source.current(now=later)
    identity.signer.sign(b"data")
    return {
        "before": before,
        "quiet": quiet,
        "noticed": noticed,
        "after": identity.serial_number,
        "again": source.poll(now=later),
    }


def sign_in_by_cng(request: dict[str, Any]) -> Any:
    """Sign in with a key of CNG, which wine has in memory alone, bound to a certificate context."""
    from rolesanywhere_auth import boto3_session
    from rolesanywhere_auth.certificates import Certificate
    from rolesanywhere_auth.keys.os_store import Key, StoreSigner
    from rolesanywhere_auth.keys.windows import WindowsSystem, system

    private = numbers(request["key"])

    def big(value: int, size: int) -> bytes:
        return value.to_bytes(size, "big")

    blob = struct.pack("<4sLLLLL", b"RSA3", 2048, 3, 256, 128, 128)
    blob += big(private.public_numbers.e, 3) + big(private.public_numbers.n, 256)
    for value in (private.p, private.q, private.dmp1, private.dmq1, private.iqmp):
        blob += big(value, 128)
    blob += big(private.d, 256)
    provider, key = c_size_t(), c_size_t()
    ensure(
        not ncrypt.NCryptOpenStorageProvider(
            byref(provider), "Microsoft Software Key Storage Provider", 0
        ),
        "provider",
    )
    ensure(
        not ncrypt.NCryptImportKey(
            provider, 0, "RSAFULLPRIVATEBLOB", None, byref(key), blob, len(blob), 0
        ),
        "import",
    )
    der = der_of(request["certificate"])
    context = ensure(crypt32.CertCreateCertificateContext(1, der, len(der)), "certificate")
    bound = KeyContext(ctypes.sizeof(KeyContext), key.value, 0xFFFFFFFF)
    ensure(crypt32.CertSetCertificateContextProperty(context, 5, 0, byref(bound)), "key context")

    kinds: list[str] = []

    class Bound(WindowsSystem):
        acquire_flags = WindowsSystem.acquire_flags | 1  # wine looks at the context with CACHE only

        def open_key(self, place: str, certificate: bytes, *, elliptic: bool, source: str) -> Key:
            found = self.acquire(context, elliptic=elliptic, source=source)
            kinds.append(type(found).__name__)
            return found

    signer = StoreSigner(
        Bound(system()._api),
        place="CurrentUser/MY",
        certificate=Certificate.from_der(der, source="wine"),
        source="wine",
    )
    config = config_of(request, certificate=request["certificate"], private_key=signer)
    sts = boto3_session(config).client("sts", endpoint_url=request["sts"])
    return {"arn": sts.get_caller_identity()["Arn"], "kinds": kinds}


def clear(request: dict[str, Any]) -> None:
    """Empty a store."""
    store = open_store(request["place"])
    while context := crypt32.CertEnumCertificatesInStore(store, None):
        ensure(crypt32.CertDeleteCertificateFromStore(context), "delete")
    close_store(store)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do as a request says."""
    try:
        return {"result": globals()[request["do"]](request)}
    except Exception as error:  # noqa: BLE001
        return {
            "error": type(error).__name__,
            "message": str(error),
            "traceback": traceback.format_exc(),
        }


def main() -> None:
    """Do as standard input says."""
    order = json.loads(sys.stdin.read())
    answers: list[dict[str, Any]] = []
    for request in order["requests"]:
        answers.append(answer(request))
        if "error" in answers[-1]:
            break
    Path(order["answers"]).write_text(json.dumps(answers), encoding="utf-8")


main()

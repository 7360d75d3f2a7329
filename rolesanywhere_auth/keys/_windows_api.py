# SPDX-License-Identifier: Apache-2.0
"""The functions of Windows that reading certificate stores and signing takes, for ctypes.

Signatures and constants: Microsoft's wincrypt.h, ncrypt.h and winerror.h. All handles are
``c_void_p`` or, where Windows has ULONG_PTR, ``c_size_t``; DWORD is 32 bits wide everywhere.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, Structure, c_char_p, c_int, c_int32, c_size_t, c_uint32, c_void_p
from ctypes import c_wchar_p as wide_string
from typing import Any, NamedTuple

BOOL = c_int
DWORD = c_uint32
HANDLE = c_void_p
"""HCERTSTORE and PCCERT_CONTEXT."""
NUMBER = c_size_t
"""HCRYPTPROV, HCRYPTHASH, NCRYPT_HANDLE."""
STATUS = c_int32
"""SECURITY_STATUS."""

CERT_STORE_PROV_SYSTEM_W = 10
CERT_SYSTEM_STORE_CURRENT_USER = 1 << 16
CERT_SYSTEM_STORE_LOCAL_MACHINE = 2 << 16
CERT_STORE_OPEN_EXISTING_FLAG = 0x4000
CERT_STORE_READONLY_FLAG = 0x8000
CERT_KEY_PROV_INFO_PROP_ID = 2
CRYPT_ACQUIRE_SILENT_FLAG = 0x40
CRYPT_ACQUIRE_PREFER_NCRYPT_KEY_FLAG = 0x20000
CERT_NCRYPT_KEY_SPEC = 0xFFFFFFFF
BCRYPT_PAD_PKCS1 = 2
NCRYPT_SILENT_FLAG = 0x40
PROV_RSA_FULL = 1
PROV_RSA_AES = 24
MS_ENH_RSA_AES_PROV = "Microsoft Enhanced RSA and AES Cryptographic Provider"
CRYPT_SILENT = 0x40
CRYPT_MACHINE_KEYSET = 0x20
CALG_SHA_256 = 0x800C
HP_HASHVAL = 2

ERROR_FILE_NOT_FOUND = 2
NTE_BAD_ALGID = 0x80090008


class CertificateContext(Structure):
    """CERT_CONTEXT."""

    _fields_ = (
        ("encoding", DWORD),
        ("data", c_void_p),
        ("size", DWORD),
        ("info", c_void_p),
        ("store", c_void_p),
    )


class KeyProviderInfo(Structure):
    """CRYPT_KEY_PROV_INFO."""

    _fields_ = (
        ("container", wide_string),
        ("provider", wide_string),
        ("type", DWORD),
        ("flags", DWORD),
        ("parameter_count", DWORD),
        ("parameters", c_void_p),
        ("spec", DWORD),
    )


class PKCS1PaddingInfo(Structure):
    """BCRYPT_PKCS1_PADDING_INFO."""

    _fields_ = (("algorithm", wide_string),)


_FUNCTIONS: dict[str, dict[str, tuple[Any, ...]]] = {
    "crypt32": {
        "CertOpenStore": (HANDLE, c_void_p, DWORD, NUMBER, DWORD, wide_string),
        "CertCloseStore": (BOOL, HANDLE, DWORD),
        "CertEnumCertificatesInStore": (HANDLE, HANDLE, HANDLE),
        "CertDuplicateCertificateContext": (HANDLE, HANDLE),
        "CertFreeCertificateContext": (BOOL, HANDLE),
        "CertGetCertificateContextProperty": (BOOL, HANDLE, DWORD, c_void_p, POINTER(DWORD)),
        "CryptAcquireCertificatePrivateKey": (
            BOOL,
            HANDLE,
            DWORD,
            c_void_p,
            POINTER(NUMBER),
            POINTER(DWORD),
            POINTER(BOOL),
        ),
    },
    "ncrypt": {
        "NCryptSignHash": (
            STATUS,
            NUMBER,
            c_void_p,
            c_char_p,
            DWORD,
            c_char_p,
            DWORD,
            POINTER(DWORD),
            DWORD,
        ),
        "NCryptFreeObject": (STATUS, NUMBER),
    },
    "advapi32": {
        "CryptAcquireContextW": (BOOL, POINTER(NUMBER), wide_string, wide_string, DWORD, DWORD),
        "CryptReleaseContext": (BOOL, NUMBER, DWORD),
        "CryptCreateHash": (BOOL, NUMBER, DWORD, NUMBER, DWORD, POINTER(NUMBER)),
        "CryptDestroyHash": (BOOL, NUMBER),
        "CryptSetHashParam": (BOOL, NUMBER, DWORD, c_char_p, DWORD),
        "CryptSignHashW": (BOOL, NUMBER, DWORD, c_void_p, DWORD, c_char_p, POINTER(DWORD)),
    },
}
"""By DLL: what a function returns, and its parameters."""


class API(NamedTuple):
    """The libraries, with every function declared."""

    crypt32: Any
    ncrypt: Any
    advapi32: Any
    last_error: Callable[[], int]
    """Of the function called last in this thread."""


def load(windows: Any = ctypes) -> API:
    """Load the libraries.

    Args:
        windows: What has ``WinDLL`` and ``get_last_error``: on Windows, ctypes itself.

    Raises:
        OSError: there is no such library.
    """
    libraries: dict[str, Any] = {}
    for name, functions in _FUNCTIONS.items():
        library = windows.WinDLL(name, use_last_error=True)
        for function, (result, *parameters) in functions.items():
            declared = getattr(library, function)
            declared.restype, declared.argtypes = result, parameters
        libraries[name] = library
    return API(**libraries, last_error=lambda: int(windows.get_last_error()) & 0xFFFFFFFF)


_SAYINGS = {
    5: ("ERROR_ACCESS_DENIED", "give this account the right to read the private key"),
    0x80090008: (
        "NTE_BAD_ALGID",
        (
            "its provider knows no SHA-256: import the key into a newer one, certutil -csp "
            '"Microsoft Software Key Storage Provider" -importPFX FILE'
        ),
    ),
    0x8009000D: ("NTE_NO_KEY", "its key is gone: import the certificate with its key again"),
    0x80090010: ("NTE_PERM", "give this account the right to read the private key"),
    0x80090016: (
        "NTE_BAD_KEYSET",
        (
            "its key is gone, or this account may not read it: in certlm.msc or certmgr.msc, "
            "'Manage Private Keys', or import it again"
        ),
    ),
    0x80090022: (
        "NTE_SILENT_CONTEXT",
        (
            "the key asks its user for a PIN or a confirmation, and nobody is asked here: use a "
            "key without strong protection, or unlock the card before"
        ),
    ),
    0x80090026: ("NTE_INVALID_HANDLE", "its provider was restarted, or its card is away"),
    0x80090029: ("NTE_NOT_SUPPORTED", "its provider cannot sign so"),
    0x80090030: ("NTE_DEVICE_NOT_READY", "see whether the TPM or card is ready"),
    0x8009200B: (
        "CRYPT_E_NO_KEY_PROPERTY",
        "the certificate has no key here: import the certificate with its key again",
    ),
    0x80100069: ("SCARD_W_REMOVED_CARD", "put the card back"),
    0x8010006B: ("SCARD_W_WRONG_CHV", "the card refused its PIN"),
    0x8010006C: ("SCARD_W_CHV_BLOCKED", "the card's PIN is blocked"),
    0x8010006E: ("SCARD_W_CANCELLED_BY_USER", "the card's dialog was cancelled"),
}


def explain(code: int) -> str:
    """What a code of Windows means, and what to do, as far as that is known."""
    code &= 0xFFFFFFFF
    name, advice = _SAYINGS.get(code, ("", ""))
    number = f"error {code}" if code < 0x10000 else f"0x{code:08X}"
    return f"{name} ({number}): {advice}." if name else f"{number}."

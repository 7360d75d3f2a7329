"""Keys that stay in their store: what this library adds to one signature, and a sign-in.

The floor of a signature is the module's own: C_SignInit and C_Sign through a bare ctypes call, or
TPM2_Sign through a context, with digest, session and handle made before. Ours takes the text, makes
the digest, finds its session under the lock, and gives DER.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import importlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.stage import Stage
from benchmarks.table import OURS, Budget, budget, measure, ratios, section
from rolesanywhere_auth import RolesAnywhereConfig
from rolesanywhere_auth.testing import Emulator

FLOOR = "floor: the module's own call"
FILE = "file"
STORES = {
    "SoftHSM": ("softhsm",),
    "NSS": ("nss",),
    "TPM, by handle": ("tpm_handle", "swtpm", "tpm2_create"),
    "TPM, by TSS2 file": ("tpm_tools", "swtpm", "tpm2_create"),
    "SPIFFE": ("spiffe",),
}
"""Those of tests/keys/backends that `key_stores` measures, by the name that is printed; and the
commands that they need."""
KEY_TYPES = ("ec-p256", "rsa-2048")

_TEXT = b"AWS4-X509-ECDSA-SHA256\n20261122T000000Z\n" + b"0" * 110
_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


class _Mechanism(ctypes.Structure):
    _fields_ = (
        ("mechanism", ctypes.c_ulong),
        ("parameter", ctypes.c_void_p),
        ("length", ctypes.c_ulong),
    )


def _per_call(call: Callable[[], object], calls: int) -> float:
    """Microseconds: the median, as the calls are short beside what else a machine does."""
    figures = []
    for _ in range(calls):
        begin = time.perf_counter_ns()
        call()
        figures.append((time.perf_counter_ns() - begin) / 1e3)
    return median(figures)


def raw_signature(path: str, session: int, key: int, *, rsa: bool) -> Callable[[], object]:
    """The floor, for a session and a key that are open."""
    functions = ctypes.c_void_p()
    assert ctypes.CDLL(path).C_GetFunctionList(ctypes.byref(functions)) == 0
    number, pointer = ctypes.c_ulong, ctypes.c_void_p
    table = (pointer * 44).from_address((functions.value or 0) + ctypes.sizeof(pointer))
    sign_init = ctypes.CFUNCTYPE(number, number, pointer, number)(table[42] or 0)
    sign = ctypes.CFUNCTYPE(number, number, ctypes.c_char_p, number, pointer, pointer)(
        table[43] or 0
    )
    mechanism = _Mechanism(0x0001 if rsa else 0x1041, None, 0)
    digest = hashlib.sha256(_TEXT).digest()
    payload = _DIGEST_INFO + digest if rsa else digest
    signature, length = ctypes.create_string_buffer(1024), ctypes.c_ulong()
    at_mechanism, at_length = ctypes.addressof(mechanism), ctypes.addressof(length)
    at_signature = ctypes.addressof(signature)

    def call() -> object:
        length.value = 1024
        assert sign_init(session, at_mechanism, key) == 0
        assert sign(session, payload, len(payload), at_signature, at_length) == 0
        return mechanism, signature  # which stay alive with the call

    return call


@contextlib.contextmanager
def _store(name: str, *commands: str) -> Iterator[Any]:
    """One of the tests' back ends, in a folder of its own; None if it cannot run here."""
    folder = str(Path(__file__).parents[1] / "tests" / "keys")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        kind = importlib.import_module(f"backends.{name}").Store
        missing = [*kind.missing(), *(each for each in commands if not shutil.which(each))]
    except ImportError as error:
        missing = [f"the Python package {error.name}"]
    if missing:
        print(f"\n{name}: not here: {', '.join(missing)}")
        yield None
        return
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as place:
        store = kind(Path(place))
        os.environ.update(store.environment())
        try:
            yield store
        finally:
            store.stop()
            os.environ.clear()
            os.environ.update(before)


def _floor(store: Any, place: Any, *, rsa: bool) -> tuple[Any, Callable[[], object]] | None:
    """A signer and the bare call for the same key; None where a signature is no call of a module.

    A key of a TSS2 file is loaded before each signature if the TPM has no resource manager, and one
    of SPIFFE is in memory.
    """
    if place.certificate.startswith("pkcs11:"):
        from rolesanywhere_auth.keys.pkcs11 import PKCS11Signer

        signer = PKCS11Signer(place.certificate, passphrase=place.passphrase)
        signer.sign(_TEXT)
        bound = signer._bound
        assert bound is not None
        # an adapter before the module passes these calls on; the floor goes to the module itself
        path = store.environment().get("ADAPTER_MODULE") or signer._store._module().path
        handles = bound.opened.session.handle, bound.key.handle.handle
        return signer, raw_signature(path, *handles, rsa=rsa)
    if str(place.private_key).startswith("tpm:0x"):
        from benchmarks.keystores_tpm import raw_signature as tpm2_sign
        from rolesanywhere_auth.keys.tpm import TPMSigner

        in_tpm = TPMSigner(place.private_key)
        in_tpm.sign(_TEXT)
        return in_tpm, tpm2_sign(in_tpm, _TEXT)
    return None


def _made(store: Any, key_type: str, authority: Any) -> Any:
    """A key in a store; it does not matter then which of two TPMs the environment names."""
    place = store.make(key_type, authority)
    if not hasattr(store, "tpm"):
        return place
    reference = f"tpm:{place.private_key.removeprefix('tpm:')};tcti={store.tpm.tcti}"
    return place._replace(private_key=reference)


def signatures(name: str, store: Any, key_type: str, place: Any, *, rounds: int) -> list[Budget]:
    """Print the time of a signature; the budget against the floor, where there is one."""
    found = _floor(store, place, rsa=key_type.startswith("rsa"))
    if found is None:
        return []
    signer, floor = found
    calls = max(3, min(300, int(60_000 / _per_call(floor, 9))))
    contenders = {
        OURS: partial(_per_call, partial(signer.sign, _TEXT), calls),
        FLOOR: partial(_per_call, floor, calls),
    }
    samples = _measured(contenders, rounds)
    print(section(f"One signature, {name}, {key_type}", samples, unit="µs", base=FLOOR))
    figures = ratios(samples, OURS, FLOOR)
    return [budget(f"signature, {name} {key_type} / the module's own", figures, 1.3)]


def _measured(contenders: Any, rounds: int) -> Any:
    gc.collect()
    gc.disable()
    try:
        return measure(contenders, rounds=rounds, warm_up=2)
    finally:
        gc.enable()


def sign_ins(arguments: dict[str, dict[str, Any]], *, rounds: int) -> None:
    """Print the time of a sign-in with what it needs open, by store and kind of key."""
    import botocore.session

    from rolesanywhere_auth.credentials import SignIn

    for key_type in KEY_TYPES:
        contenders = {}
        for name, each in arguments.items():
            if name.endswith(key_type):
                sign_in = SignIn(RolesAnywhereConfig(**each), session=botocore.session.Session())
                sign_in()
                contenders[name] = partial(_milliseconds, sign_in)
        samples = _measured(contenders, rounds)
        base = f"{FILE} {key_type}"
        print(section(f"One sign-in over HTTP, {key_type}", samples, unit="ms", base=base))


def _milliseconds(call: Callable[[], object]) -> float:
    return _per_call(call, 1) / 1e3


def key_stores(found: Stage, *, rounds: int) -> list[Budget]:
    """Print signatures and sign-ins by store; the budgets against each store's own calls."""
    budgets = []
    arguments: dict[str, dict[str, Any]] = {}
    with Emulator() as emulator, contextlib.ExitStack() as stack:
        setup = emulator.set_up()
        for key_type in KEY_TYPES:
            leaf = setup.authority.issue("file", key_type=key_type)
            files = leaf.write_to(found.folder / f"file-{key_type}")
            arguments[f"{FILE} {key_type}"] = {
                **setup.config_arguments(),
                "certificate": str(files.certificate),
                "private_key": str(files.private_key),
            }
        for name, needed in STORES.items():
            store = stack.enter_context(_store(*needed))
            for key_type in (each for each in KEY_TYPES if store and each in store.key_types):
                place = _made(store, key_type, setup.authority)
                budgets += signatures(name, store, key_type, place, rounds=rounds)
                own = {**setup.config_arguments(), **place.arguments()}
                arguments[f"{name} {key_type}"] = own
        sign_ins(arguments, rounds=max(3, rounds // 3))
    return budgets

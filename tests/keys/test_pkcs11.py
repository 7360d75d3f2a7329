"""PKCS #11, beyond `test_compliance.py`: SoftHSM, and `backends/adapter.c` before it.

What hardware does and SoftHSM does not (a PIN pad, a locked PIN, a token pulled out) is the
adapter's doing; the sessions, objects and signatures are SoftHSM's.
"""

from __future__ import annotations

import copy
import ctypes
import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from children import children_of
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from backends import stop_modules
from backends.adapter import adapter
from backends.softhsm import MODULE, PIN, SoftHSM
from rolesanywhere_auth.errors import (
    CertificateLoadError,
    ConfigurationError,
    MissingExtraError,
    PassphraseError,
    PrivateKeyLoadError,
    RolesAnywhereError,
    SigningError,
    UnsupportedKeyError,
)
from rolesanywhere_auth.identity import Identity
from rolesanywhere_auth.keys import _pkcs11_module, _pkcs11_objects, check_signature
from rolesanywhere_auth.keys.pkcs11 import PKCS11Signer, PKCS11Store, open_store
from rolesanywhere_auth.testing import CertificateAuthority

DATA = b"data"
WRONG = "914285"


class Shop:
    """A folder of tokens with all that the tests look at and leave as it is."""

    def __init__(self, folder: Path) -> None:
        self.softhsm = SoftHSM(folder)
        self.folder = folder
        self.root = CertificateAuthority()
        self.authority = self.root.intermediate()
        self.leaves: dict[str, Any] = {}

    def leaf(self, label: str, key_type: str = "ec-p256") -> Any:
        """The leaf of that name, issued at first use."""
        if label not in self.leaves:
            self.leaves[label] = self.authority.issue(label, key_type=key_type)
        return self.leaves[label]

    def der(self, label: str) -> bytes:
        found: bytes = self.leaf(label).certificate.public_bytes(Encoding.DER)
        return found

    def info(self, label: str) -> bytes:
        found: bytes = (
            self.leaf(label)
            .certificate.public_key()
            .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )
        return found

    def add(self, token: str, label: str, key_id: str, key_type: str = "ec-p256") -> None:
        """A key pair and its certificate."""
        self.softhsm.add_key(token, label, key_id, self.leaf(label, key_type).private_key_pem)
        self.softhsm.add_certificate(token, label, key_id, self.der(label))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One for all tests that change nothing in it."""
    made = Shop(tmp_path_factory.mktemp("softhsm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(made.softhsm.configuration))
        made.softhsm.new_token("prod")
        made.add("prod", "app", "01")
        made.add("prod", "rsa", "02", "rsa-2048")
        made.softhsm.add_certificate(
            "prod", "CA", "ca", made.authority.certificate.public_bytes(Encoding.DER)
        )
        yield made
    stop_modules()


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """One with an empty token, for a test that changes it."""
    made = Shop(tmp_path)
    stop_modules()
    monkeypatch.setenv("SOFTHSM2_CONF", str(made.softhsm.configuration))
    made.softhsm.new_token("prod")
    yield made
    stop_modules()


@pytest.fixture(autouse=True)
def module(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The adapter before SoftHSM, not logged in, and told nothing."""
    path = adapter("softhsm")
    monkeypatch.setenv("ADAPTER_MODULE", MODULE)
    monkeypatch.setenv("ADAPTER_LOG", str(tmp_path_factory.mktemp("log") / "log"))
    stop_modules()
    yield path
    ctypes.CDLL(None).unsetenv(b"ADAPTER_FAIL")
    os.environ.pop("ADAPTER_FAIL", None)


def reference(path: str = "token=prod;object=app", query: str = "") -> str:
    """A URI with the adapter's path."""
    return f"pkcs11:{path}?module-path={adapter('softhsm')}{query}"


def logins() -> list[str]:
    """The kinds of user, one for each C_Login: 1 is the user, 2 for one signature."""
    log = Path(os.environ["ADAPTER_LOG"])
    return log.read_text().split()[1::2] if log.exists() else []


def fail(text: str) -> None:
    """What the adapter's next calls return."""
    os.environ["ADAPTER_FAIL"] = text


def check(signer: PKCS11Signer) -> None:
    """It makes a good signature."""
    check_signature(signer.public_key(), signer.sign(DATA), DATA, source="test")


def now() -> datetime:
    """The present moment."""
    return datetime.now(timezone.utc)


# --------------------------------------------------------------------------------- references


@pytest.mark.parametrize("kind", ["public", "secret-key", "data"])
def test_a_type_that_is_no_key(kind: str) -> None:
    """An object of another kind cannot sign in; the reference says so itself."""
    with pytest.raises(ConfigurationError, match=f"type={kind} is neither"):
        open_store(f"pkcs11:token=prod;type={kind}", passphrase=None)


def test_a_command_as_pin_source() -> None:
    """RFC 7512 leaves it open; no command is run for a configuration's sake."""
    with pytest.raises(ConfigurationError, match="names a command"):
        open_store("pkcs11:token=prod?pin-source=|cat%20/etc/pin", passphrase=None)


def test_the_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra to install."""
    monkeypatch.setitem(sys.modules, "pkcs11._pkcs11", None)

    with pytest.raises(MissingExtraError, match=r"rolesanywhere-auth\[pkcs11\]") as caught:
        open_store("pkcs11:token=prod", passphrase=None)

    assert caught.value.extra == "pkcs11"


# ------------------------------------------------------------------------------------- modules


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("module-path=/no/such/module.so", "/no/such/module.so does not start"),
        ("module-path=/etc/passwd", "/etc/passwd does not start"),
        ("module-name=nosuchmodule", "no module nosuchmodule: looked for nosuchmodule.so"),
        ("module-name=../x", "without path and suffix"),
        ("module-path=/usr&module-name=softhsm2", "no module softhsm2"),
    ],
)
def test_a_module_that_is_not_there(query: str, says: str) -> None:
    """The error says which was looked for, of the kind of what was wanted from it."""
    store = open_store(f"pkcs11:token=prod?{query}", passphrase=PIN)

    with pytest.raises(CertificateLoadError, match=says):
        store.certificates()
    with pytest.raises(PrivateKeyLoadError, match=says):
        store.signer([])
    with pytest.raises(CertificateLoadError, match=says):
        store.stamp()


def test_a_module_that_does_not_start(shop: Shop) -> None:
    """The module's own answer is shown; once it starts, all is well."""
    fail("C_Initialize 30 1")
    signer = PKCS11Signer(reference(), passphrase=PIN)

    for _ in range(2):
        with pytest.raises(PrivateKeyLoadError, match=r"adapter.so does not start: DeviceError"):
            signer.public_key()
        check(PKCS11Signer(reference(), passphrase=PIN))
        stop_modules()
        fail("C_Initialize 30 1")


@pytest.mark.parametrize(
    "query",
    [
        "?module-name=softhsm2",
        "?module-name=libsofthsm2",
        f"?module-path={MODULE.rpartition('/')[0]}&module-name=softhsm2",
        f"?module-path={MODULE}",
    ],
)
def test_where_modules_are_found(shop: Shop, query: str) -> None:
    """By path, by folder and name, and by the name that p11-kit or the system has for it."""
    check(PKCS11Signer(f"pkcs11:token=prod;object=app{query}", passphrase=PIN))


def test_modules_of_other_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """p11-kit's files may name a module beside its own, or none; other folders count too."""
    (tmp_path / "a.module").write_text("# none\n")
    (tmp_path / "mine.module").write_text("module: relative.so\n")
    (tmp_path / "relative.so").touch()
    monkeypatch.setattr(_pkcs11_module, "_CONFIGURED", (str(tmp_path),))
    monkeypatch.setattr(_pkcs11_module, "_FOLDERS", (str(tmp_path),))
    find = _pkcs11_module.module_path

    assert find(open_store("pkcs11:?module-name=mine", passphrase=None).uri) == str(
        tmp_path / "relative.so"
    )
    (tmp_path / "libyours.so").touch()
    assert find(open_store("pkcs11:?module-name=yours", passphrase=None).uri) == str(
        tmp_path / "libyours.so"
    )


def test_paths_of_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also below a home, and beside the program; a home that is none is a path like any other."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "libmine.so").touch()
    find = _pkcs11_module.module_path

    def found(query: str) -> str:
        return find(open_store(f"pkcs11:?{query}", passphrase=None).uri)

    assert found("module-path=~/libmine.so") == str(tmp_path / "libmine.so")
    assert found("module-path=~&module-name=mine") == str(tmp_path / "libmine.so")
    assert found("module-path=./libmine.so") == "./libmine.so"
    with pytest.raises(PrivateKeyLoadError, match=r"~nobodys-home/a\.so does not start"):
        PKCS11Signer("pkcs11:object=app?module-path=~nobodys-home/a.so").public_key()


def test_a_configuration_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of p11-kit's that is not for this user is passed over."""
    (tmp_path / "a.module").mkdir()  # as unreadable for root, too
    monkeypatch.setattr(_pkcs11_module, "_CONFIGURED", (str(tmp_path),))

    with pytest.raises(PrivateKeyLoadError, match="there is no module mine: looked for"):
        PKCS11Signer("pkcs11:?module-name=mine").public_key()


def test_p11_kit_is_the_default(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a module, p11-kit's proxy shows the tokens of all that the system knows."""
    # tpm2-pkcs11, where it is installed, is among these; without a TPM it has much to say
    monkeypatch.setenv("TPM2_PKCS11_STORE", str(tmp_path))
    monkeypatch.setenv("TPM2_PKCS11_LOG_LEVEL", "0")
    monkeypatch.setenv("TSS2_LOG", "all+NONE")
    signer = PKCS11Signer("pkcs11:token=prod;object=app", passphrase=PIN)

    check(signer)
    assert "module" not in signer.source


def in_child(work: Callable[[], object]) -> bytes:
    """What a forked child says that does *work*: that it is done, or the error."""

    def told() -> bytes:
        work()
        return b"done"

    with children_of(told) as answers:
        return answers[0]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(("name", "times"), [("softhsm", 2), ("libtpm2_pkcs11", 3)])
def test_a_connection_that_a_child_would_share(shop: Shop, name: str, times: int) -> None:
    """tpm2-pkcs11 is ended before a fork, and so the parent logs in again; no other module is."""
    uri = f"pkcs11:token=prod;object=app?module-path={adapter(name)}"
    signer = PKCS11Signer(uri, passphrase=PIN)
    check(signer)
    assert in_child(lambda: check(signer)) == b"done"
    check(signer)

    assert logins() == ["1"] * times
    assert in_child(stop_modules) == b"done"
    stop_modules()
    assert in_child(lambda: None) == b"done"  # there is nothing to end


def test_p11_kit_may_have_such_a_connection(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """If tpm2-pkcs11 is loaded, as far as the system tells; else p11-kit is left alone."""
    shares = _pkcs11_module._shares_its_connection
    here = ctypes.CDLL(adapter("libtpm2_pkcs11"))
    assert here is not None
    assert shares(_pkcs11_module._PROXY)
    monkeypatch.setattr(Path, "read_bytes", lambda _: b"/usr/lib/libsofthsm2.so")
    assert not shares(_pkcs11_module._PROXY)

    def missing(path: Path) -> bytes:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_bytes", missing)
    assert not shares(_pkcs11_module._PROXY)


def test_something_else_uses_the_module(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that another part of the process has started is used, and goes on for both."""
    other = ctypes.CDLL(MODULE)
    assert other.C_Initialize(None) == 0
    path = adapter("shared")
    signer = PKCS11Signer(f"pkcs11:token=prod;object=app?module-path={path}", passphrase=PIN)

    check(signer)
    _pkcs11_module.module_of(path).stop()
    check(signer)

    number = ctypes.c_ulong()
    assert other.C_GetSlotList(0, None, ctypes.byref(number)) == 0
    assert number.value
    assert other.C_Finalize(None) == 0
    _pkcs11_module._modules.pop(path)


# ---------------------------------------------------------------------------------------- PINs


def test_where_the_pin_comes_from(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the reference, from a file that it names, or given beside it in any form."""
    file = tmp_path / "pin"
    file.write_text(f"{PIN}\n")
    file.chmod(0o600)
    monkeypatch.setenv("TOKEN_PIN", PIN)

    for query, passphrase in (
        (f"&pin-value={PIN}", None),
        (f"&pin-source={file}", None),
        (f"&pin-source=file:{file}", None),
        (f"&pin-source=file://{file}", "other"),
        ("&pin-source=env:TOKEN_PIN", "other"),
        ("", PIN.encode()),
        ("", lambda: PIN),
    ):
        stop_modules()
        check(PKCS11Signer(reference(query=query), passphrase=passphrase))  # type: ignore[arg-type]

    assert logins() == ["1"] * 7
    check(PKCS11Signer(reference(f"token=prod;object=app;pin-value={PIN}")))


def test_a_pin_file_for_all_to_read(
    shop: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is used, and warned of."""
    file = tmp_path / "pin"
    file.write_text(PIN)
    file.chmod(0o644)

    check(PKCS11Signer(reference(query=f"&pin-source={file}")))

    assert f"file:{file}: others than its owner may read this secret" in caplog.text


@pytest.mark.parametrize(
    ("query", "passphrase", "says"),
    [
        ("", None, "asks for a PIN, and none was given"),
        ("&pin-value=", None, "asks for a PIN, and none was given"),
        (
            "&pin-source=/no/such/file",
            None,
            ": pin-source: file:/no/such/file: No such",
        ),
        ("", b"\xff\xfe", "not UTF-8"),
    ],
)
def test_no_usable_pin(shop: Shop, query: str, passphrase: Any, says: str) -> None:
    """Nothing is tried, and the error says what to give, and names the token."""
    with pytest.raises(PassphraseError, match=says):
        PKCS11Signer(reference(query=query), passphrase=passphrase).sign(DATA)

    assert logins() == []


def test_a_wrong_pin_is_tried_once(shop: Shop) -> None:
    """Never again in this process, through whichever object; the right one works at once."""
    signer = PKCS11Signer(reference(), passphrase=WRONG)
    with pytest.raises(PassphraseError, match=r"token 'prod' \(serial .*refused the PIN"):
        signer.sign(DATA)
    for again in (signer, PKCS11Signer(reference("token=prod;id=%01"), passphrase=WRONG)):
        with pytest.raises(PassphraseError, match="refused this PIN before") as caught:
            again.sign(DATA)
        assert WRONG not in repr(caught.value)
    assert logins() == ["1"]

    check(PKCS11Signer(reference(), passphrase=PIN))
    assert logins() == ["1", "1"]


def test_a_wrong_pin_is_not_tried_through_another_module(shop: Shop) -> None:
    """p11-kit's proxy, say, shows tokens of other modules: their tries are the same ones."""
    direct = PKCS11Signer(f"pkcs11:token=prod;object=app?module-path={MODULE}", passphrase=WRONG)
    with pytest.raises(PassphraseError, match="refused the PIN"):
        direct.sign(DATA)

    with pytest.raises(PassphraseError, match="refused this PIN before"):
        PKCS11Signer(reference(), passphrase=WRONG).sign(DATA)
    assert logins() == []


@pytest.mark.parametrize(
    ("returns", "says"),
    [
        ("a4", r"PIN of the token 'prod' .* is locked"),
        ("a2", "no PIN of its has this length"),
        ("a3", "wants the PIN changed first"),
        ("102", "has no PIN for the user yet"),
        ("50", "was not given its PIN at the device"),
    ],
)
def test_what_tokens_say_of_a_pin(shop: Shop, returns: str, says: str) -> None:
    """Each answer to the login is an error that says what to do; it is asked once."""
    fail(f"C_Login {returns} 1")
    signer = PKCS11Signer(reference(), passphrase=f"{WRONG}{returns}")

    with pytest.raises(PassphraseError, match=says):
        signer.sign(DATA)
    with pytest.raises(PassphraseError, match="refused this PIN before"):
        signer.sign(DATA)
    assert logins() == ["1"]


@pytest.mark.parametrize(
    ("flag", "says"), [("40000", "is locked"), ("20000", "one try left before its PIN is locked")]
)
def test_a_pin_that_is_not_tried(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, flag: str, says: str
) -> None:
    """A locked token is not asked, and the last try before that is the owner's."""
    monkeypatch.setenv("ADAPTER_FLAGS", flag)

    with pytest.raises(PassphraseError, match=says):
        PKCS11Signer(reference(), passphrase=PIN).sign(DATA)

    assert logins() == []


@pytest.mark.parametrize(
    ("flag", "says"), [("40000", "It is locked now"), ("20000", "It has one try left")]
)
def test_what_a_wrong_pin_did(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, flag: str, says: str
) -> None:
    """The error says what the token now says of itself."""
    monkeypatch.setenv("ADAPTER_AFTER", flag)

    with pytest.raises(PassphraseError, match=says):
        PKCS11Signer(reference(), passphrase=f"{WRONG}{flag}").sign(DATA)


def test_a_token_that_goes_while_it_refuses(shop: Shop) -> None:
    """The refusal is what is told."""
    store = PKCS11Store(reference())
    opened = store.use(lambda found, _: found, failure=SigningError, login=False)
    fail("C_GetTokenInfo 32 9")

    error = opened.pin_error(pkcs11.PinIncorrect(), None, source="here")

    assert str(error).startswith("here: the token 'prod'")
    assert "try left" not in str(error)


def test_a_login_that_fails_otherwise(shop: Shop) -> None:
    """It is tried once more, with a new session, and then told as it is."""
    fail("C_Login 30 2")
    signer = PKCS11Signer(reference(), passphrase=PIN)

    with pytest.raises(SigningError, match="says DeviceError, also with a new session"):
        signer.sign(DATA)

    check(signer)


def test_a_pin_pad(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a PIN given, the device asks for it; a PIN given is used."""
    monkeypatch.setenv("ADAPTER_FLAGS", "100")
    monkeypatch.setenv("ADAPTER_PIN", PIN)
    check(PKCS11Signer(reference()))

    monkeypatch.setenv("ADAPTER_PIN", WRONG)
    stop_modules()
    check(PKCS11Signer(reference(), passphrase=PIN))
    stop_modules()
    with pytest.raises(PassphraseError, match="refused the PIN"):
        PKCS11Signer(reference()).sign(DATA)


def test_a_login_is_shared(shop: Shop) -> None:
    """Who comes second in this process is logged in, by ours or by anything else's login."""
    check(PKCS11Signer(reference(), passphrase=PIN))
    check(PKCS11Signer(reference("token=prod;object=rsa"), passphrase=PIN))
    assert logins() == ["1"]

    stop_modules()
    other = pkcs11.lib(adapter("softhsm"))
    other.get_token(token_label="prod").open(user_pin=PIN)
    check(PKCS11Signer(reference(), passphrase=PIN))


def test_no_login_needed(fresh: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that asks for no PIN is asked to sign without one."""
    key = fresh.leaf("open").private_key.private_numbers()
    fresh.softhsm.create(
        "prod", CLASS="PRIVATE_KEY", KEY_TYPE="EC", LABEL="open", ID=b"\7", TOKEN=True, SIGN=True,
        PRIVATE=False, EC_PARAMS=bytes.fromhex("06082a8648ce3d030107"),
        VALUE=key.private_value.to_bytes(32, "big"),
    )  # fmt: skip
    fresh.softhsm.add_certificate("prod", "open", "07", fresh.der("open"))
    monkeypatch.setenv("ADAPTER_HIDDEN", "4")

    identity = Identity.load(reference("object=open"), now=now())

    assert identity.signer.sign(DATA)
    assert logins() == []


def test_a_login_that_is_needed_after_all(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that says it asks for none, and shows its keys only after one."""
    monkeypatch.setenv("ADAPTER_HIDDEN", "4")

    check(PKCS11Signer(reference(), passphrase=PIN))
    stop_modules()
    with pytest.raises(PrivateKeyLoadError, match="no private key, as far as this login shows"):
        PKCS11Signer(reference()).public_key()

    assert logins() == ["1"]


# ------------------------------------------------------- keys that want a PIN for each signature


@pytest.fixture(scope="module")
def careful(shop: Shop) -> str:
    """The label of a key with CKA_ALWAYS_AUTHENTICATE."""
    shop.softhsm.tool(
        "prod", "--keypairgen", "--key-type", "EC:prime256v1", "--label", "careful", "--id", "05",
        "--always-auth",
    )  # fmt: skip
    return "token=prod;object=careful"


def test_a_pin_for_each_signature(careful: str) -> None:
    """The PIN is asked for and given each time."""
    asked = []

    def ask() -> str:
        asked.append(True)
        return PIN

    signer = PKCS11Signer(reference(careful), passphrase=ask)
    for _ in range(3):
        check(signer)

    assert logins() == ["1", "2", "2", "2"]
    assert len(asked) == 4


def test_a_pin_pad_for_each_signature(careful: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is entered at the device each time."""
    monkeypatch.setenv("ADAPTER_FLAGS", "100")
    monkeypatch.setenv("ADAPTER_PIN", PIN)

    check(PKCS11Signer(reference(careful)))

    assert logins() == ["1", "2"]


def test_a_wrong_pin_for_a_signature(careful: str) -> None:
    """It is tried once, and the session is of use to others afterwards."""
    good = PKCS11Signer(reference(careful), passphrase=PIN)
    check(good)
    signer = PKCS11Signer(reference(careful), passphrase=f"{WRONG}2")

    with pytest.raises(PassphraseError, match="refused the PIN"):
        signer.sign(DATA)
    with pytest.raises(PassphraseError, match="refused this PIN before"):
        signer.sign(DATA)

    assert logins() == ["1", "2", "2"]
    check(good)


# -------------------------------------------------------------------------------------- tokens


def test_a_token_that_is_not_there(shop: Shop) -> None:
    """The error lists those that are; PIN and all."""
    with pytest.raises(PrivateKeyLoadError, match=r"no such token. There are: token 'prod' \(s"):
        PKCS11Signer(reference("token=absent")).public_key()


def test_no_token_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said as such; empty slots are none."""
    empty = SoftHSM(tmp_path)
    monkeypatch.setenv("SOFTHSM2_CONF", str(empty.configuration))

    with pytest.raises(PrivateKeyLoadError, match=r"adapter.so shows none at all"):
        PKCS11Signer(reference("token=prod")).public_key()
    stop_modules()


def test_attributes_of_a_token(shop: Shop) -> None:
    """All that a reference may say of token, slot and library has to fit."""
    lib = pkcs11.lib(adapter("softhsm"))
    token = lib.get_token(token_label="prod")
    slot = token.slot
    said = (
        f"serial={token.serial.decode()};manufacturer=SoftHSM%20project;model=SoftHSM%20v2;"
        f"slot-id={slot.slot_id};slot-manufacturer=SoftHSM%20project;"
        f"slot-description={slot.slot_description.replace(' ', '%20')};"
        f"library-manufacturer=SoftHSM;library-version={'.'.join(map(str, lib.library_version))};"
        "library-description=Implementation%20of%20PKCS11;object=app"
    )

    check(PKCS11Signer(reference(said), passphrase=PIN))
    for name, other in (("serial", "0"), ("slot-id", "1"), ("library-version", "9.9")):
        with pytest.raises(PrivateKeyLoadError, match="no such token"):
            PKCS11Signer(reference(f"{said};{name}={other}")).public_key()


def test_several_tokens(fresh: Shop) -> None:
    """The one that shows the object is meant; if that is several, the error lists them."""
    fresh.softhsm.new_token("other")
    fresh.add("other", "theirs", "01")
    fresh.add("prod", "ours", "01")

    for label in ("ours", "theirs"):
        check(PKCS11Signer(reference(f"object={label}"), passphrase=PIN))
    with pytest.raises(PrivateKeyLoadError, match=r"several tokens: token '.*, token '.* Add tok"):
        PKCS11Signer(reference("id=%01"), passphrase=PIN).public_key()
    with pytest.raises(PrivateKeyLoadError, match="several tokens"):
        PKCS11Signer(reference("object=nobodys"), passphrase=PIN).public_key()


def test_a_replaced_token(fresh: Shop) -> None:
    """Another token of the same name is noticed; its key signs for its certificate."""
    fresh.add("prod", "app", "01")
    store = PKCS11Store(reference(), passphrase=PIN)
    signer = store.signer(())
    check(signer)
    before = store.stamp()
    assert store.stamp() == before

    fresh.softhsm.run("softhsm2-util", "--delete-token", "--token", "prod")
    with pytest.raises(RolesAnywhereError):
        store.stamp()
    with pytest.raises(SigningError, match="no such token"):
        signer.sign(DATA)
    fresh.softhsm.new_token("prod")
    fresh.leaves.clear()
    fresh.add("prod", "app", "01")

    assert store.stamp() != before
    with pytest.raises(SigningError, match="has another key of this name now"):
        signer.sign(DATA)
    check(store.signer([fresh.info("app")]))


def test_a_token_that_was_away(shop: Shop) -> None:
    """A lost session is made anew, with a login where that went with it."""
    signer = PKCS11Signer(reference(), passphrase=PIN)
    check(signer)

    for lost in ("C_Sign b3 1", "C_SignInit 32 1", "C_SignInit 90 1", "C_SignInit 82 1",
                 "C_SignInit 101 1", "C_SignInit 190 1"):  # fmt: skip
        fail(lost)
        check(signer)
        assert "ADAPTER_FAIL" not in _environment()

    fail("C_SignInit 32 2")
    with pytest.raises(SigningError, match="says DeviceRemoved, also with a new session"):
        signer.sign(DATA)
    check(signer)


def _environment() -> bytes | str:
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_char_p
    return "ADAPTER_FAIL" if libc.getenv(b"ADAPTER_FAIL") else ""


def test_a_session_that_does_not_open(shop: Shop) -> None:
    """It is tried once more after a restart of the module."""
    fail("C_OpenSession 30 1")
    check(PKCS11Signer(reference(), passphrase=PIN))

    stop_modules()
    fail("C_OpenSession 30 2")
    with pytest.raises(PrivateKeyLoadError, match="the module says DeviceError"):
        PKCS11Signer(reference(), passphrase=PIN).public_key()


def test_softhsm_while_it_writes(shop: Shop) -> None:
    """A token that is not seen for a moment is looked for again, with growing pauses."""
    pauses: list[float] = []
    path = adapter("softhsm")
    found = _pkcs11_module.Module(path, sleep=pauses.append, jitter=lambda: 0.5)
    signer = PKCS11Signer(reference(), passphrase=PIN)
    signer._store._found = found
    fail("C_GetTokenInfo e0 3")

    check(signer)
    found.stop()
    fail("C_GetSlotList 5 2")
    check(signer)

    assert pauses[:-1] == list(_pkcs11_module.RESTART_WAITS[: len(pauses) - 1]) != []
    assert pauses[-1] == _pkcs11_module.RESTART_WAITS[0]
    found.stop()


def test_stamps(fresh: Shop) -> None:
    """They differ with the certificate, the key and the token, and are equal otherwise."""
    fresh.add("prod", "app", "01")
    store = PKCS11Store(reference(), passphrase=PIN)
    other = PKCS11Store(reference(), passphrase=PIN)
    assert len(store.certificates()) == 1
    first = store.stamp()
    assert logins() == []
    store.signer(())
    second = store.stamp()
    assert other.stamp() == first

    fresh.softhsm.delete("prod", "cert", "01")
    assert store.stamp() != second
    fresh.softhsm.add_certificate("prod", "app", "01", fresh.der("app"))
    assert store.stamp() == second
    fresh.softhsm.delete("prod", "privkey", "01")
    assert store.stamp() != second
    store.watch(lambda: None)


# ------------------------------------------------------------------------------------- objects


def test_certificate_and_issuers(shop: Shop) -> None:
    """One reference is an identity: the leaf, the key, and the issuers on the token."""
    identity = Identity.load(reference(), passphrase=PIN, now=now())

    assert identity.leaf.der == shop.der("app")
    assert [each.der for each in identity.intermediates] == [
        shop.authority.certificate.public_bytes(Encoding.DER)
    ]
    assert identity.source == reference().partition("?")[0] + "?" + reference().partition("?")[2]
    assert identity.signer.sign(DATA)


def test_a_certificate_in_a_file(shop: Shop, tmp_path: Path) -> None:
    """The key alone may be on the token: by reference, or as an object."""
    file = tmp_path / "app.pem"
    file.write_text(shop.leaf("app").certificate_pem)

    for key in (reference(), PKCS11Signer(reference(), passphrase=PIN)):
        identity = Identity.load(file, private_key=key, passphrase=PIN, now=now())
        assert identity.signer.sign(DATA)


def test_no_certificate(fresh: Shop) -> None:
    """The error says what to do, and whether a PIN might show more."""
    with pytest.raises(CertificateLoadError, match=r"such certificate without a PIN\. Put"):
        PKCS11Store(reference()).certificates()
    with pytest.raises(CertificateLoadError, match=r"shows no such certificate\. Put"):
        PKCS11Store(reference(), passphrase=PIN).certificates()


def test_certificates_that_are_private(fresh: Shop) -> None:
    """They are found after login."""
    leaf = fresh.leaf("app").certificate
    fresh.softhsm.create(
        "prod", CLASS="CERTIFICATE", CERTIFICATE_TYPE="X_509", TOKEN=True, PRIVATE=True,
        LABEL="app", ID=b"", VALUE=fresh.der("app"), SUBJECT=leaf.subject.public_bytes(),
    )  # fmt: skip

    assert PKCS11Store(reference(), passphrase=PIN).certificates() == [fresh.der("app")]


def test_found_from_each_other(fresh: Shop) -> None:
    """A certificate's key and a key's certificate: by CKA_ID, by label, by public key."""
    softhsm, pem = fresh.softhsm, fresh.leaf("app").private_key_pem
    softhsm.add_key("prod", "key", "01", pem)
    softhsm.create(
        "prod", CLASS="CERTIFICATE", CERTIFICATE_TYPE="X_509", TOKEN=True, LABEL="damaged",
        ID=b"\x77", VALUE=b"no certificate", SUBJECT=b"0\0",
    )  # fmt: skip
    for label, key_id, wanted in (
        ("cert", "01", ("object=cert", "object=key")),
        ("key", "02", ("id=%02", "id=%01")),
        ("cert", "03", ("object=cert", "object=key", "id=%03")),
    ):
        softhsm.add_certificate("prod", label, key_id, fresh.der("app"))
        stop_modules()
        for path in wanted:
            identity = Identity.load(reference(path), passphrase=PIN, now=now())
            assert identity.leaf.der == fresh.der("app")
            assert identity.signer.sign(DATA)
        softhsm.delete("prod", "cert", key_id)


def test_which_of_several_keys(fresh: Shop) -> None:
    """Told apart by the certificate; else the error lists them."""
    fresh.add("prod", "one", "01")
    fresh.add("prod", "two", "02", "rsa-2048")
    store = PKCS11Store(reference("token=prod"), passphrase=PIN)

    with pytest.raises(
        PrivateKeyLoadError,
        match=r"several private keys of the token 'prod' \(serial .*\): "
        r"(EC 'one' \(id 01\), RSA 'two' \(id 02\)|RSA 't.*01\))\. Add",
    ):
        store.signer(())
    for label in ("one", "two"):
        check(store.signer([fresh.info(label), b"no public key"]))
    with pytest.raises(PrivateKeyLoadError, match="several private keys"):
        store.signer([fresh.info("one"), fresh.info("two")])
    missing = r"object=three.* the token 'prod' \(serial .*\) has no such private key\. There are: "
    with pytest.raises(PrivateKeyLoadError, match=missing):
        PKCS11Store(reference("object=three"), passphrase=PIN).signer(())


def test_copies_of_a_key(fresh: Shop) -> None:
    """Two objects with one key are not ambiguous."""
    for key_id in ("01", "02"):
        fresh.softhsm.add_key("prod", "app", key_id, fresh.leaf("app").private_key_pem)

    check(PKCS11Signer(reference("token=prod"), passphrase=PIN))


def test_a_public_half_that_the_token_does_not_tell(fresh: Shop) -> None:
    """Then it is the certificate's; of several certificates, the one that a signature fits."""
    fresh.softhsm.add_key("prod", "app", "01", fresh.leaf("app").private_key_pem)
    fresh.softhsm.delete("prod", "pubkey", "01")
    store = PKCS11Store(reference(), passphrase=PIN)
    fresh.leaf("other"), fresh.leaf("rsa", "rsa-2048")

    check(store.signer([fresh.info("app")]))
    check(store.signer([fresh.info("rsa"), fresh.info("other"), fresh.info("app")]))
    with pytest.raises(PrivateKeyLoadError, match=r"none of the 2 certificates given is of it"):
        store.signer([fresh.info("rsa"), fresh.info("other")])
    with pytest.raises(PrivateKeyLoadError, match="none of the 0 certificates"):
        store.signer(())


def test_a_public_half_by_label_or_certificate(fresh: Shop) -> None:
    """Without CKA_ID by the label; and by the certificate of the same CKA_ID."""
    numbers = fresh.leaf("app").private_key.private_numbers()
    point = (
        fresh.leaf("app")
        .certificate.public_key()
        .public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    )
    common: dict[str, Any] = {
        "KEY_TYPE": "EC", "LABEL": "app", "TOKEN": True,
        "EC_PARAMS": bytes.fromhex("06082a8648ce3d030107"),
    }  # fmt: skip
    value = numbers.private_value.to_bytes(32, "big")
    fresh.softhsm.create("prod", CLASS="PRIVATE_KEY", SIGN=True, VALUE=value, **common)
    fresh.softhsm.create("prod", CLASS="PUBLIC_KEY", EC_POINT=b"\x04\x41" + point, **common)
    check(PKCS11Signer(reference(), passphrase=PIN))

    fresh.softhsm.add_key("prod", "certified", "09", fresh.leaf("app").private_key_pem)
    fresh.softhsm.delete("prod", "pubkey", "09")
    fresh.softhsm.add_certificate("prod", "certified", "09", fresh.der("app"))
    fresh.softhsm.create(
        "prod", CLASS="PUBLIC_KEY", KEY_TYPE="RSA", LABEL="foreign", ID=b"\x09", TOKEN=True,
        MODULUS=b"\xff" * 256, PUBLIC_EXPONENT=b"\3",
    )  # fmt: skip
    check(PKCS11Signer(reference("object=certified"), passphrase=PIN))

    fresh.softhsm.create(
        "prod", CLASS="PRIVATE_KEY", SIGN=True, VALUE=value, **{**common, "LABEL": ""}
    )
    fresh.softhsm.delete("prod", "cert", "09")
    fresh.softhsm.create(
        "prod", CLASS="CERTIFICATE", CERTIFICATE_TYPE="X_509", TOKEN=True, LABEL="damaged",
        ID=b"\x09", VALUE=b"no certificate", SUBJECT=b"0\0",
    )  # fmt: skip
    for path in ("object=", "object=certified"):
        with pytest.raises(PrivateKeyLoadError, match="does not tell this key's public half"):
            PKCS11Signer(reference(path), passphrase=PIN).public_key()


def test_keys_that_cannot_sign_in(fresh: Shop) -> None:
    """One of a kind the service has no algorithm for, and one that may not sign."""
    fresh.softhsm.tool(
        "prod", "--keypairgen", "--key-type", "EC:edwards25519", "--label", "ed", "--id", "01"
    )
    with pytest.raises(UnsupportedKeyError, match="PKCS #11 type 0x40"):
        PKCS11Signer(reference("object=ed"), passphrase=PIN).public_key()

    key = fresh.leaf("app").private_key.private_numbers()
    fresh.softhsm.create(
        "prod", CLASS="PRIVATE_KEY", KEY_TYPE="EC", LABEL="mute", TOKEN=True, SIGN=False,
        EC_PARAMS=bytes.fromhex("06082a8648ce3d030107"), ID=b"\7",
        VALUE=key.private_value.to_bytes(32, "big"),
    )  # fmt: skip
    with pytest.raises(SigningError, match="may not sign"):
        PKCS11Signer(reference("object=mute"), passphrase=PIN).sign(DATA)


def test_attributes_in_all_their_forms() -> None:
    """Points with and without their wrapping, and what is missing or of no use."""
    names = pkcs11.Attribute
    curve = bytes.fromhex("06082a8648ce3d030107")
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    read = _pkcs11_objects._public_key

    for written in (b"\x04\x41" + point, point):
        item = {names.EC_PARAMS: curve, names.EC_POINT: written}
        assert read(item, _pkcs11_objects.EC, private=False) == key
    for item in (
        {names.EC_PARAMS: curve, names.EC_POINT: b"\x04\x41nonsense"},
        {names.EC_PARAMS: b"\x06\x05\x2b\x81\x04\x00\x0a", names.EC_POINT: point},
        {names.EC_PARAMS: None, names.EC_POINT: point},
    ):
        assert read(item, _pkcs11_objects.EC, private=False) is None
    assert read({names.MODULUS: b"", names.PUBLIC_EXPONENT: b"\3"}, 0, private=True) is None
    assert read({}, 0x40, private=False) is None
    assert read({}, _pkcs11_objects.ML_DSA, private=True) is None


def test_public_keys_of_ml_dsa() -> None:
    """CKA_VALUE of the public key object, where cryptography has ML-DSA; else the token's is
    not told.
    """
    names, kind = pkcs11.Attribute, _pkcs11_objects.ML_DSA
    item = {names.PARAMETER_SET: 2, names.VALUE: b"short"}
    assert _pkcs11_objects._public_key(item, kind, private=False) is None
    try:
        from cryptography.hazmat.primitives.asymmetric import mldsa

        key = mldsa.MLDSA65PrivateKey.generate().public_key()
    except Exception:  # noqa: BLE001 - how it says so differs by release
        return
    item = {names.PARAMETER_SET: 2, names.VALUE: key.public_bytes_raw()}

    assert _pkcs11_objects._public_key(item, kind, private=False) == key


# ------------------------------------------------------------------------------------- signing


def test_a_module_without_the_usual_mechanism(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the token may make the digest, it does; where nothing goes, that is said."""
    monkeypatch.setenv("ADAPTER_MECHANISM", "1")
    signer = PKCS11Signer(reference("token=prod;object=rsa"), passphrase=PIN)
    assert isinstance(signer.public_key(), rsa.RSAPublicKey)
    check(signer)
    check(signer)

    monkeypatch.setenv("ADAPTER_MECHANISM", "1041")  # and SoftHSM has no CKM_ECDSA_SHA256
    with pytest.raises(SigningError, match="says MechanismInvalid"):
        PKCS11Signer(reference(), passphrase=PIN).sign(DATA)


def test_somebody_logged_out(shop: Shop) -> None:
    """A logout by another part of the process is made good by a login."""
    signer = PKCS11Signer(reference(), passphrase=PIN)
    check(signer)
    token = pkcs11.lib(adapter("softhsm")).get_token(token_label="prod")

    for _ in range(2):
        session = token.open()
        assert ctypes.CDLL(MODULE).C_Logout(ctypes.c_ulong(session.handle)) == 0
        fail("C_SignInit 101 1")  # what SoftHSM says is that there is no such key
        check(signer)

    assert logins() == ["1"] * 3


def test_modules_that_read_once(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tpm2-pkcs11 is restarted when its database was changed: else it would not see that."""
    path = tmp_path / "libtpm2_pkcs11.so"
    path.write_bytes(Path(MODULE).read_bytes())
    database = tmp_path / "store" / "tpm2_pkcs11.sqlite3"
    database.parent.mkdir()
    monkeypatch.setenv("TPM2_PKCS11_STORE", str(database.parent))
    store = PKCS11Store(f"pkcs11:token=prod;object=app?module-path={path}", passphrase=PIN)

    def opened() -> object:
        store.stamp()
        return store.use(lambda found, _: found, failure=SigningError, login=False)

    first = opened()
    assert opened() is first
    database.touch()
    second = opened()
    assert opened() is second is not first
    stop_modules()


def test_two_threads_that_lost_the_session(shop: Shop) -> None:
    """Only the first one restarts the module."""
    store = PKCS11Store(reference(), passphrase=PIN)
    lost = store.use(lambda found, _: found, failure=SigningError, login=True)
    store._renew(lost, pkcs11.SessionHandleInvalid())
    anew = store.use(lambda found, _: found, failure=SigningError, login=True)
    store._renew(lost, pkcs11.SessionHandleInvalid())

    assert store.use(lambda found, _: found, failure=SigningError, login=True) is anew is not lost


def test_another_token_in_the_slot(shop: Shop) -> None:
    """It is not taken for the one that was there."""
    store = PKCS11Store(reference(), passphrase=PIN)
    opened = store.use(lambda found, _: found, failure=SigningError, login=False)
    opened.identity = opened.identity._replace(serial="another")

    with pytest.raises(CertificateLoadError, match="is not there any more"):
        store.stamp()


def test_any_bytes(shop: Shop) -> None:
    """What is like bytes is signed, and does not upset the session."""
    signer = PKCS11Signer(reference(), passphrase=PIN)

    for data in (bytearray(DATA), memoryview(DATA)):
        signature = signer.sign(data)  # type: ignore[arg-type]
        check_signature(signer.public_key(), signature, DATA, source="test")


def test_nothing_shows_the_pin(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a repr nor a log record nor the name of the store."""
    caplog.set_level(logging.DEBUG)
    store = PKCS11Store(reference(query=f"&pin-value={PIN}"))
    signer = store.signer(())
    fail("C_Sign b3 1")
    check(signer)

    shown = [repr(store), repr(signer), store.source, signer.source, str(store.uri), caplog.text]
    assert "opening it anew" in caplog.text
    assert not any(PIN in each for each in shown)


def test_neither_pickled_nor_copied(shop: Shop) -> None:
    """A signer belongs to its process."""
    signer = PKCS11Signer(reference())

    for copying in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="belongs to its process"):
            copying(signer)


def test_no_session_is_left_behind(shop: Shop) -> None:
    """Many stores and signatures share one session."""
    lib = pkcs11.lib(adapter("softhsm"))
    first = lib.get_token(token_label="prod").open()
    for _ in range(50):
        signer = PKCS11Signer(reference(), passphrase=PIN)
        signer.sign(DATA)
        signer._store.stamp()
    last = lib.get_token(token_label="prod").open()

    assert last.handle - first.handle < 20  # of both sessions and objects

"""``setup``, ``teardown``, ``revoke`` and ``certificate`` on the command line."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509

from rolesanywhere_auth import RolesAnywhereConfig, cli, create_session
from rolesanywhere_auth.cli import _administration
from rolesanywhere_auth.provisioning import usage
from rolesanywhere_auth.testing import CertificateAuthority

SET_UP = ["setup", "app", "--development-ca", "pki"]
REVOKE = ["revoke", "--development-ca", "pki"]


@pytest.fixture
def command(account, tmp_path, monkeypatch, capsys):
    """Runs a command with the administrator's keys in an empty folder; status, stdout, stderr."""
    credentials = account.iam._request_signer._credentials
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", credentials.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", credentials.secret_key)
    monkeypatch.chdir(tmp_path)
    url = account.emulator.aws_endpoint_url
    where = ["--region", "eu-west-1", "--endpoint", account.emulator.endpoint_url]
    where += ["--iam-endpoint", url, "--sts-endpoint", url]

    def run(*arguments, stdin=None, own_clients=False):
        if not own_clients:  # which take long to make
            monkeypatch.setattr(_administration, "admin_of", lambda _: account.admin)
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", stdin)
        status = cli.main([*arguments, *([] if arguments[0] == "certificate" else where)])
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, out=out, err=err)

    return run


def terminal(answer):
    """A terminal on which this is typed."""
    master, slave = os.openpty()
    os.write(master, answer.encode())
    return os.fdopen(slave, "r"), master


def test_from_nothing_to_a_session_and_back(command, account, caplog):
    """Set up, sign in by what is printed, revoke, verify, tear down: the account is as before.

    Even at DEBUG no line of a key is logged or printed.
    """
    caplog.set_level("DEBUG")
    before = account.snapshot()
    done = command(*SET_UP, "--yes", own_clients=True)

    assert done.status == 0, done.err
    assert "+ trust anchor app" in done.err
    found = dict(re.findall(r"^export ROLESANYWHERE_(\w+)=(.*)$", done.out, re.MULTILINE))
    config = RolesAnywhereConfig(
        **{name.lower(): shlex.split(value)[0] for name, value in found.items()}, proxies={}
    )
    assert create_session(config).expiration
    assert sorted(path.name for path in Path("pki").iterdir()) == [
        "app.key",
        "app.pem",
        "ca.key",
        "ca.pem",
    ]

    again = command(*SET_UP)
    assert again.status == 0
    assert again.err.endswith("Nothing to do.\n")
    assert again.out == done.out

    proof = ["--certificate", "pki/app.pem", "--private-key", "pki/app.key", "--setup", "app"]
    done = command(*REVOKE, *proof, "--reason", "keyCompromise", "--yes")
    assert done.status == 0, done.err
    assert done.out == f"Verified: Certificate revoked, says {config.trust_anchor_arn}\n"

    gone = command("teardown", "app", "--yes")
    assert (gone.status, gone.out) == (0, "")
    assert account.snapshot() == before
    told = caplog.text + again.out + again.err + done.out + done.err + gone.err
    for key in Path("pki").glob("*.key"):
        for line in key.read_text().splitlines()[1:-1]:
            assert line not in told
    assert "ImportCrl" in caplog.text


def test_dry_run_changes_nothing(command, account):
    """The plan goes to standard output; neither the account nor the disk is touched."""
    before = account.snapshot()
    for arguments in (SET_UP, ["teardown", "app"]):
        done = command(*arguments, "--dry-run")
        assert done.status == 0
        assert "account 111122223333, eu-west-1" in done.out
        assert done.err == ""

    assert account.snapshot() == before
    assert list(Path().iterdir()) == []


def test_without_a_terminal_yes_is_needed(command, account):
    """Nobody can be asked: nothing happens."""
    before = account.snapshot()
    with open(os.devnull) as nothing:  # noqa: PTH123 - a standard input
        done = command(*SET_UP, stdin=nothing)

    assert done.status == 1
    assert "standard input is no terminal" in done.err
    assert "--yes to go ahead, or --dry-run" in done.err
    assert account.snapshot() == before
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_asks_on_a_terminal(command, account, answer, status):
    """Only a yes goes ahead."""
    stdin, master = terminal(answer)
    with stdin:
        done = command(*SET_UP, stdin=stdin)
    os.close(master)

    assert done.status == status
    assert "Go ahead? [y/N] " in done.err
    assert ("nothing was changed, as you said" in done.err) is bool(status)
    assert Path("pki").exists() is not status
    assert bool(account.rolesanywhere.list_trust_anchors()["trustAnchors"]) is not status


def test_every_flag_of_setup(command, account, cas):
    """What the flags say is what AWS gets, and what is printed."""
    Path("policy.json").write_text(
        '{"Version": "2012-10-17", "Statement": '
        '[{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
    )
    done = command(
        *["setup", "team", "--ca-bundle", str(cas[0] / "ca.pem"), "--role-name", "worker"],
        *["--require", "x509Subject/CN=a", "--require", "x509Subject/CN=b=c"],
        *["--require", "x509SAN/DNS=*.example", "--policy-arn", account.policies[0]],
        *["--session-policy", "policy.json", "--session-policy-arn", account.policies[1]],
        *["--session-duration", "7200", "--accept-role-session-name", "--yes"],
        *["--certificate", "policy.json", "--private-key", "store:?x=1", "--show", "profile"],
    )

    assert done.status == 0, done.err
    (profile,) = account.rolesanywhere.list_profiles()["profiles"]
    role = account.iam.get_role(RoleName="worker")["Role"]
    assert profile["name"] == "team"
    assert profile["acceptRoleSessionName"] is True
    assert profile["managedPolicyArns"] == [account.policies[1]]
    assert json.loads(profile["sessionPolicy"])["Statement"][0]["Action"] == "s3:*"
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    tests = statement["Condition"]
    assert tests["StringEquals"]["aws:PrincipalTag/x509Subject/CN"] == ["a", "b=c"]
    assert tests["StringLike"] == {"aws:PrincipalTag/x509SAN/DNS": "*.example"}
    assert done.out == (
        "[profile team]\nregion = eu-west-1\nrolesanywhere =\n"
        f"    trust_anchor_arn = {statement['Condition']['ArnEquals']['aws:SourceArn']}\n"
        f"    profile_arn = {profile['profileArn']}\n"
        f"    role_arn = {role['Arn']}\n"
        f"    certificate = {Path('policy.json').absolute()}\n"
        "    private_key = store:?x=1\n"
        "    session_duration = 7200\n"
        f"    endpoint_url = {account.emulator.endpoint_url}\n"
    )


def test_settings_are_read_back(command, account, cas, monkeypatch):
    """Each printed form leads to the same configuration, by botocore's and Python's reading."""
    role = account.emulator.create_role("own")
    arguments = ["setup", "app", "--ca-bundle", str(cas[0] / "ca.pem"), "--role-arn", role]
    shown = {
        form: command(*arguments, "--yes", "--show", form).out
        for form in ("profile", "environment", "python")
    }
    Path("config").write_text(shown["profile"])
    monkeypatch.setenv("AWS_CONFIG_FILE", "config")
    configs = [RolesAnywhereConfig.from_profile("app")]
    configs.append(eval(shown["python"], {"RolesAnywhereConfig": RolesAnywhereConfig}))
    code = "import os; print({k: v for k, v in os.environ.items() if 'ROLESANYWHERE_' in k})"
    exported = subprocess.run(
        ["sh", "-c", f'{shown["environment"]} exec "{sys.executable}" -c "{code}"'],
        capture_output=True,
        text=True,
        check=True,
        env={},
    ).stdout
    for name, value in eval(exported).items():
        monkeypatch.setenv(name, value)
    configs.append(RolesAnywhereConfig.from_environment())

    assert configs[0] == configs[1] == configs[2]
    assert configs[0].role_arn == role
    assert configs[0].private_key == "/path/to/private.key"


def test_python_form_of_odd_paths():
    """Quotes and backslashes in a path survive."""
    arns = dict.fromkeys(("trust_anchor_arn", "profile_arn", "role_arn"), "arn")
    found = usage.settings(arns, certificate='C:\\a"b', private_key="k", session_duration=900)

    read = eval(usage.as_python(found), {"RolesAnywhereConfig": dict})
    assert read == found


def test_kept_leaf_is_checked(command, account):
    """A leaf of another CA, or one that expired, is not taken for ours."""
    assert command(*SET_UP, "--yes").status == 0
    other = CertificateAuthority()
    Path("pki/app.pem").write_text(other.issue("app").certificate_pem)
    done = command(*SET_UP, "--yes")
    assert (done.status, "is of another CA than" in done.err) == (1, True)
    ca = CertificateAuthority.load(Path("pki/ca.pem").read_bytes(), Path("pki/ca.key").read_bytes())
    old = ca.issue("app", not_valid_after=account.now)
    Path("pki/app.pem").write_text(old.certificate_pem)
    done = command(*SET_UP, "--yes")
    assert (done.status, "app.pem expired at" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*SET_UP, "--require", "CN"], "--require CN: write ATTRIBUTE=VALUE"),
        (["setup", "a b", "--development-ca", "pki"], "the name 'a b' must be"),
        (["setup", "app", "--ca-bundle", "none.pem"], "none.pem"),
        ([*SET_UP, "--session-policy", "none.json"], "none.json"),
        (["teardown", "a b"], "the name 'a b'"),
        (["revoke", "5"], "give --development-ca, or --ca-certificate and --ca-key"),
        (["revoke", "5", "--ca-key", "x"], "give --development-ca, or --ca-certificate"),
        ([*REVOKE, "5", "--ca-key", "x"], "give --development-ca, or --ca-certificate"),
        ([*REVOKE, "5"], "pki/ca.pem"),
        (["certificate", "pki", "../x"], "cannot be a file's name"),
    ],
)
def test_what_cannot_be_done_is_one_line(command, arguments, message):
    """The status is 1, after one line on standard error."""
    done = command(*arguments, *([] if arguments[0] == "certificate" else ["--yes"]))

    assert done.status == 1
    assert done.out == ""
    assert message in done.err.splitlines()[-1]


def test_certificates_of_a_development_ca(command):
    """`certificate` makes CA and leaf, prints the paths, and overwrites nothing."""
    done = command(
        *["certificate", "pki", "worker", "--dns-name", "w.example", "--uri", "s://w"],
        *["--organization", "Org", "--organizational-unit", "A", "--days", "1.5"],
        *["--key-type", "ec-p384", "--file-name", "w"],
    )

    assert done.out == "pki/w.pem\npki/w.key\n"
    certificate = x509.load_pem_x509_certificate(Path("pki/w.pem").read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=worker,OU=A,O=Org"
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert life.total_seconds() == 1.5 * 86400 + 300
    assert command("certificate", "pki", "x", "--file-name", "w").status == 1


@pytest.mark.parametrize("days", ["0", "-1", "x", "1e99", "nan"])
def test_days_are_a_number_above_0(command, days, capsys):
    """Anything else is a wrong argument."""
    with pytest.raises(SystemExit) as caught:
        command("certificate", "pki", "x", "--days", days)
    assert caught.value.code == 2
    assert "is no number of days" in capsys.readouterr().err


def test_revoke_by_serial_number(command, account):
    """Serial numbers in any form, an encrypted CA key, a named trust anchor; not verified."""
    ca = CertificateAuthority("Own")
    anchor = account.emulator.create_trust_anchor(ca)
    account.emulator.create_trust_anchor(ca)
    Path("ca.pem").write_text(ca.certificate_pem)
    Path("plain.key").write_text(ca.private_key_pem)
    encrypt = "openssl pkcs8 -topk8 -in plain.key -out ca.key -passout pass:secret"
    subprocess.run(shlex.split(encrypt), check=True)
    Path("secret").write_text("secret\n")
    files = ["--ca-certificate", "ca.pem", "--ca-key", "ca.key"]
    files += ["--passphrase-from", f"file:{Path('secret').absolute()}"]
    done = command(
        *["revoke", "serial=10", "0a:0b", "16", *files, "--trust-anchor-arn", anchor],
        *["--next-update", "7", "--yes"],
    )

    assert done.status == 0, done.err
    assert done.out == "Not verified: that takes one --certificate with its --private-key.\n"
    (crl,) = account.rolesanywhere.list_crls()["crls"]
    assert crl["trustAnchorArn"] == anchor
    found = x509.load_pem_x509_crl(crl["crlData"])
    assert [entry.serial_number for entry in found] == [16, 0x0A0B]
    assert (found.next_update_utc - found.last_update_utc).days == 7
    dry = command("revoke", "17", *files, "--dry-run")
    assert "+ serial number 17 (0x11), unspecified" in dry.out


def test_revoke_needs_something_of_this_ca(command, account):
    """Nothing to revoke, and a certificate of another CA, are errors before any call."""
    assert command(*SET_UP, "--yes").status == 0
    Path("other.pem").write_text(CertificateAuthority("Other").issue("x").certificate_pem)
    with account.operations() as names:
        done = command(*REVOKE, "--yes")
        assert (done.status, "nothing to revoke" in done.err) == (1, True)
        done = command(*REVOKE, "--certificate", "other.pem", "--yes")
    assert done.status == 1
    assert "was not issued by CN=Development CA, but by CN=Other" in done.err
    assert names == []


def test_verification_needs_profile_and_role(command, account):
    """Without a set-up they are given; without either it is said that nothing was verified."""
    assert command(*SET_UP, "--yes", "--show", "python").status == 0
    proof = [*REVOKE, "--certificate", "pki/app.pem", "--private-key", "pki/app.key", "--yes"]
    done = command(*proof)
    assert done.out == "Not verified: that takes --setup, or --profile-arn and --role-arn.\n"
    (profile,) = account.rolesanywhere.list_profiles()["profiles"]
    arns = ["--profile-arn", profile["profileArn"], "--role-arn", profile["roleArns"][0]]
    assert command(*proof, *arns).out.startswith("Verified: Certificate revoked, says arn:")
    done = command(*proof, "--setup", "none")
    assert done.status == 1
    assert "is revoked, but not verified: the set-up none made no profile" in done.err


def test_administrator_is_a_profile(command, account, monkeypatch):
    """--as names a profile of the AWS config; one that is not there is an error."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(Path("config").absolute()))
    Path("config").write_text(
        "[profile admin]\n"
        f"aws_access_key_id = {os.environ['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {os.environ['AWS_SECRET_ACCESS_KEY']}\n"
    )
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    done = command("teardown", "app", "--as", "admin", own_clients=True)
    assert (done.status, done.err.splitlines()[-1]) == (0, "Nothing to do.")
    done = command("teardown", "app", "--as", "nobody", own_clients=True)
    assert (done.status, "nobody" in done.err) == (1, True)


def test_verification_at_the_ca_above(command, account):
    """The CA's own certificate is sent too, for trust anchors that hold the one above it."""
    root = CertificateAuthority("Root")
    below = root.intermediate("Below")
    leaf, setup = below.issue("app"), account.emulator.set_up(authority=root)
    for name, pem in (
        ("ca.pem", below.certificate_pem),
        ("ca.key", below.private_key_pem),
        ("app.pem", leaf.certificate_pem),
        ("app.key", leaf.private_key_pem),
    ):
        Path(name).write_text(pem)
    done = command(
        *["revoke", "--ca-certificate", "ca.pem", "--ca-key", "ca.key", "--yes"],
        *["--certificate", "app.pem", "--private-key", "app.key"],
        *["--profile-arn", setup.profile_arn, "--role-arn", setup.role_arn],
    )

    assert done.status == 0, done.err
    assert done.out == f"Verified: Certificate revoked, says {setup.trust_anchor_arn}\n"


def test_list_that_changed_while_the_question_stood(command, account, monkeypatch):
    """Two people revoke at once: the later one's list does not undo the other's."""
    assert command(*SET_UP, "--yes").status == 0
    stdin, master = terminal("y\n")
    shown = _administration._ask

    def ask(*arguments):
        monkeypatch.setattr(_administration, "_ask", shown)
        assert command(*REVOKE, "5", "--yes").status == 0
        monkeypatch.setattr(sys, "stdin", stdin)
        shown(*arguments)

    monkeypatch.setattr(_administration, "_ask", ask)
    with stdin:
        done = command(*REVOKE, "6")
    os.close(master)

    assert done.status == 1
    assert "somebody else changed what the plan is about" in done.err
    (crl,) = account.rolesanywhere.list_crls()["crls"]
    assert [each.serial_number for each in x509.load_pem_x509_crl(crl["crlData"])] == [5]
    assert command(*REVOKE, "6", "--yes").status == 0
    (crl,) = account.rolesanywhere.list_crls()["crls"]
    assert len(x509.load_pem_x509_crl(crl["crlData"])) == 2

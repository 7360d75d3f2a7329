from __future__ import annotations

import json
import subprocess
import sys

import pytest
from cryptography import x509

from rolesanywhere_auth.errors import ConfigurationError, MissingExtraError
from rolesanywhere_auth.testing import CertificateAuthority, Emulator
from rolesanywhere_auth.testing.authority import Leaf
from rolesanywhere_auth.testing.seed import check_seed, plant, read_seed

YAML = """\
trust_anchors:
  - name: lab
    generate: {common_name: Lab CA, certificate: ca.pem, private_key: ca.key}
    tags: {team: blue}
  - name: corp
    certificate: [corp.pem, corp-next.pem]
    enabled: false
roles:
  - name: app
    trust_anchor: lab
    max_session_duration: 7200
  - name: reader
    trust_policy: trust.json
profiles:
  - name: app
    roles: [app, reader, "arn:aws:iam::111122223333:role/elsewhere"]
    duration_seconds: 7200
    accept_role_session_name: true
    session_policy:
      Version: "2012-10-17"
      Statement: [{Effect: Allow, Action: "s3:*", Resource: "*"}]
    managed_policy_arns: ["arn:aws:iam::aws:policy/ReadOnlyAccess"]
    attribute_mappings: {x509Subject: [CN], x509SAN: []}
leaves:
  - name: app
    trust_anchor: lab
    folder: leaves/app
    organization: Example
    organizational_units: [A, B]
    dns_names: [app.example]
    uris: ["spiffe://example/app"]
  - name: old
    trust_anchor: lab
    folder: leaves/old
    common_name: old-app
    flaw: expired
crls:
  - name: lost
    trust_anchor: lab
    revoke: [old]
  - name: corp
    trust_anchor: corp
    file: corp.crl
    enabled: false
"""


@pytest.fixture
def folder(tmp_path):
    """The seed and the files that it names."""
    corp = CertificateAuthority("Corp")
    (tmp_path / "corp.pem").write_text(corp.certificate_pem)
    (tmp_path / "corp-next.pem").write_text(CertificateAuthority("Next").certificate_pem)
    (tmp_path / "corp.crl").write_bytes(corp.crl_der())
    (tmp_path / "trust.json").write_text('{"Version": "2012-10-17", "Statement": []}')
    (tmp_path / "twice.json").write_text('{"Statement": {"Effect": "Deny", "Effect": "Allow"}}')
    (tmp_path / "seed.yaml").write_text(YAML)
    return tmp_path


def leaf_of(files) -> Leaf:
    """The leaf that a seed wrote, with its key."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    key = load_pem_private_key(files.private_key.read_bytes(), password=None)
    return Leaf(certificate, key, ())


class Asking:
    """The names that `create_session` wants, of what a seed made."""

    def __init__(self, emulator, planted) -> None:
        self.endpoint_url = emulator.endpoint_url
        self.trust_anchor_arn = planted.trust_anchors["lab"]
        self.profile_arn = planted.profiles["app"]
        self.role_arn = planted.roles["app"]
        self.leaf = leaf_of(planted.leaves["app"])


def test_seed_becomes_what_it_says(emulator, folder, create_session):
    """Every member of the description is found in the service, and a sign-in works."""
    planted = plant(emulator, read_seed(folder / "seed.yaml"))
    client = emulator.control_plane()

    anchors = {item["name"]: item for item in client.list_trust_anchors()["trustAnchors"]}
    assert {name: item["enabled"] for name, item in anchors.items()} == {"lab": True, "corp": False}
    assert anchors["corp"]["source"]["sourceData"]["x509CertificateData"].count("BEGIN") == 2
    assert planted.trust_anchors == {n: item["trustAnchorArn"] for n, item in anchors.items()}
    tags = client.list_tags_for_resource(resourceArn=planted.trust_anchors["lab"])["tags"]
    assert tags == [{"key": "team", "value": "blue"}]
    [profile] = client.list_profiles()["profiles"]
    assert profile["enabled"]
    assert profile["acceptRoleSessionName"]
    assert profile["durationSeconds"] == 7200
    assert profile["roleArns"] == [
        planted.roles["app"],
        planted.roles["reader"],
        "arn:aws:iam::111122223333:role/elsewhere",
    ]
    [statement] = json.loads(profile["sessionPolicy"])["Statement"]
    assert statement == {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    assert profile["managedPolicyArns"] == ["arn:aws:iam::aws:policy/ReadOnlyAccess"]
    assert {
        mapping["certificateField"]: [rule["specifier"] for rule in mapping["mappingRules"]]
        for mapping in profile["attributeMappings"]
    } == {"x509Issuer": ["*"], "x509Subject": ["CN"]}
    crls = {item["name"]: item["enabled"] for item in client.list_crls()["crls"]}
    assert crls == {"lost": True, "corp": False}
    assert emulator.service.directory.role(planted.roles["app"]).max_session_duration == 7200

    answer = create_session(Asking(emulator, planted))
    assert answer.session["sourceIdentity"] == "CN=app"
    assert emulator.sessions[0].tags == {"x509Subject/CN": "app", "x509Issuer/CN": "Lab CA"}


def test_leaves_and_keys_are_files(emulator, folder):
    """Leaves are as described; private keys are the owner's alone; openssl agrees with the CA."""
    planted = plant(emulator, read_seed(folder / "seed.yaml"))

    subject = leaf_of(planted.leaves["app"]).certificate.subject.rfc4514_string()
    assert subject == "CN=app,OU=B,OU=A,O=Example"
    assert leaf_of(planted.leaves["old"]).certificate.subject.rfc4514_string() == "CN=old-app"
    for key in (folder / "ca.key", planted.leaves["app"].private_key):
        assert key.stat().st_mode & 0o777 == 0o600
    done = subprocess.run(
        ["openssl", "verify", "-attime", "1777900000", "-CAfile", folder / "ca.pem",
         planted.leaves["app"].certificate],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_seed_again_changes_nothing(emulator, folder):
    """Applied to what it made, a seed keeps ARNs, CA and leaves."""
    first = plant(emulator, read_seed(folder / "seed.yaml"))
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert plant(emulator, read_seed(folder / "seed.yaml")) == first
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files


def test_changed_seed_changes_what_is_there(emulator, folder):
    """Names stay, the rest follows the seed: certificates, switches, roles, the CRL's anchor."""
    first = plant(emulator, read_seed(folder / "seed.yaml"))
    text = YAML.replace("corp-next.pem", "corp.pem").replace("enabled: false", "enabled: true")
    text = text.replace("[app, reader, ", "[").replace("x509SAN: []", "x509SAN: [DNS]")
    text = text.replace("revoke: [old]", "revoke: [app]").replace(
        "[corp.pem, corp.pem]", "corp.pem"
    )
    text = text.replace("    trust_anchor: corp\n", "    trust_anchor: lab\n")
    (folder / "seed.yaml").write_text(text)

    second = plant(emulator, read_seed(folder / "seed.yaml"))

    client = emulator.control_plane()
    assert second.trust_anchors == first.trust_anchors
    assert second.profiles == first.profiles
    assert second.crls["lost"] == first.crls["lost"]
    assert second.crls["corp"] != first.crls["corp"]
    corp = client.get_trust_anchor(trustAnchorId=first.trust_anchors["corp"].rpartition("/")[2])
    assert corp["trustAnchor"]["enabled"]
    assert corp["trustAnchor"]["source"]["sourceData"]["x509CertificateData"].count("BEGIN") == 1
    [profile] = client.list_profiles()["profiles"]
    assert profile["roleArns"] == ["arn:aws:iam::111122223333:role/elsewhere"]
    assert len(client.list_crls()["crls"]) == 2


def test_lost_ca_is_made_anew_with_its_leaves(emulator, folder, create_session):
    """Without its key a CA cannot issue: a new one takes the name, and leaves follow."""
    first = plant(emulator, read_seed(folder / "seed.yaml"))
    before = first.leaves["app"].certificate.read_bytes()
    (folder / "ca.key").unlink()

    second = plant(emulator, read_seed(folder / "seed.yaml"))

    assert second.trust_anchors == first.trust_anchors
    assert second.leaves["app"].certificate.read_bytes() != before
    assert create_session(Asking(emulator, second)).status == 201


def test_ca_need_not_be_written(emulator, tmp_path):
    """generate: true keeps the CA in memory; leaves are written all the same."""
    seed = {
        "trust_anchors": [{"name": "lab", "generate": True}],
        "leaves": [{"name": "app", "trust_anchor": "lab", "folder": "app"}],
    }

    plant(emulator, check_seed(seed, folder=tmp_path))

    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["client.key", "client.pem"]


def test_roles_of_moto(tmp_path):
    """With moto behind, roles and their permissions go to its IAM."""
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}],
    }
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    seed = check_seed({"roles": [{"name": "app", "policy": "policy.json"}]}, folder=tmp_path)

    with Emulator(aws=True, tls_port=None) as emulator:
        planted = plant(emulator, seed)
        found = emulator.client("iam").get_role_policy(RoleName="app", PolicyName="emulator")

    assert planted.roles == {"app": "arn:aws:iam::111122223333:role/app"}
    assert found["PolicyDocument"] == policy


def test_empty_seed_is_a_seed(emulator, tmp_path):
    """An empty file, and an object of nothing."""
    (tmp_path / "seed.yml").write_text("")
    (tmp_path / "seed.json").write_text("{}")

    for name in ("seed.yml", "seed.json"):
        assert plant(emulator, read_seed(tmp_path / name)).trust_anchors == {}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([], "must be an object of trust_anchors"),
        ({"trustanchors": []}, "has no member trustanchors; there are trust_anchors"),
        ({"roles": {}}, "roles must be a list"),
        ({"roles": ["app"]}, r"roles\[0\] must be an object"),
        ({"roles": [{}]}, r"roles\[0\] needs name"),
        ({"leaves": [{"name": "a"}]}, r"leaves\[0\] needs trust_anchor and folder"),
        ({"roles": [{"name": "a", "durations": 1}]}, r"roles\[0\] has no member durations"),
        ({"roles": [{"name": 1}]}, r"roles\[0\].name must be text, not 1"),
        ({"roles": [{"name": "a", "max_session_duration": True}]}, "must be a number, not True"),
        ({"roles": [{"name": "a", "policy": 1}]}, "must be an object or text"),
        (
            {"profiles": [{"name": "a", "roles": [1]}]},
            r"profiles\[0\].roles must be a list of texts",
        ),
        ({"roles": [{"name": "a"}, {"name": "a"}]}, r"roles\[1\]: the name 'a' is used twice"),
        ({"trust_anchors": [{"name": "a"}]}, "needs certificate or generate, and not both"),
        (
            {"trust_anchors": [{"name": "a", "certificate": "x", "generate": True}]},
            "needs certificate or generate, and not both",
        ),
        (
            {"trust_anchors": [{"name": "a", "generate": {"key": "x"}}]},
            r"trust_anchors\[0\].generate has no member key",
        ),
        ({"crls": [{"name": "a", "trust_anchor": "b"}]}, "needs file or revoke"),
    ],
)
def test_malformed_seed_is_refused_with_its_place(content, text, tmp_path):
    """The error says where in the description, and what is allowed there."""
    with pytest.raises(ConfigurationError, match=text):
        check_seed(content, folder=tmp_path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            {"roles": [{"name": "a", "trust_anchor": "lab"}]},
            "no trust anchor 'lab' in this seed; it has none",
        ),
        ({"profiles": [{"name": "a", "roles": ["app"]}]}, "lists the role 'app'"),
        (
            {
                "trust_anchors": [{"name": "corp", "certificate": "corp.pem"}],
                "leaves": [{"name": "a", "trust_anchor": "corp", "folder": "a"}],
            },
            "the leaf 'a' needs the CA's key",
        ),
        (
            {
                "trust_anchors": [{"name": "lab", "generate": True}],
                "crls": [{"name": "a", "trust_anchor": "lab", "revoke": ["app"]}],
            },
            "revokes 'app', which is no leaf of this seed",
        ),
        (
            {
                "trust_anchors": [{"name": "lab", "generate": True}],
                "leaves": [
                    {
                        "name": "a",
                        "trust_anchor": "lab",
                        "folder": "a",
                        "flaw": "sha1",
                        "uris": ["u"],
                    }
                ],
            },
            "such a leaf takes no uris",
        ),
        ({"roles": [{"name": "a", "trust_policy": "corp.pem"}]}, "corp.pem is no JSON"),
        ({"roles": [{"name": "a", "policy": "twice.json"}]}, "'Effect' stands more than once"),
    ],
)
def test_seed_that_does_not_fit_together(content, text, emulator, folder):
    """A name without its thing, and a file of another kind, are named."""
    with pytest.raises(ConfigurationError, match=text):
        plant(emulator, check_seed(content, folder=folder))


def test_refusals_of_the_service_are_its_own(emulator, folder):
    """What the control plane refuses is refused in its words."""
    seed = {"trust_anchors": [{"name": "lab", "certificate": "trust.json"}]}

    with pytest.raises(ValueError, match="The emulator refused POST /trustanchors"):
        plant(emulator, check_seed(seed, folder=folder))


def test_foreign_key_beside_a_ca_is_noticed(emulator, folder):
    """A CA certificate with another CA's key would issue what nobody trusts."""
    plant(emulator, read_seed(folder / "seed.yaml"))
    (folder / "ca.key").write_text(CertificateAuthority().private_key_pem)

    with pytest.raises(ValueError, match="not that of the CA certificate 'CN=Lab CA'"):
        plant(emulator, read_seed(folder / "seed.yaml"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [("seed.json", "{", "is no JSON"), ("seed.yaml", "a: [", "is no YAML")],
)
def test_unreadable_seed(name, text, message, tmp_path):
    """The error names the file and what the parser said."""
    (tmp_path / name).write_text(text)

    with pytest.raises(ConfigurationError, match=message):
        read_seed(tmp_path / name)


def test_yaml_without_pyyaml_names_the_extra(monkeypatch, tmp_path):
    """JSON needs nothing; YAML says what to install."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "seed.yaml").write_text("")
    (tmp_path / "seed.json").write_text("{}")

    assert read_seed(tmp_path / "seed.json").roles == []
    with pytest.raises(MissingExtraError, match=r"rolesanywhere-auth\[yaml\]") as caught:
        read_seed(tmp_path / "seed.yaml")
    assert caught.value.extra == "yaml"

"""The AWS SDK for JavaScript against the control plane; `scripts/test-extended` installs it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from rolesanywhere_auth.testing import CertificateAuthority

pytestmark = pytest.mark.extended

DRIVER = Path(__file__).parent / "javascript" / "driver.js"
ROLE = "arn:aws:iam::111122223333:role/app"


class JavaScript:
    """One Node process with the SDK in it."""

    def __init__(self, endpoint_url: str) -> None:
        node = shutil.which("node")
        if node is None or not os.environ.get("NODE_PATH"):
            pytest.fail("This needs node, and NODE_PATH with the SDK: run scripts/test-extended.")
        self.used: set[str] = set()
        self.process = subprocess.Popen(
            [node, str(DRIVER), endpoint_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE": "1"},
            text=True,
        )

    def ask(self, **question):
        """One line there and one back."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"node ended with {self.process.wait(10)}"
        return json.loads(line)

    def send(self, command, **members):
        """The output of a command that works."""
        self.used.add(f"{command}Command")
        answer = self.ask(command=f"{command}Command", input=members)
        assert "output" in answer, answer
        return answer["output"]

    def refused(self, command, **members):
        """Name, status and message of the error of a command."""
        error = self.ask(command=f"{command}Command", input=members)["error"]
        return error["name"], error["status"], error["message"]

    def close(self):
        """End the process."""
        self.process.communicate(timeout=30)


@pytest.fixture
def javascript(emulator):
    """The SDK at an empty emulator."""
    process = JavaScript(emulator.endpoint_url)
    yield process
    process.close()


def source(authority):
    """The source of a trust anchor."""
    data = {"x509CertificateData": authority.certificate_pem}
    return {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": data}


def test_every_command_of_the_sdk_works(emulator, javascript, create_session, now):
    """Each command that the SDK has is understood, and its answer by the SDK."""
    authority = CertificateAuthority(now=lambda: now)
    send = javascript.send
    made = send("CreateTrustAnchor", name="a", source=source(authority))["trustAnchor"]
    anchor = {"trustAnchorId": made["trustAnchorId"]}
    arn = made["trustAnchorArn"]

    assert made["enabled"] is False
    assert made["createdAt"] == "2026-05-04T12:00:00.000Z"
    assert send("EnableTrustAnchor", **anchor)["trustAnchor"]["enabled"] is True
    assert send("DisableTrustAnchor", **anchor)["trustAnchor"]["enabled"] is False
    assert send("UpdateTrustAnchor", **anchor, name="b")["trustAnchor"]["name"] == "b"
    got = send("GetTrustAnchor", **anchor)["trustAnchor"]
    assert got["source"] == source(authority)
    assert [item["name"] for item in send("ListTrustAnchors")["trustAnchors"]] == ["b"]

    send("TagResource", resourceArn=arn, tags=[{"key": "team", "value": "blue"}])
    assert send("ListTagsForResource", resourceArn=arn)["tags"] == [
        {"key": "team", "value": "blue"}
    ]
    send("UntagResource", resourceArn=arn, tagKeys=["team"])
    assert send("ListTagsForResource", resourceArn=arn)["tags"] == []

    data = {"$bytes": base64.b64encode(authority.crl_pem().encode()).decode()}
    crl = send("ImportCrl", name="c", crlData=data, trustAnchorArn=arn)["crl"]
    crl_id = {"crlId": crl["crlId"]}
    assert crl["crlData"] == data
    assert send("EnableCrl", **crl_id)["crl"]["enabled"] is True
    assert send("DisableCrl", **crl_id)["crl"]["enabled"] is False
    assert send("UpdateCrl", **crl_id, name="d")["crl"]["name"] == "d"
    assert send("GetCrl", **crl_id)["crl"]["crlData"] == data
    assert [item["name"] for item in send("ListCrls")["crls"]] == ["d"]
    assert send("DeleteCrl", **crl_id)["crl"]["name"] == "d"

    profile = send("CreateProfile", name="p", roleArns=[ROLE], durationSeconds=900)["profile"]
    profile_id = {"profileId": profile["profileId"]}
    assert (profile["enabled"], profile["durationSeconds"]) == (False, 900)
    assert send("EnableProfile", **profile_id)["profile"]["enabled"] is True
    assert send("DisableProfile", **profile_id)["profile"]["enabled"] is False
    assert send("UpdateProfile", **profile_id, name="q")["profile"]["name"] == "q"
    assert send("GetProfile", **profile_id)["profile"]["roleArns"] == [ROLE]
    assert [item["name"] for item in send("ListProfiles")["profiles"]] == ["q"]
    send("DeleteProfile", **profile_id)
    send("DeleteTrustAnchor", **anchor)

    setup = emulator.set_up()
    assert create_session(setup).status == 201
    (summary,) = send("ListSubjects")["subjects"]
    subject = send("GetSubject", subjectId=summary["subjectId"])["subject"]
    assert subject["credentials"][0]["serialNumber"] == str(setup.leaf.serial_number)

    # A newer SDK has more commands, which then belong above.
    assert javascript.used == set(javascript.ask()["output"])


def test_the_sdk_knows_the_errors(javascript):
    """Refusals arrive as the SDK's exceptions, by name, with status and text."""
    unknown = "0" * 8 + "-0000-0000-0000-" + "0" * 12

    name, status, message = javascript.refused("GetProfile", profileId=unknown)
    assert (name, status) == ("ResourceNotFoundException", 404)
    assert unknown in message
    assert javascript.refused("CreateProfile", name="", roleArns=[]) == (
        "ValidationException",
        400,
        (
            "1 validation error detected: Value '' at 'name' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1"
        ),
    )
    foreign = "arn:aws:iam::999999999999:role/x"
    assert javascript.refused("CreateProfile", name="p", roleArns=[foreign]) == (
        "AccessDeniedException",
        403,
        "Cross-account pass role is not allowed",
    )
    made = javascript.send("CreateProfile", name="p", roleArns=[])["profile"]
    tags = [{"key": f"k{number}", "value": ""} for number in range(200)]
    javascript.send("TagResource", resourceArn=made["profileArn"], tags=tags)
    tags[0]["key"] = "one-more"
    refused = javascript.refused("TagResource", resourceArn=made["profileArn"], tags=tags[:1])
    assert refused[:2] == ("TooManyTagsException", 400)


def test_the_sdks_paginator_finds_everything(javascript):
    """The SDK's own paginator walks through all pages."""
    made = [
        javascript.send("CreateProfile", name=f"p{number}", roleArns=[])["profile"]["profileId"]
        for number in range(5)
    ]

    pages = javascript.ask(pages="paginateListProfiles", input={"pageSize": 2})["output"]

    assert [len(page["profiles"]) for page in pages] == [2, 2, 1]
    assert [item["profileId"] for page in pages for item in page["profiles"]] == made

"""`trust` and `revocation` against OpenSSL and pyHanko's validator, over generated chains.

The extended test makes ``TRUST_CHAINS`` of them, 5000 by default; ``TRUST_SEED=2`` makes others.
"""

from __future__ import annotations

import logging
import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("OpenSSL")
pytest.importorskip("pyhanko_certvalidator")

from chain_variations import FAULTS, ODDITIES, generated
from chains import Chain, has_ml_dsa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)
from trust_disagreements import OLD_ROWS, ROWS, Row
from trust_peers import ACCEPTED, PEERS, openssl, ours, pyhanko

ALONE = 1 + len(ODDITIES) + len(FAULTS)
COUNT = int(os.environ.get("TRUST_CHAINS", "5000"))
SEED = int(os.environ.get("TRUST_SEED", "1"))


@pytest.fixture(scope="module")
def chains() -> list[Chain]:
    """A sample; the first `ALONE` chains have one variation each."""
    return list(generated(ALONE + 200, seed=1))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    # pyHanko logs each failure with its traceback.
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def compare(chains: Iterable[Chain]) -> set[Row]:
    """Compare all verdicts, and return the rows that explained a disagreement."""
    unexplained, used, figures = [], set(), Counter[str]()
    for chain in chains:
        verdict = ours(chain)
        figures["accepted" if verdict == ACCEPTED else "refused"] += 1
        for peer, judge in PEERS.items():
            theirs = judge(chain)
            agree = (verdict == ACCEPTED) == (theirs == ACCEPTED)
            figures[f"{peer} {'agrees' if agree else 'differs'}"] += 1
            if agree:
                continue
            rows = [row for row in (*ROWS, *OLD_ROWS) if row.explains(peer, verdict, theirs, chain)]
            used.update(rows[:1])
            if not rows:
                unexplained.append(f"{chain}\n  {peer}: {theirs}\n  ours: {verdict}")
    print(dict(sorted(figures.items())))  # noqa: T201 - `pytest -rP` shows it
    assert not unexplained, "\n".join(unexplained)
    return used


@pytest.mark.conformance(
    "CreateSession", source="RFC 5280, 6.1 + choice", check="path to the trust anchor"
)
def test_every_disagreement_with_a_peer_is_explained(chains: list[Chain]) -> None:
    """We accept and refuse what OpenSSL and pyHanko accept and refuse, but for reasons in a
    table.
    """
    assert compare(chains)


@pytest.mark.extended
def test_thousands_of_chains_need_every_explanation_and_no_other() -> None:
    """The same over 5000 chains, in which each row of the table is needed at least once.

    Some rows are about rare mixtures, so only the usual run asks for all of them.
    """
    used = compare(generated(COUNT, seed=SEED))
    if (COUNT, SEED) == (5000, 1) and has_ml_dsa():
        assert [row for row in ROWS if row not in used] == []


def test_nothing_odd_is_refused(chains: list[Chain]) -> None:
    """All agree on a chain without a fault but where a row says otherwise: no chain of oddities
    that both peers accept is refused here, except for AWS's rules.
    """
    for chain in chains:
        if not FAULTS.keys().isdisjoint(chain.variations):
            continue
        if openssl(chain) == pyhanko(chain) == ACCEPTED:
            assert ours(chain) == ACCEPTED or "at most 2" in ours(chain), chain


@pytest.fixture(scope="module")
def command_version() -> tuple[int, ...]:
    """The version of the ``openssl`` command."""
    done = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True)
    return tuple(int(part) for part in done.stdout.split()[1].split(".")[:2])


def test_the_openssl_command_says_the_same_of_each_variation(
    chains: list[Chain], tmp_path: Path, command_version: tuple[int, ...]
) -> None:
    """``openssl verify``, another version of it, told that any certificate policy will do."""
    unexplained, judged = [], 0
    for chain in chains[:ALONE]:
        certificates = [chain.leaf, *chain.sent, *chain.anchors]
        ml_dsa = any(
            c.public_key_algorithm_oid.dotted_string.startswith("2.16") for c in certificates
        )
        if ml_dsa and command_version < (3, 5):
            continue
        judged += 1
        verdict, theirs = ours(chain), command(chain, tmp_path)
        if (verdict == ACCEPTED) != (theirs == ACCEPTED) and not any(
            r.explains("openssl", verdict, theirs, chain) for r in ROWS
        ):
            unexplained.append(f"{chain}\n  openssl: {theirs}\n  ours: {verdict}")
    assert judged > 0.8 * ALONE
    assert not unexplained, "\n".join(unexplained)


def is_ml_dsa(certificate: x509.Certificate) -> bool:
    """Whether the certificate has such a key."""
    return certificate.public_key_algorithm_oid.dotted_string.startswith("2.16.840.1.101.3.4.3.")


def command(chain: Chain, folder: Path) -> str:
    """The verdict of ``openssl verify``: `ACCEPTED`, or its reason."""
    parts = {
        "leaf": [chain.leaf],
        "CAfile": chain.anchors,
        "untrusted": chain.sent,
        "CRLfile": chain.crls,
    }
    arguments = ["openssl", "verify", "-partial_chain", "-no-CApath", "-no-CAstore"]
    arguments += [
        "-attime",
        str(int(chain.at.timestamp())),
        "-policy_check",
        "-policy",
        "anyPolicy",
    ]
    for name, items in parts.items():
        (folder / name).write_bytes(b"".join(item.public_bytes(Encoding.PEM) for item in items))
        if items and name != "leaf":
            arguments += [f"-{name}", str(folder / name)]
    if chain.crls:
        arguments += ["-crl_check", "-crl_check_all"]
    done = subprocess.run(
        [*arguments, folder / "leaf"], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return ACCEPTED
    return done.stderr.partition("lookup: ")[2].partition("\n")[0] or done.stderr


def test_the_verifier_of_cryptography_does_not_suffice(chains: list[Chain]) -> None:
    """Why `trust` has code of its own: the verifier of `cryptography`, with every extension let
    pass, refuses chains that OpenSSL, pyHanko and this package accept, and lets others pass.
    """
    accepted, refused, passed = 0, set(), set()
    for chain in chains[:ALONE]:
        if chain.crls:  # it has no revocation
            continue
        suffices, (variation,) = verified(chain), chain.variations or ("",)
        if ours(chain) == openssl(chain) == pyhanko(chain) == ACCEPTED:
            accepted += 1
            refused |= set() if suffices else {variation}
        elif suffices and ACCEPTED not in {ours(chain), pyhanko(chain)}:
            passed.add(variation)
    assert accepted > 20
    assert refused >= {"issuer_in_other_case", "policies", "rsa_1024"}
    assert passed >= {"authority_key_mismatch", "explicit_policy_missing"}


def verified(chain: Chain) -> bool:
    """Whether `cryptography`'s own verifier accepts the chain."""
    end = ExtensionPolicy.permit_all()
    basic = end.require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    builder = PolicyBuilder().store(Store(chain.anchors)).time(chain.at).max_chain_depth(8)
    builder = builder.extension_policies(ca_policy=basic, ee_policy=end)
    try:
        builder.build_client_verifier().verify(chain.leaf, chain.sent)
    except VerificationError:
        return False
    return True

"""What may be odd, and what may be wrong, about a chain: each function changes a `Draft`.

`ODDITIES` leave a chain valid by RFC 5280, `FAULTS` do not, or ask for an opinion.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from random import Random

from chains import DAY, NOW, UNKNOWN, Chain, CRLPlan, Draft, Plan, draft, key_id, name
from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

Variation = Callable[[Draft], None]
ODDITIES: dict[str, Variation] = {}
FAULTS: dict[str, Variation] = {}
_ORDER: list[str] = []
_POLICY = ObjectIdentifier("1.3.6.1.4.1.55555.2")
DNS, URI, MAIL = x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name
MAIL_OID = NameOID.EMAIL_ADDRESS


def odd(function: Variation) -> Variation:
    """Register an oddity."""
    ODDITIES[function.__name__] = function
    _ORDER.append(function.__name__)
    return function


def wrong(function: Variation) -> Variation:
    """Register a fault."""
    FAULTS[function.__name__] = function
    _ORDER.append(function.__name__)
    return function


def generated(count: int, *, seed: int) -> Iterator[Chain]:
    """Chains: each variation alone at first, then mixtures."""
    alone = [[], *([item] for item in ODDITIES), *([item] for item in FAULTS)]
    for number in range(count):
        random = Random(f"{seed}/{number}")
        if number < len(alone):
            chosen = alone[number]
        else:
            chosen = random.sample(sorted(ODDITIES), random.choice((0, 1, 1, 2, 3)))
            chosen += random.sample(sorted(FAULTS), random.choice((0, 1, 1, 1, 2)))
            # As in this file: what changes the path goes before the lists of its CAs.
            chosen.sort(key=_ORDER.index)
        made = draft(random)
        for item in chosen:
            (ODDITIES.get(item) or FAULTS[item])(made)
        yield made.build(chosen)


def some_ca(d: Draft) -> Plan:
    """One of the anchor and the intermediates."""
    return d.random.choice(d.issuers)


def intermediate(d: Draft) -> Plan:
    """An intermediate; one is added where there is none."""
    if not d.cas:
        d.cas.append(d.plan("CN=CA 0,O=Example,C=DE", d.anchors[0]))
        d.leaf.issuer = d.cas[0]
    return d.random.choice(d.cas)


def two_intermediates(d: Draft) -> Plan:
    """The upper one of two neighbouring intermediates."""
    while len(d.cas) < 2:
        above = d.issuers[-1]
        d.cas.append(d.plan(f"CN=CA {len(d.cas)} more,O=Example,C=DE", above))
        d.leaf.issuer = d.cas[-1]
    return d.cas[d.random.randrange(len(d.cas) - 1)]


def child(d: Draft, issuer: Plan) -> Plan:
    """The certificate of the path that *issuer* issued."""
    return d.everyone[d.everyone.index(issuer) + 1]


def add_names(plan: Plan, *names: x509.GeneralName) -> None:
    """Add to the subject alternative names of *plan*."""
    for place, (extension, critical) in enumerate(plan.extensions):
        if isinstance(extension, x509.SubjectAlternativeName):
            plan.extensions[place] = (x509.SubjectAlternativeName([*extension, *names]), critical)
            return
    plan.extensions.append((x509.SubjectAlternativeName(names), False))


def add_extension(
    plan: Plan | CRLPlan, extension: x509.ExtensionType, *, critical: bool, entry: bool = False
) -> None:
    """Add an extension, unless one of its kind is there; *entry*: to the entries of a CRL."""
    extensions = plan.entry_extensions if entry else plan.extensions
    if all(present.oid != extension.oid for present, _ in extensions):
        extensions.append((extension, critical))


# Oddities of the order and the number of what is sent


@odd
def unrelated_intermediate(d: Draft) -> None:
    d.extras.append(d.plan("CN=Stranger,O=Elsewhere", None))


@odd
def unrelated_namesake(d: Draft) -> None:
    elsewhere = d.plan("CN=Elsewhere", None)
    d.extras.append(d.plan(d.leaf.issuer.subject, elsewhere))


@odd
def duplicate(d: Draft) -> None:
    d.extras.append(intermediate(d))


@odd
def leaf_sent_again(d: Draft) -> None:
    d.extras.append(d.leaf)


@odd
def anchor_sent(d: Draft) -> None:
    d.extras.append(d.anchors[0])


@odd
def wrong_order(d: Draft) -> None:
    d.order = "downwards"


@odd
def shuffled(d: Draft) -> None:
    d.order = "shuffled"


@odd
def two_anchors(d: Draft) -> None:
    d.anchors.append(d.plan("CN=Second,O=Example", None))


@odd
def rotated_anchor(d: Draft) -> None:
    d.anchors.append(d.plan(d.anchors[0].subject, None))


@odd
def intermediate_as_anchor(d: Draft) -> None:
    intermediate(d)
    d.anchors[0] = d.cas.pop(0)


@odd
def cross_signed(d: Draft) -> None:
    """A CA has a second certificate, by a root that is not trusted here."""
    ca = intermediate(d)
    other = d.plan("CN=Other Root", None)
    d.extras.append(d.plan(ca.subject, other, key=ca.key))


@odd
def reached_by_cross_certificate(d: Draft) -> None:
    """Only the cross-certificate of the old root leads to the anchor."""
    new = d.plan("CN=New Root", None)
    old = d.anchors[0]
    d.extras.append(d.plan(old.subject, new, key=old.key))
    d.anchors[0] = new


@odd
def loop_beside(d: Draft) -> None:
    """Two CAs that certify each other, the lower one with the name and key of the leaf's issuer."""
    ca = intermediate(d)
    first = d.plan("CN=Loop", ca)
    d.extras += [first, d.plan(ca.subject, first, key=ca.key)]


@odd
def self_issued_rollover(d: Draft) -> None:
    """A CA's new key is certified by its old one; pathLen does not count that."""
    old = intermediate(d)
    new = d.plan(old.subject, old)
    below = child(d, old)
    d.cas.insert(d.cas.index(old) + 1, new)
    below.issuer = new
    if below is d.leaf:
        old.path_length = 0


@odd
def four_intermediates(d: Draft) -> None:
    while len(d.cas) < 4:
        d.cas.append(d.plan(f"CN=CA {len(d.cas)} deep,O=Example", d.issuers[-1]))
    d.leaf.issuer = d.cas[-1]


# Oddities of contents


@odd
def path_lengths(d: Draft) -> None:
    for place, ca in enumerate(d.issuers):
        ca.path_length = len(d.cas) - place


@odd
def unknown_extension(d: Draft) -> None:
    add_extension(d.random.choice(d.everyone), UNKNOWN, critical=False)


@odd
def policies(d: Draft) -> None:
    extension = x509.CertificatePolicies([x509.PolicyInformation(_POLICY, None)])
    for plan in d.everyone:
        add_extension(plan, extension, critical=d.random.random() < 0.5)


@odd
def inhibit_any_policy(d: Draft) -> None:
    add_extension(intermediate(d), x509.InhibitAnyPolicy(0), critical=True)


@odd
def explicit_policy_satisfied(d: Draft) -> None:
    ca = intermediate(d)
    policies(d)
    add_extension(ca, x509.PolicyConstraints(0, None), critical=True)


@odd
def ca_without_key_usage(d: Draft) -> None:
    intermediate(d).usage = None


@odd
def ca_may_only_sign_certificates(d: Draft) -> None:
    some_ca(d).usage = frozenset({"key_cert_sign"})


@odd
def ca_for_servers(d: Draft) -> None:
    usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH])
    add_extension(intermediate(d), usage, critical=d.random.random() < 0.5)


@odd
def leaf_for_servers(d: Draft) -> None:
    usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH])
    add_extension(d.leaf, usage, critical=d.random.random() < 0.5)


@odd
def distribution_point(d: Draft) -> None:
    point = x509.DistributionPoint([URI("http://crl.example/ca.crl")], None, None, None)
    critical = d.random.random() < 0.3
    add_extension(d.leaf, x509.CRLDistributionPoints([point]), critical=critical)


@odd
def issuer_in_other_case(d: Draft) -> None:
    plan = d.random.choice(d.everyone[1:])
    plan.issuer_name = x509.Name(
        [
            x509.NameAttribute(a.oid, f" {a.value.upper().replace(' ', '  ')}")
            if a.oid != NameOID.COUNTRY_NAME
            else a
            for a in plan.issuer.subject
        ]
    )


@odd
def issuer_in_other_string_type(d: Draft) -> None:
    plan = d.random.choice(d.everyone[1:])
    kinds = x509.name._ASN1Type
    plain = plan.issuer.subject.rfc4514_string().isascii()
    kind = kinds.PrintableString if plain else kinds.BMPString
    plan.issuer_name = x509.Name(
        [x509.NameAttribute(a.oid, a.value, kind) for a in plan.issuer.subject]
    )


@odd
def umlaut_in_other_case(d: Draft) -> None:
    ca = intermediate(d)
    ca.subject = name("CN=Prüfstelle,O=Example")
    child(d, ca).issuer_name = name("CN=PRÜFSTELLE,O=Example")


@odd
def no_key_identifiers(d: Draft) -> None:
    for plan in [*d.everyone, *d.extras]:
        plan.key_ids = False


@odd
def authority_serial_number(d: Draft) -> None:
    plan = d.random.choice(d.everyone[1:])
    issuer = plan.issuer
    above = x509.DirectoryName((issuer.issuer or issuer).subject)
    plan.authority_key_id = x509.AuthorityKeyIdentifier(None, [above], issuer.serial)


@odd
def leaf_without_basic_constraints(d: Draft) -> None:
    d.leaf.ca = None


@odd
def sha_512(d: Draft) -> None:
    d.random.choice(d.everyone).hash_name = d.random.choice(("sha384", "sha512", "sha3_256"))


@odd
def pss(d: Draft) -> None:
    ca = intermediate(d)
    ca.key, child(d, ca).pss = "rsa2048-0", True


@odd
def rsa_1024(d: Draft) -> None:
    d.random.choice(d.everyone).key = "rsa1024-0"


@odd
def multi_valued_rdn(d: Draft) -> None:
    parts = [(NameOID.COMMON_NAME, "CA"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "One")]
    attributes = [x509.NameAttribute(oid, value) for oid, value in parts]
    ca = intermediate(d)
    ca.subject = x509.Name([x509.RelativeDistinguishedName(attributes)])
    turned = x509.Name([x509.RelativeDistinguishedName(attributes[::-1])])
    child(d, ca).issuer_name = turned


@odd
def critical_alternative_name(d: Draft) -> None:
    add_extension(d.leaf, x509.SubjectAlternativeName([DNS("app.example.org")]), critical=True)


# Name constraints: the same table makes good and bad ones

_NAMES: list[tuple[x509.GeneralName, x509.GeneralName, x509.GeneralName]] = [
    # a name, a base that holds it, a base that does not
    (DNS("a.example.com"), DNS("example.com"), DNS("ample.com")),
    (DNS("a.Example.com"), DNS("a.eXample.com"), DNS("b.example.com")),
    (DNS("*.example.com"), DNS("example.com"), DNS("x.example.com")),
    (DNS("a.example.com"), DNS(""), DNS("a.example.com.x")),
    (DNS("a.example.com"), DNS(".example.com"), DNS(".a.example.com")),
    (MAIL("a@example.com"), MAIL("Example.com"), MAIL(".example.com")),
    (MAIL("a@b.example.com"), MAIL(".example.com"), MAIL("example.com")),
    (MAIL("a@example.com"), MAIL("a@Example.com"), MAIL("A@example.com")),
    (URI("https://example.com/x"), URI("example.com"), URI(".example.com")),
    (URI("spiffe://a.Example.com/x"), URI(".example.com"), URI("b.example.com")),
    (URI("https://u@example.com:8443/x"), URI("example.com"), URI("ample.com")),
]
for _address, _inside, _outside in (
    ("10.1.2.3", "10.0.0.0/8", "11.0.0.0/8"),
    ("10.1.2.3", "10.1.2.3/32", "10.1.2.4/32"),
    ("10.1.2.3", "0.0.0.0/0", "::/0"),
    ("2001:db8::1", "2001:db8::/32", "2001:db9::/32"),
):
    _NAMES.append(
        (
            x509.IPAddress(ipaddress.ip_address(_address)),
            x509.IPAddress(ipaddress.ip_network(_inside)),
            x509.IPAddress(ipaddress.ip_network(_outside)),
        )
    )


def constrain(
    ca: Plan, permitted: list[x509.GeneralName] | None, excluded: list[x509.GeneralName] | None
) -> None:
    """Put name constraints into *ca*."""
    add_extension(ca, x509.NameConstraints(permitted, excluded), critical=True)


@odd
def names_permitted(d: Draft) -> None:
    given, inside, outside = d.random.choice(_NAMES)
    add_names(d.leaf, given)
    bases = [inside, outside] if d.random.random() < 0.5 else [inside]
    if isinstance(given, DNS):
        bases += [DNS("example.org"), DNS("example.com")]
    constrain(some_ca(d), bases, None)


@odd
def names_not_excluded(d: Draft) -> None:
    given, _, outside = d.random.choice(_NAMES)
    add_names(d.leaf, given)
    constrain(some_ca(d), None, [outside])


@odd
def other_names_constrained(d: Draft) -> None:
    d.leaf.extensions = []
    constrain(some_ca(d), [URI("nowhere.example"), MAIL("nowhere.example")], None)


@odd
def directory_permitted(d: Draft) -> None:
    base = d.random.choice(("O=Example,C=DE", "C=DE", "O=EXAMPLE,C=DE"))
    constrain(d.issuers[-1], [x509.DirectoryName(name(base))], None)


@odd
def self_issued_outside_constraints(d: Draft) -> None:
    """A CA may certify O=Example alone; its own new key is under another name, which is exempt."""
    old = d.plan("CN=Rolling,O=Elsewhere", d.issuers[-1])
    constrain(old, [x509.DirectoryName(name("O=Example,C=DE"))], None)
    d.cas += [old, d.plan(old.subject, old)]
    d.leaf.issuer = d.cas[-1]


@wrong
def names_not_permitted(d: Draft) -> None:
    given, _, outside = d.random.choice(_NAMES)
    add_names(d.leaf, given)
    constrain(some_ca(d), [outside], None)


@wrong
def names_excluded(d: Draft) -> None:
    given, inside, _ = d.random.choice(_NAMES)
    add_names(d.leaf, given)
    constrain(some_ca(d), [inside] if d.random.random() < 0.5 else None, [inside])


@wrong
def directory_not_permitted(d: Draft) -> None:
    base = d.random.choice(("O=Else,C=DE", "C=AT", "O=Exam,C=DE", "O=Example"))
    constrain(some_ca(d), [x509.DirectoryName(name(base))], None)


@wrong
def directory_excluded(d: Draft) -> None:
    base = d.random.choice(("OU=WEB,O=Example,C=DE", "O=example,C=DE", "C=DE"))
    constrain(some_ca(d), None, [x509.DirectoryName(name(base))])


@wrong
def directory_name_excluded_in_alternative_name(d: Draft) -> None:
    add_names(d.leaf, x509.DirectoryName(name("CN=x,O=Bad")))
    constrain(some_ca(d), None, [x509.DirectoryName(name("O=Bad"))])


@wrong
def mail_in_subject(d: Draft) -> None:
    """An address in the subject, which counts where there is no alternative name."""
    mail = x509.NameAttribute(MAIL_OID, "a@bad.example")
    d.leaf.subject = x509.Name([*d.leaf.subject, mail])
    constrain(some_ca(d), [MAIL("good.example")], None)


@wrong
def host_in_common_name(d: Draft) -> None:
    d.leaf.subject = name("CN=bad.example,O=Example,C=DE")
    constrain(some_ca(d), [DNS("example.com"), DNS("example.org")], None)


@wrong
def uri_without_host(d: Draft) -> None:
    uri = d.random.choice(("urn:example:app", "https://10.1.2.3/x", "https://[2001:db8::1]/"))
    add_names(d.leaf, URI(uri))
    permitted = d.random.random() < 0.5
    bases: list[x509.GeneralName] = [URI("example.com")]
    constrain(some_ca(d), bases if permitted else None, None if permitted else bases)


@wrong
def registered_id_excluded(d: Draft) -> None:
    oid = x509.RegisteredID(_POLICY)
    add_names(d.leaf, oid)
    constrain(some_ca(d), None, [oid])


@wrong
def ca_outside_constraints(d: Draft) -> None:
    """The constraints hold for the intermediates below as well."""
    upper = two_intermediates(d)
    child(d, upper).subject = name("CN=Elsewhere,O=Else")
    constrain(upper, [x509.DirectoryName(name("O=Example,C=DE"))], None)


# Faults: the path


@wrong
def expired(d: Draft) -> None:
    d.random.choice(d.everyone).end = NOW - d.random.choice((DAY / 2, DAY / 86400))


@wrong
def not_yet_valid(d: Draft) -> None:
    d.random.choice(d.everyone).start = NOW + d.random.choice((DAY / 2, DAY / 86400))


@wrong
def wrong_issuer_name(d: Draft) -> None:
    d.random.choice(d.everyone[1:]).issuer_name = name("CN=Somebody,O=Example,C=DE")


@wrong
def wrong_signature(d: Draft) -> None:
    d.random.choice(d.everyone[1:]).signer = d.new_key()


@wrong
def broken_signature(d: Draft) -> None:
    d.random.choice(d.everyone[1:]).broken = True


@wrong
def anchor_with_broken_signature(d: Draft) -> None:
    """Nobody need check the signature of what is trusted as it is."""
    d.anchors[0].broken = True


@wrong
def ca_false(d: Draft) -> None:
    some_ca(d).ca = False


@wrong
def ca_without_basic_constraints(d: Draft) -> None:
    some_ca(d).ca = None


@wrong
def ca_may_not_sign(d: Draft) -> None:
    some_ca(d).usage = frozenset({"crl_sign", "digital_signature"})


@wrong
def anchor_without_key_usage(d: Draft) -> None:
    d.anchors[0].usage = None


@wrong
def path_too_long(d: Draft) -> None:
    upper = two_intermediates(d)
    place = d.issuers.index(upper)
    chosen = d.issuers[d.random.randrange(place + 1)]
    chosen.path_length = len(d.cas) - d.issuers.index(chosen) - 1


@wrong
def unknown_critical_extension(d: Draft) -> None:
    add_extension(d.random.choice(d.everyone), UNKNOWN, critical=True)


@wrong
def weak_hash(d: Draft) -> None:
    """SHA-1 (also MD5 for RSA) or SHA-224 somewhere."""
    plan = d.random.choice(d.everyone)
    if plan.signing_key.startswith(("p256", "p384", "p521")):
        plan.hash_name = d.random.choice(("sha1", "sha224"))
        return
    if not plan.signing_key.startswith("rsa"):
        (plan.issuer or plan).key = "rsa2048-0"
    plan.hash_name = d.random.choice(("md5", "sha1", "sha224"))


@wrong
def missing_intermediate(d: Draft) -> None:
    d.missing.add(intermediate(d))


@wrong
def other_anchor(d: Draft) -> None:
    d.anchors = [d.plan("CN=Unrelated", None)]


@wrong
def anchor_of_same_name(d: Draft) -> None:
    d.anchors = [d.plan(d.anchors[0].subject, None)]


@wrong
def loop_without_anchor(d: Draft) -> None:
    first = d.plan("CN=Loop A", None)
    second = d.plan("CN=Loop B", first)
    first.issuer = second
    d.cas, d.leaf.issuer = [first, second], second


@wrong
def version_1_leaf(d: Draft) -> None:
    d.leaf.version_1 = True
    if not d.leaf.signing_key.startswith(("p256", "rsa")):
        d.leaf.issuer.key = d.new_key()


@wrong
def version_1_ca(d: Draft) -> None:
    ca = some_ca(d)
    ca.version_1 = True
    if not ca.signing_key.startswith(("p256", "rsa")):
        (ca.issuer or ca).key = d.new_key()


@wrong
def ca_without_name(d: Draft) -> None:
    intermediate(d).subject = name("")


@wrong
def authority_key_mismatch(d: Draft) -> None:
    plan = d.random.choice(d.everyone[1:])
    plan.authority_key_id = x509.AuthorityKeyIdentifier(key_id("p256-39"), None, None)


@wrong
def authority_serial_mismatch(d: Draft) -> None:
    plan = d.random.choice(d.everyone[1:])
    issuer = plan.issuer
    above = x509.DirectoryName((issuer.issuer or issuer).subject)
    plan.authority_key_id = x509.AuthorityKeyIdentifier(None, [above], issuer.serial + 1)


@wrong
def authority_name_mismatch(d: Draft) -> None:
    plan = d.random.choice(d.everyone[1:])
    above = x509.DirectoryName(name("CN=Nobody"))
    plan.authority_key_id = x509.AuthorityKeyIdentifier(None, [above], plan.issuer.serial)


@wrong
def explicit_policy_missing(d: Draft) -> None:
    critical = d.random.random() < 0.5
    add_extension(intermediate(d), x509.PolicyConstraints(0, None), critical=critical)


@wrong
def ca_with_odd_key(d: Draft) -> None:
    """A key of a kind that the service does not take."""
    some_ca(d).key = d.random.choice(("p224-1", "secp256k1-1", "ed25519-1"))


@wrong
def leaf_issues_leaf(d: Draft) -> None:
    """An end entity plays CA."""
    d.leaf.issuer = d.plan(d.leaf.subject, d.leaf.issuer, ca=False, usage=d.leaf.usage)
    d.cas.append(d.leaf.issuer)
    d.leaf.subject = name("CN=admin,O=Example,C=DE")


# Faults: the leaf, by AWS's trust model


@wrong
def leaf_is_ca(d: Draft) -> None:
    d.leaf.ca = True


@wrong
def leaf_may_not_sign(d: Draft) -> None:
    d.leaf.usage = d.random.choice((None, frozenset({"key_agreement"})))


@wrong
def leaf_without_subject(d: Draft) -> None:
    d.leaf.subject = name("")
    add_names(d.leaf, DNS("app.example.org"))


@wrong
def leaf_with_odd_key(d: Draft) -> None:
    d.leaf.key = d.random.choice(("ed25519-2", "secp256k1-2", "p224-2"))


# Revocation


def crls(d: Draft) -> list[CRLPlan]:
    """A list of each CA, made at the first call."""
    if not d.crls:
        d.crls = [CRLPlan(ca, [d.random.getrandbits(90)]) for ca in d.issuers]
    return d.crls


def crl_of(d: Draft, plan: Plan) -> CRLPlan:
    """The list on which *plan* would stand."""
    return next(crl for crl in crls(d) if crl.issuer is plan.issuer)


def revoke(d: Draft) -> CRLPlan:
    """Revoke the leaf or an intermediate; its list."""
    plans = [plan for plan in d.everyone if any(c.issuer is plan.issuer for c in crls(d))]
    plan = d.random.choice(plans or [d.leaf])
    if not plans:
        d.crls.append(CRLPlan(d.leaf.issuer))
    crl = crl_of(d, plan)
    crl.serials.append(plan.serial)
    return crl


@odd
def clean_crls(d: Draft) -> None:
    crls(d)


@odd
def crl_for_a_part(d: Draft) -> None:
    """A list for end entities, as a certificate authority with partitions makes it."""
    crl = crls(d)[-1]
    add_extension(crl, _distribution_point(only_contains_user_certs=True), critical=True)


@odd
def removed_from_crl(d: Draft) -> None:
    crl = revoke(d)
    crl.serials = crl.serials[-1:]
    add_extension(crl, x509.CRLReason(x509.ReasonFlags.remove_from_crl), critical=False, entry=True)


@odd
def crl_issuer_in_other_case(d: Draft) -> None:
    crl = d.random.choice(crls(d))
    text = crl.issuer.subject.rfc4514_string().replace("Example", "EXAMPLE")
    crl.issuer_name = name(text)


@wrong
def revoked(d: Draft) -> None:
    revoke(d)


@wrong
def revoked_for_a_reason(d: Draft) -> None:
    reasons = (x509.ReasonFlags.key_compromise, x509.ReasonFlags.certificate_hold)
    add_extension(revoke(d), x509.CRLReason(d.random.choice(reasons)), critical=False, entry=True)


@wrong
def revoked_from_tomorrow(d: Draft) -> None:
    revoke(d).revoked_at = NOW + DAY


@wrong
def revoked_on_partial_crl(d: Draft) -> None:
    extension = _distribution_point(full_name=[URI("http://crl.example/1.crl")])
    add_extension(revoke(d), extension, critical=True)


@wrong
def revoked_on_expired_crl(d: Draft) -> None:
    crl = revoke(d)
    crl.start, crl.end = NOW - DAY, NOW - DAY / 4


@wrong
def revoked_on_future_crl(d: Draft) -> None:
    revoke(d).start = NOW + DAY / 4


@wrong
def revoked_on_crl_of_other_name(d: Draft) -> None:
    revoke(d).issuer_name = name("CN=Other")


@wrong
def revoked_on_crl_of_other_key(d: Draft) -> None:
    revoke(d).signer = d.new_key()


@wrong
def revoked_by_ca_without_crl_sign(d: Draft) -> None:
    revoke(d).issuer.usage = frozenset({"key_cert_sign"})


@wrong
def revoked_on_weak_crl(d: Draft) -> None:
    crl = revoke(d)
    crl.weak = True


@wrong
def revoked_on_delta_crl(d: Draft) -> None:
    add_extension(revoke(d), x509.DeltaCRLIndicator(1), critical=True)


@wrong
def revoked_on_indirect_crl(d: Draft) -> None:
    add_extension(revoke(d), _distribution_point(indirect_crl=True), critical=True)


@wrong
def revoked_on_odd_crl(d: Draft) -> None:
    add_extension(revoke(d), UNKNOWN, critical=True)


@wrong
def revoked_by_odd_entry(d: Draft) -> None:
    add_extension(revoke(d), UNKNOWN, critical=True, entry=True)


@wrong
def revoked_on_the_older_of_two_crls(d: Draft) -> None:
    crl = revoke(d)
    d.crls.append(CRLPlan(crl.issuer, start=NOW - DAY / 4, number=2))


@wrong
def revoked_by_rotated_anchor(d: Draft) -> None:
    """The anchor's other key, of the same name, signs the list."""
    rotated_anchor(d)
    crl = CRLPlan(d.anchors[-1], [d.everyone[1].serial])
    d.crls = [crl] + [other for other in crls(d) if other.issuer is not d.anchors[0]]


@wrong
def expired_crl(d: Draft) -> None:
    crl = d.random.choice(crls(d))
    crl.start, crl.end = NOW - DAY, NOW - DAY / 4


@wrong
def missing_crl(d: Draft) -> None:
    crls(d).pop(d.random.randrange(len(d.crls)))
    d.crls.append(CRLPlan(d.plan("CN=Elsewhere", None)))


@wrong
def self_signed_leaf(d: Draft) -> None:
    """Last, as it has no issuer then."""
    d.leaf.issuer, d.leaf.issuer_name, d.leaf.signer = None, None, None


def _distribution_point(**parts: object) -> x509.IssuingDistributionPoint:
    full: dict[str, object] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**{**full, **parts})  # type: ignore[arg-type]

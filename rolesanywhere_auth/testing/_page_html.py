# SPDX-License-Identifier: Apache-2.0
"""The emulator's page as HTML: pure functions from a snapshot to text, all of it escaped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

from rolesanywhere_auth.testing._page_assets import SCRIPT, STYLE
from rolesanywhere_auth.testing.service.state import CRL, Profile, TrustAnchor

if TYPE_CHECKING:
    from rolesanywhere_auth.testing.service.audit import Check, Event
    from rolesanywhere_auth.testing.service.core import Service
    from rolesanywhere_auth.testing.service.directory import Role

SHOWN = 200
"""Sign-ins on the page, the newest; the emulator itself keeps all."""

T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot:
    """What the page shows, of one moment."""

    anchors: list[TrustAnchor]
    profiles: list[Profile]
    crls: list[CRL]
    roles: list[Role]
    events: list[Event]

    @classmethod
    def of(cls, service: Service) -> Snapshot:
        """The present state of *service*."""
        with service.state.lock:
            return cls(
                anchors=service.state.all(TrustAnchor),
                profiles=service.state.all(Profile),
                crls=service.state.all(CRL),
                roles=service.directory.roles(),
                events=service.events,
            )


def document(part: str, *, tag: str) -> str:
    """The whole page around *part*, a `fragment` with this entity tag."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>Roles Anywhere emulator</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        "<header>\n<h1>Roles Anywhere emulator</h1>\n"
        '<p class="dim">A local stand-in for AWS IAM Roles Anywhere, for tests. '
        '<span id="live" role="status">Reload to see what changed</span>.</p>\n</header>\n'
        f'<main id="part" data-tag="{escape(tag)}">\n{part}\n</main>\n'
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def fragment(snapshot: Snapshot) -> str:
    """The changing part of the page."""
    names = {anchor.trust_anchor_arn: anchor.name for anchor in snapshot.anchors}
    names |= {profile.profile_arn: profile.name for profile in snapshot.profiles}
    resources = "".join(
        (
            _section(
                "anchors", "Trust anchors", snapshot.anchors, lambda item: _anchor(item, snapshot)
            ),
            _section("profiles", "Profiles", snapshot.profiles, _profile),
            _section("roles", "Roles", snapshot.roles, _role),
            _section("crls", "Revocation lists", snapshot.crls, lambda item: _crl(item, names)),
        )
    )
    return (
        f'{_contents(snapshot)}<div class="grid">\n<div class="stack">{_sign_ins(snapshot, names)}'
        f'</div>\n<div class="stack">{resources}</div>\n</div>'
    )


def _contents(snapshot: Snapshot) -> str:
    counts = {
        "sign-ins": ("sign-in", len(snapshot.events)),
        "anchors": ("trust anchor", len(snapshot.anchors)),
        "profiles": ("profile", len(snapshot.profiles)),
        "roles": ("role", len(snapshot.roles)),
        "crls": ("revocation list", len(snapshot.crls)),
    }
    links = "".join(
        f'<li><a data-key="nav-{key}" href="#{key}">{_count(number, word)}</a></li>'
        for key, (word, number) in counts.items()
    )
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n'


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _section(key: str, title: str, items: list[T], show: Callable[[T], str]) -> str:
    cards = "".join(f'<li class="card">{show(item)}</li>\n' for item in items)
    content = f'<ul class="cards">\n{cards}</ul>' if items else '<p class="dim">None.</p>'
    return f'<section aria-labelledby="{key}"><h2 id="{key}">{title}</h2>\n{content}</section>\n'


# Sign-ins


def _sign_ins(snapshot: Snapshot, names: dict[str, str]) -> str:
    events = snapshot.events[-SHOWN:]
    earlier = len(snapshot.events) - len(events)
    section = _section("sign-ins", "Sign-ins", events[::-1], lambda event: _event(event, names))
    if not earlier:
        return section
    return section + f'<p class="dim">{_count(earlier, "earlier one")} not shown.</p>'


def _event(event: Event, names: dict[str, str]) -> str:
    allowed = event.error_code is None
    key = f"event-{escape(event.request_id)}"
    serial = event.serial_number
    who = event.certificate_subject or (f"serial number {serial}" if serial else "unknown caller")
    why = "" if allowed else f'<span class="why">{_reason(event)}</span>'
    rows = {
        "Trust anchor": _named(event.trust_anchor_arn, names),
        "Profile": _named(event.profile_arn, names),
        "Role": _code(event.role_arn),
        "Serial number": _code(serial),
        "Session name": _code(event.role_session_name),
        "Duration": _seconds(event.duration_seconds),
        "Recorded": _recorded(event),
        "Caller": escape(" ".join(filter(None, (event.source_ip_address, event.user_agent)))),
        "Request ID": _code(event.request_id),
    }
    return (
        f'<details class="event" id="{key}"><summary data-key="{key}">'
        f"{_badge(allowed, 'allowed', 'refused')} {_time(event.event_time)} "
        f'<span class="who">{escape(who)}</span>{why}</summary>\n{_rows(rows)}'
        f"{_checks(event.checks)}</details>"
    )


def _reason(event: Event) -> str:
    where = f"{escape(event.refused_by.name)}: " if event.refused_by else ""
    return f"{where}{escape(event.error_message or event.error_code or '')}"


def _checks(checks: Iterable[Check]) -> str:
    items = "".join(
        f"<li>{_badge(check.passed, 'passed', 'refused')}<p><strong>{escape(check.name)}</strong>"
        f"{' – ' + escape(check.detail) if check.detail else ''}</p></li>"
        for check in checks
    )
    return f'\n<ol class="checks" aria-label="Checks, in order">{items}</ol>' if items else ""


def _recorded(event: Event) -> str:
    """What AWS would only record: members of the event's additional data that are not empty."""
    found = {name: value for name, value in event.additional_event_data.items() if value}
    return _code(json.dumps(found)) if found else ""


# Resources


def _anchor(anchor: TrustAnchor, snapshot: Snapshot) -> str:
    crls = [crl for crl in snapshot.crls if crl.trust_anchor_arn == anchor.trust_anchor_arn]
    rows = {"ARN": _code(anchor.trust_anchor_arn)}
    for certificate in anchor.certificates:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        rows[_unused("CA", rows)] = (
            f"{escape(certificate.subject.rfc4514_string())}<br>"
            f"{_time(start, day=True)} to {_time(end, day=True)}"
        )
    if not anchor.certificates:
        rows["Source"] = escape(str(anchor.source.get("sourceType")))
    rows["Lists"] = escape(", ".join(crl.name for crl in crls))
    return _card(anchor.name, anchor.enabled, rows)


def _unused(name: str, rows: dict[str, str]) -> str:
    return name if name not in rows else f"{name} {sum(key.startswith(name) for key in rows) + 1}"


def _profile(profile: Profile) -> str:
    rows = {
        "ARN": _code(profile.profile_arn),
        "Roles": "<br>".join(_code(arn) for arn in profile.role_arns),
        "Duration": f"at most {_seconds(profile.duration_seconds)}",
        "Session name": "the caller may choose" if profile.accept_role_session_name else "",
        "Policies": "<br>".join(_code(arn) for arn in profile.managed_policy_arns),
        "Tags from": escape(", ".join(_mappings(profile))),
    }
    policy = _document(f"policy-{profile.profile_id}", "Session policy", profile.session_policy)
    return _card(profile.name, profile.enabled, rows) + policy


def _mappings(profile: Profile) -> Iterator[str]:
    for mapping in profile.attribute_mappings:
        rules = ", ".join(rule["specifier"] for rule in mapping["mappingRules"])
        yield f"{mapping['certificateField']} ({rules})"


def _role(role: Role) -> str:
    rows = {"ARN": _code(role.arn), "Duration": f"at most {_seconds(role.max_session_duration)}"}
    document = _document(f"role-{role.arn}", "Trust policy", role.trust_policy)
    return f"<h3>{escape(role.arn.partition(':role/')[2])}</h3>{_rows(rows)}{document}"


def _crl(crl: CRL, names: dict[str, str]) -> str:
    update = crl.parsed.next_update_utc
    rows = {
        "ARN": _code(crl.crl_arn),
        "Anchor": _named(crl.trust_anchor_arn, names),
        "Issuer": escape(crl.parsed.issuer.rfc4514_string()),
        "Revokes": _count(len(crl.parsed), "certificate"),
        "Next": _time(update) if update else "",
    }
    return _card(crl.name, crl.enabled, rows)


# Pieces


def _card(name: str, enabled: bool, rows: dict[str, str]) -> str:  # noqa: FBT001
    badge = _badge(enabled, "enabled", "disabled")
    return f'<div class="head"><h3>{escape(name)}</h3>{badge}</div>{_rows(rows)}'


def _badge(good: bool, yes: str, no: str) -> str:  # noqa: FBT001
    return f'<span class="badge {"good" if good else "bad"}">{yes if good else no}</span>'


def _rows(rows: dict[str, str]) -> str:
    """A list of terms; *rows* are HTML, and empty ones are left out."""
    items = "".join(f"<dt>{name}</dt><dd>{html}</dd>" for name, html in rows.items() if html)
    return f"<dl>{items}</dl>"


def _code(text: str | None) -> str:
    return f"<code>{escape(text)}</code>" if text else ""


def _named(arn: str | None, names: dict[str, str]) -> str:
    return f"{escape(names[arn])}<br>{_code(arn)}" if arn in names and arn else _code(arn)


def _seconds(seconds: int | None) -> str:
    return f"{seconds:,} seconds" if seconds is not None else ""


def _time(moment: datetime, *, day: bool = False) -> str:
    utc = moment.astimezone(timezone.utc)
    text = utc.strftime("%Y-%m-%d") if day else utc.strftime("%Y-%m-%d %H:%M:%S UTC")
    return f'<time datetime="{utc.strftime("%Y-%m-%dT%H:%M:%SZ")}">{text}</time>'


def _document(key: str, title: str, policy: Any) -> str:
    """A policy document, folded away; empty where there is none."""
    if not policy:
        return ""
    try:
        parsed = json.loads(policy) if isinstance(policy, str) else policy
        text = json.dumps(parsed, indent=2, ensure_ascii=False)
    except ValueError:
        text = str(policy)
    key = escape(key)
    return (
        f'<details id="{key}"><summary data-key="{key}">{title}</summary>'
        f'<pre tabindex="0" aria-label="{title}">{escape(text)}</pre></details>'
    )

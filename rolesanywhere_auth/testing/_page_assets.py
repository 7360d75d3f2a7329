# SPDX-License-Identifier: Apache-2.0
"""Style and script of the emulator's page, and the policy that lets the browser use just these."""

from __future__ import annotations

import base64
import hashlib

STYLE = """
:root {
  color-scheme: light dark;
  --back: #f4f5f7; --card: #fff; --ink: #1b1f27; --dim: #59616e; --line: #d9dde3;
  --good: #14682f; --good-back: #e2f4e7; --bad: #a3161f; --bad-back: #fde9ea; --link: #1a56b8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #14171c; --card: #1d2127; --ink: #e7eaee; --dim: #a2abb8; --line: #343b45;
    --good: #7fd79a; --good-back: #16351f; --bad: #ff9da1; --bad-back: #45191c; --link: #8ab6ff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
header, main { max-width: 84rem; margin: 0 auto; padding: 1rem; }
header { padding-bottom: 0; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.125rem; margin: 0 0 .5rem; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
p { margin: 0 0 .5rem; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 4px; }
.dim { color: var(--dim); }
code, pre {
  font: .875em/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
}
code { overflow-wrap: anywhere; }
pre {
  margin: .5rem 0 0; padding: .5rem; background: var(--back); border-radius: 6px;
  overflow-x: auto;
}
nav { margin: 0 0 1rem; }
nav ul {
  display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; margin: 0; padding: 0;
}
.grid { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1.5rem; }
@media (min-width: 60rem) { .grid { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); } }
.stack { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1.5rem; align-content: start; }
.cards { list-style: none; margin: 0; padding: 0; display: grid; gap: .5rem; }
.cards { grid-template-columns: minmax(0, 1fr); }
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .625rem .75rem;
}
.head {
  display: flex; flex-wrap: wrap; align-items: baseline; justify-content: space-between;
  gap: .25rem .75rem;
}
.badge {
  display: inline-block; border-radius: 1em; padding: 0 .6em; font-size: .8125rem; font-weight: 600;
  white-space: nowrap;
}
.good { color: var(--good); background: var(--good-back); }
.bad { color: var(--bad); background: var(--bad-back); }
dl {
  display: grid; grid-template-columns: minmax(5.5rem, max-content) minmax(0, 1fr);
  gap: .125rem .75rem; margin: .375rem 0 0; font-size: .875rem;
}
dt { color: var(--dim); }
dd { margin: 0; overflow-wrap: anywhere; }
details > summary { cursor: pointer; }
.event > summary { list-style-position: outside; margin-left: 1.125rem; }
.event .who { display: block; overflow-wrap: anywhere; font-weight: 600; }
.event > summary time { color: var(--dim); }
.card > details:not(.event) { font-size: .875rem; margin-top: .375rem; }
.why { display: block; color: var(--bad); overflow-wrap: anywhere; }
.checks {
  margin: .625rem 0 0; padding: .5rem 0 0; border-top: 1px solid var(--line); list-style: none;
  font-size: .875rem;
}
.checks li {
  display: grid; grid-template-columns: 4.25rem minmax(0, 1fr); gap: .625rem;
  padding: .1875rem 0;
}
.checks .badge { text-align: center; justify-self: start; align-self: start; }
.checks p { margin: 0; overflow-wrap: anywhere; }
""".strip()

# Asks for the changing part every other second while somebody looks; what was opened stays open,
# and the focus where it was. The part is the server's own, escaped there.
SCRIPT = """
(() => {
  "use strict";
  const part = document.getElementById("part");
  const live = document.getElementById("live");
  let tag = part.dataset.tag, shown = live.textContent;
  const say = text => { if (text !== shown) { live.textContent = shown = text; } };
  const look = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch("/_emulator/page",
          { headers: { "If-None-Match": tag }, cache: "no-store" });
        if (answer.status === 200) {
          const text = await answer.text();
          tag = answer.headers.get("ETag");
          const open = [...part.querySelectorAll("details[open]")].map(each => each.id);
          const focus = document.activeElement && document.activeElement.dataset.key;
          part.innerHTML = text;
          for (const id of open) {
            const found = document.getElementById(id);
            if (found) { found.open = true; }
          }
          if (focus) {
            const found = part.querySelector("[data-key='" + CSS.escape(focus) + "']");
            if (found) { found.focus({ preventScroll: true }); }
          }
        }
        say(answer.ok || answer.status === 304 ? "Live" : "The emulator answered " + answer.status);
      } catch (error) {
        say("The emulator does not answer; it may have stopped");
      }
    }
    setTimeout(look, 2000);
  };
  say("Live");
  setTimeout(look, 2000);
})();
""".strip()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_hash(STYLE)}",
        f"script-src {_hash(SCRIPT)}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The value of ``Content-Security-Policy``: this style, this script, requests to this origin."""

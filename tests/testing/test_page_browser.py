"""The emulator's page in headless Chromium, driven by W3C WebDriver over plain HTTP."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rolesanywhere_auth.testing import CertificateAuthority, Emulator

pytestmark = pytest.mark.extended

NASTY = "<img src=x onerror=alert(1)><script>alert(1)</script>"
WIDTHS = pytest.mark.parametrize("width", [390, 1280])


class Browser:
    """One window of Chromium."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._session = ""

    def command(self, method: str, path: str, body: Any = None) -> Any:
        """One WebDriver command; its value."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        data = None if body is None else json.dumps(body)
        connection.request(
            method, f"{self._session}{path}", data, {"Content-Type": "application/json"}
        )
        value = json.loads(connection.getresponse().read())["value"]
        connection.close()
        assert not (isinstance(value, dict) and "error" in value), value
        return value

    def open(self, *, width: int, scheme: str = "light", script: bool = True) -> None:
        """A new window of this width in pixels."""
        arguments = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")  # which Chromium as root insists on
        metrics = {"width": width, "height": 900, "pixelRatio": 1, "mobile": width < 600}
        options = {"args": arguments, "mobileEmulation": {"deviceMetrics": metrics}}
        if not script:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = self.command("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{made['sessionId']}"
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.cdp("Emulation.setEmulatedMedia", media)

    def cdp(self, command: str, params: Any) -> Any:
        """One command of Chromium's own."""
        return self.command("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def go(self, url: str) -> None:
        """Open *url*."""
        self.command("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """What *script* returns."""
        return self.command("POST", "/execute/sync", {"script": script, "args": arguments})

    def until(self, script: str, *, seconds: float = 15) -> Any:
        """What *script* returns once that is true."""
        end = time.monotonic() + seconds
        while not (found := self.run(script)):
            assert time.monotonic() < end, script
            time.sleep(0.1)
        return found

    def complaints(self) -> list[str]:
        """What the console says: errors, and refusals by the page's policy."""
        return [entry["message"] for entry in self.command("POST", "/se/log", {"type": "browser"})]

    def close(self) -> None:
        """Close the window."""
        if self._session:
            self.command("DELETE", "")
            self._session = ""


@pytest.fixture(scope="module")
def driver() -> Iterator[int]:
    """The port of chromedriver."""
    program = shutil.which("chromedriver")
    assert program, "chromedriver is not installed; scripts/test-extended installs it"
    process = subprocess.Popen([program, "--port=0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = next(
        int(line.rstrip(".\n").rpartition(" ")[2])
        for line in process.stdout
        if "started successfully on port" in line
    )
    yield port
    process.terminate()
    process.communicate(timeout=30)


@pytest.fixture
def browser(driver: int) -> Iterator[Browser]:
    """A browser without a window yet."""
    browser = Browser(driver)
    yield browser
    browser.close()


def fill(emulator: Emulator, create_session: Callable[..., Any], now: Any) -> Any:
    """A sign-in, one that is refused, and one by a stranger."""
    setup = emulator.set_up(common_name="billing-worker.prod.example")
    create_session(setup)
    create_session(
        setup, leaf=CertificateAuthority("Else", now=lambda: now).issue(NASTY, dns_names=["a.b"])
    )
    emulator.revoke(setup.leaf)
    create_session(setup)
    return setup


@WIDTHS
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_and_is_readable(
    browser: Browser,
    emulator: Emulator,
    create_session: Callable[..., Any],
    now: Any,
    width: int,
    scheme: str,
) -> None:
    """Nothing is wider than the window, text is large and has contrast, nothing is complained."""
    fill(emulator, create_session, now)
    browser.open(width=width, scheme=scheme)
    browser.go(emulator.endpoint_url)
    browser.run("document.querySelectorAll('details').forEach(each => { each.open = true; })")

    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run(SMALL_OR_PALE) == []
    columns = browser.run(
        "return new Set([...document.querySelectorAll('.stack')]"
        ".map(each => each.getBoundingClientRect().left)).size"
    )
    assert columns == (1 if width < 600 else 2)
    picture = base64.b64decode(browser.command("GET", "/screenshot"))
    assert struct.unpack(">I", picture[16:20])[0] in range(width - 20, width + 1)
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        with open(f"{folder}/page-{width}-{scheme}.png", "wb") as file:  # noqa: PTH123
            file.write(picture)
    assert browser.complaints() == []


SMALL_OR_PALE = """
const light = color => {
  const [r, g, b] = color.match(/[\\d.]+/g).map(value => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = element => {
  while (element) {
    const color = getComputedStyle(element).backgroundColor;
    if (color !== "rgba(0, 0, 0, 0)") { return color; }
    element = element.parentElement;
  }
};
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const text = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!text || !element.checkVisibility()) { continue; }
  const style = getComputedStyle(element);
  const [one, other] = [light(style.color), light(behind(element))].sort((a, b) => b - a);
  const contrast = (one + 0.05) / (other + 0.05);
  if (contrast < 4.5 || parseFloat(style.fontSize) < 12) {
    found.push([element.tagName, element.className, contrast, style.fontSize]);
  }
}
return found;
"""
"""Text under 12 pixels, or with less contrast than WCAG 2.2's AA asks for (1.4.3)."""


def test_page_updates_while_it_is_looked_at(
    browser: Browser, emulator: Emulator, create_session: Callable[..., Any], now: Any
) -> None:
    """A sign-in appears without a reload; what was opened stays open, the focus where it was."""
    setup = fill(emulator, create_session, now)
    browser.open(width=1280)
    browser.go(emulator.endpoint_url)
    browser.run(
        "window.marked = true;"
        "const first = document.querySelector('.event'); first.open = true;"
        "window.opened = first.id; first.querySelector('summary').focus();"
    )

    create_session(setup, parameters={"profileArn": setup.profile_arn.rpartition("/")[0] + "/none"})
    browser.until("return document.querySelectorAll('.event').length === 4")

    assert browser.run("return window.marked")
    assert browser.run("return document.getElementById(window.opened).open")
    assert browser.run("return document.querySelectorAll('.event[open]').length") == 1
    assert browser.run("return document.activeElement.dataset.key === window.opened")
    assert "does not exist" in browser.run("return document.body.innerText")
    assert browser.complaints() == []


def test_emulator_that_stopped_is_noticed(browser: Browser) -> None:
    """The page says that it is no longer live, and goes on when the emulator is back."""
    with Emulator(tls_port=None) as emulator:
        port = int(emulator.endpoint_url.rpartition(":")[2])
        browser.open(width=390)
        browser.go(emulator.endpoint_url)
        assert browser.run("return document.getElementById('live').textContent") == "Live"
    browser.until("return document.getElementById('live').textContent.includes('stopped')")
    with Emulator(port=port, tls_port=None):
        browser.until("return document.getElementById('live').textContent === 'Live'")


def test_markup_of_strangers_is_text_also_after_an_update(
    browser: Browser, emulator: Emulator, create_session: Callable[..., Any], now: Any
) -> None:
    """Neither the first page nor an update makes an element of a certificate's text."""
    browser.open(width=390)
    browser.go(emulator.endpoint_url)

    fill(emulator, create_session, now)
    browser.until("return document.querySelectorAll('.event').length === 3")

    shown = browser.run("return document.body.textContent")
    assert "onerror=alert(1)" in shown
    assert browser.run("return document.querySelectorAll('img, main script').length") == 0
    assert browser.complaints() == []


def test_policy_stops_what_escaping_might_miss(browser: Browser, emulator: Emulator) -> None:
    """A handler, a script and a request elsewhere: Chromium refuses each by the page's policy."""
    browser.open(width=390)
    browser.go(emulator.endpoint_url)

    browser.run(
        "window.hit = 0;"
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hit = 1\">');"
        "const script = document.createElement('script'); script.text = 'window.hit = 2';"
        "document.body.append(script); fetch('http://127.0.0.1:1/').catch(() => {});"
    )

    missing, end = {"img-src", "script-src", "connect-src"}, time.monotonic() + 15
    while missing:
        assert time.monotonic() < end, missing
        complaints = " ".join(browser.complaints())
        missing = {directive for directive in missing if directive not in complaints}
    assert browser.run("return window.hit") == 0


def test_page_works_without_script(
    browser: Browser, emulator: Emulator, create_session: Callable[..., Any], now: Any
) -> None:
    """With JavaScript off everything is there, and a reload shows what is new."""
    fill(emulator, create_session, now)
    browser.open(width=390, script=False)
    browser.go(emulator.endpoint_url)

    source = browser.command("GET", "/source")
    assert source.count('class="event"') == 3
    assert "Reload to see what changed" in source

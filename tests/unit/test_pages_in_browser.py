"""The dashboard and the report of a rollout in a headless Chromium."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from berth.operations.rollout.journal import Phase
from berth.operations.rollout.report import build_report
from berth.operations.watch.server import ADDRESS, build_app, create_server
from berth.operations.watch.snapshot import Snapshot
from berth_protocol.http_server import bind
from tests import simulated_rollout as rollouts
from tests.browser import ENTER, ESCAPE, RIGHT, TAB, Browser, open_browser
from tests.unit.watched import build_snapshot

pytestmark = pytest.mark.slow

# Contrast of text with what is behind it, as WCAG 2.2 defines it. Both are opaque here.
_LOW_CONTRAST = """
const read = text => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
  .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, index) => sum + v * [.2126, .7152, .0722][index], 0);
function background(element) {
  for (let e = element; e; e = e.parentElement) {
    const color = read(getComputedStyle(e).backgroundColor);
    if (color.length < 4 || color[3] > 0) return color;
  }
  return [255, 255, 255];
}
const found = [];
let checked = 0;
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || !element.checkVisibility()) continue;
  const style = getComputedStyle(element);
  const color = element instanceof SVGElement ? style.fill : style.color;
  const [a, b] = [light(read(color)), light(background(element))].sort((x, y) => y - x);
  checked += 1;
  if ((a + .05) / (b + .05) < 4.5) found.push(`${element.tagName}: ${element.textContent}`);
}
return {found, checked};
"""
_LOW_CONTRAST_LINES = """
const read = text => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
  .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, index) => sum + v * [.2126, .7152, .0722][index], 0);
return [...document.querySelectorAll(".line, .limit")].filter(line => {
  const panel = read(getComputedStyle(line.closest(".plot")).backgroundColor);
  const [a, b] = [light(read(getComputedStyle(line).stroke)), light(panel)].sort((x, y) => y - x);
  return (a + .05) / (b + .05) < 3;
}).map(line => line.getAttribute("class"));
"""
# Pairs of labels in one plot whose boxes overlap.
_OVERLAPS = """
const found = [];
for (const plot of document.querySelectorAll(".plot")) {
  const texts = [...plot.querySelectorAll(".ticks span, .axis span, .labels text, .legend li")];
  const boxes = texts.map(text => [text.textContent, text.getBoundingClientRect()]);
  boxes.forEach(([name, a], index) => boxes.slice(index + 1).forEach(([other, b]) => {
    const beside = a.right - 1 < b.left || b.right - 1 < a.left;
    if (!beside && a.top < b.bottom - 1 && b.top < a.bottom - 1)
      found.push(`${name} / ${other}`);
  }));
}
return found;
"""
_UNNAMED = """
const elements = document.querySelectorAll("[role=img], [role=region], button, table, section");
return [...elements].filter(e => !(e.getAttribute("aria-label") || e.textContent.trim()
  || e.querySelector("caption"))).map(e => e.outerHTML);
"""
_FOCUSED = "return document.activeElement.id || document.activeElement.getAttribute('aria-label')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@dataclass
class _Dashboard:
    """A dashboard whose snapshots a test chooses."""

    url: str = ""
    snapshots: list[Snapshot] = field(default_factory=list)


@pytest.fixture(scope="module")
def served() -> Iterator[_Dashboard]:
    dashboard = _Dashboard()
    bound = bind(ADDRESS, 0)
    port = bound.getsockname()[1]
    server = create_server(build_app(lambda: dashboard.snapshots, port))
    thread = threading.Thread(target=lambda: server.run(sockets=[bound]))
    thread.start()
    dashboard.url = f"http://{ADDRESS}:{port}/"
    yield dashboard
    server.stop(1.0)
    thread.join()
    bound.close()


@pytest.fixture
def dashboard(served: _Dashboard) -> _Dashboard:
    served.snapshots = [build_snapshot(10.0 * n, 20.0 + n % 7) for n in range(60)]
    return served


@pytest.fixture(params=[Phase.PROMOTED, Phase.REVERTED])
def report(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of the report of a rollout, which the controller ran with a simulated clock."""
    journal = rollouts.build_journal(tmp_path, "shadow,5,25,50,100")
    failing_percent = 20 if request.param is Phase.REVERTED else 0
    assert rollouts.run(journal, rollouts.Stack(failing_percent)) is request.param
    (tmp_path / "report.html").write_text(build_report(journal))
    return (tmp_path / "report.html").as_uri()


def check_page(browser: Browser, url: str) -> None:
    """Check contrast, overlaps, names and the width of a page in both schemes and two widths."""
    browser.read_console()
    browser.open(url)
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        for width in (1200, 320):
            browser.resize(width, 800)
            contrast: Any = browser.run(_LOW_CONTRAST)
            assert contrast["checked"] > 10
            assert contrast["found"] == [], f"{scheme}, {width} px"
            assert browser.run(_LOW_CONTRAST_LINES) == [], scheme
            assert browser.run(_OVERLAPS) == [], f"{width} px"
            assert browser.run("return document.documentElement.scrollWidth") <= width
    browser.prefer("light")
    browser.resize(1200, 800)
    assert browser.run(_UNNAMED) == []
    assert browser.run("return document.querySelectorAll('h1').length") == 1
    assert browser.read_console() == []


def test_dashboard_is_readable_in_each_color_scheme_and_width(
    browser: Browser, dashboard: _Dashboard
) -> None:
    check_page(browser, dashboard.url)
    assert browser.run("return document.querySelectorAll('.picture').length") == 3
    # Nothing moves, for users who prefer reduced motion and for all others.
    assert browser.run(
        "return [...document.querySelectorAll('*')].every(e =>"
        " getComputedStyle(e).animationName === 'none' &&"
        " getComputedStyle(e).transitionDuration === '0s')"
    )


def test_report_is_readable_in_each_color_scheme_and_width(browser: Browser, report: str) -> None:
    check_page(browser, report)
    label = browser.run("return document.querySelector('.picture').getAttribute('aria-label')")
    assert "Failed requests" in label
    assert "The limit is 1.00 %." in label
    assert browser.run("return document.querySelectorAll('.picture .line').length") >= 3


def test_report_requests_nothing_else(browser: Browser, report: str) -> None:
    browser.read_requests()
    browser.open(report)
    assert set(browser.read_requests()) == {report}


def test_dashboard_updates_itself_and_requests_only_its_own_server(
    browser: Browser, dashboard: _Dashboard
) -> None:
    browser.read_requests()
    browser.read_console()
    browser.open(dashboard.url)
    health = browser.run("return document.getElementById('health').textContent")
    browser.run(
        "window.spoken = 0; new MutationObserver(() => window.spoken += 1).observe("
        "document.getElementById('health'), {childList: true, characterData: true, subtree: true})"
    )
    dashboard.snapshots = [*dashboard.snapshots, build_snapshot(700, 777.5)]
    browser.wait_for("return document.getElementById('berths').textContent.includes('777.5')")
    assert browser.run("return document.getElementById('health').textContent") == health
    assert browser.run("return window.spoken") == 0, "a screen reader would speak at each update"
    assert all(url.startswith(dashboard.url) for url in browser.read_requests())
    assert browser.read_console() == []


def test_health_is_a_status_that_changes_with_the_state(
    browser: Browser, dashboard: _Dashboard
) -> None:
    browser.open(dashboard.url)
    role = browser.run("return document.getElementById('health').getAttribute('role')")
    assert role == "status"
    good = build_snapshot(700)
    dashboard.snapshots = [Snapshot(stack="dev", at=good.at, gateway="stopped")]
    browser.wait_for(
        "return document.getElementById('health').textContent === 'The gateway is stopped.'"
    )


def test_keyboard_reaches_all_controls_in_order_with_a_visible_focus(
    browser: Browser, dashboard: _Dashboard
) -> None:
    browser.open(dashboard.url)
    reached = []
    for _ in range(4):
        browser.press(TAB)
        reached.append(browser.run(_FOCUSED))
        width = browser.run("return getComputedStyle(document.activeElement).outlineWidth")
        assert width == "3px"
    assert reached == [None, "pause", "Table: Berths", "Table: Updates"]


def test_paused_page_keeps_its_focus_and_does_not_change(
    browser: Browser, dashboard: _Dashboard
) -> None:
    browser.open(dashboard.url)
    for _ in range(2):
        browser.press(TAB)
    browser.press(ENTER)
    assert browser.run("return document.activeElement.getAttribute('aria-pressed')") == "true"
    dashboard.snapshots = [*dashboard.snapshots, build_snapshot(700, 555.5)]
    shows = "return document.getElementById('berths').textContent.includes('555.5')"
    # Longer than the interval of two updates.
    browser.run("const end = Date.now() + 4500; while (Date.now() < end);")
    assert not browser.run(shows)
    browser.press(ENTER)
    browser.wait_for(shows)
    assert browser.run(_FOCUSED) == "pause"


def walk(browser: Browser, *, with_shift: bool = False) -> list[str | None]:
    """Press Tab until the focus has left the page, and return what had it. Escape moves nothing.

    After the last element, a browser without a window begins again.
    """
    reached: list[str | None] = []
    while len(reached) < 20:
        browser.press(TAB, with_shift=with_shift)
        focused = browser.run(_FOCUSED)
        if browser.run("return document.activeElement === document.body") or focused in reached:
            return reached
        browser.press(ESCAPE)
        assert browser.run(_FOCUSED) == focused
        reached.append(focused)
    raise AssertionError(f"the keyboard does not leave the page: {reached}")


def test_keyboard_leaves_the_dashboard_in_both_directions(
    browser: Browser, dashboard: _Dashboard
) -> None:
    stops = [None, "pause", "Table: Berths", "Table: Updates"]
    browser.open(dashboard.url)
    assert walk(browser) == stops
    browser.open(dashboard.url)
    assert walk(browser, with_shift=True) == stops[::-1]


def test_skip_link_leads_to_the_berths(browser: Browser, dashboard: _Dashboard) -> None:
    browser.open(dashboard.url)
    browser.press(TAB)
    box = browser.run("return document.activeElement.getBoundingClientRect()")
    assert box["x"] >= 0, "a focused link must be visible"
    browser.press(ENTER)
    browser.press(TAB)
    assert browser.run(_FOCUSED) == "Table: Berths"


def test_keyboard_scrolls_the_tables_of_the_report_on_a_narrow_screen(
    browser: Browser, report: str
) -> None:
    browser.resize(320, 800)
    try:
        browser.open(report)
        stops = ["Table: Steps", "Table: Events"]
        assert walk(browser) == stops
        browser.open(report)
        browser.press(TAB)
        for _ in range(3):
            browser.press(RIGHT)
        browser.wait_for("return document.activeElement.scrollLeft > 0")
    finally:
        browser.resize(1200, 800)

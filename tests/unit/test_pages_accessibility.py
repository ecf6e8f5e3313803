"""What makes the dashboard and the report of a rollout usable for everyone, without a browser.

`test_pages_in_browser.py` checks what only a browser computes. The rules are those that axe-core
checks; `python -m tools.page_pictures` runs it.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from berth.operations.pages.plot import LINE_STYLES
from berth.operations.pages.style import read_style
from berth.operations.rollout.report import build_report
from berth.operations.watch.page import build_page
from tests import simulated_rollout as rollouts
from tests.unit.watched import build_snapshot, interrupt_rollout

_VOID = frozenset({"meta", "link", "br", "line", "polyline", "img", "input"})
_BACKGROUNDS = ("background", "panel")
_TEXTS = ("text", "muted", "focus", "good", "bad")
_LINES = (*(f"line-{number + 1}" for number in range(LINE_STYLES)), "bad", "focus", "muted")


@dataclass
class Element:
    """An element of a page."""

    tag: str
    attributes: dict[str, str]
    parents: tuple["Element", ...]
    text: str = ""

    def is_within(self, tag: str) -> bool:
        return any(parent.tag == tag for parent in self.parents)


@dataclass
class Page(HTMLParser):
    """The elements of a page in the order of the document."""

    source: str
    elements: list[Element] = field(default_factory=list)
    _open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        element = Element(tag, attributes, tuple(self._open))
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop().tag == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def find(self, *tags: str) -> list[Element]:
        return [element for element in self.elements if element.tag in tags]

    def find_id(self, name: str) -> Element:
        (element,) = [each for each in self.elements if each.attributes.get("id") == name]
        return element


@pytest.fixture(params=["dashboard", "report"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Page:
    if request.param == "dashboard":
        snapshots = [build_snapshot(10.0 * number) for number in range(3)]
        return Page(build_page([*snapshots, interrupt_rollout(build_snapshot(40))]))
    journal = rollouts.build_journal(tmp_path, "shadow,10,100")
    rollouts.run(journal, rollouts.Stack(failing_percent=20))
    return Page(build_report(journal))


def test_page_has_a_language_a_title_and_can_be_zoomed(page: Page) -> None:
    (root,) = page.find("html")
    assert root.attributes["lang"] == "en"
    assert [each.text for each in page.find("title")] != [""]
    (viewport,) = [each for each in page.find("meta") if each.attributes.get("name") == "viewport"]
    assert viewport.attributes["content"] == "width=device-width, initial-scale=1"


def test_page_has_one_main_landmark_and_all_its_content_is_in_landmarks(page: Page) -> None:
    assert len(page.find("main")) == len(page.find("header")) == 1
    landmarks = ("header", "main")
    for element in page.find("h1", "h2", "h3", "table", "p", "ul", "figure", "button"):
        assert any(element.is_within(each) for each in landmarks), element.text


def test_headings_begin_with_one_title_and_skip_no_level(page: Page) -> None:
    levels = [int(each.tag[1]) for each in page.find("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(each.text.strip() for each in page.find("h1", "h2", "h3", "h4"))


def test_each_id_is_used_once_and_each_reference_exists(page: Page) -> None:
    names = [each.attributes["id"] for each in page.elements if "id" in each.attributes]
    assert len(names) == len(set(names))
    for element in page.elements:
        if (label := element.attributes.get("aria-labelledby")) is not None:
            assert page.find_id(label).text.strip()
        if element.attributes.get("href", "").startswith("#"):
            page.find_id(element.attributes["href"][1:])


def test_tables_pictures_and_regions_have_different_names(page: Page) -> None:
    regions = [each for each in page.elements if each.attributes.get("role") == "region"]
    names = [each.attributes["aria-label"] for each in regions]
    captions = [each.text for each in page.find("caption")]
    assert len(captions) == len(page.find("table")) == len(regions) == 2
    assert len({*names, *captions}) == 4
    pictures = [each for each in page.find("svg") if "aria-hidden" not in each.attributes]
    assert len({each.attributes["aria-label"] for each in pictures}) == len(pictures) == 3
    assert all(each.attributes["role"] == "img" for each in pictures)


def test_each_table_header_names_a_column_or_a_row(page: Page) -> None:
    for header in page.find("th"):
        assert header.text.strip()
        expected = "col" if header.is_within("thead") else "row"
        assert header.attributes["scope"] == expected


def test_keyboard_stops_only_at_controls_and_scroll_regions(page: Page) -> None:
    for element in page.elements:
        if "tabindex" in element.attributes:
            # Another value than 0 would change the order.
            assert element.attributes["tabindex"] == "0"
            assert element.attributes["role"] == "region"
        hidden = [*element.parents, element]
        if element.tag in ("a", "button") or "tabindex" in element.attributes:
            assert not any("aria-hidden" in each.attributes for each in hidden)


def test_only_the_health_and_lost_connections_are_spoken() -> None:
    page = Page(build_page([build_snapshot()]))
    live = [
        each
        for each in page.elements
        if each.attributes.get("role") in ("status", "alert", "log", "timer")
        or "aria-live" in each.attributes
    ]
    assert [each.attributes["id"] for each in live] == ["health", "connection"]
    # What changes at each reading is outside.
    assert not any(each in page.find_id("read-at").parents for each in live)


def read_colors() -> Iterator[dict[str, str]]:
    """Return the colors of both schemes by name."""
    for block in re.findall(r":root \{(.*?)\}", read_style(), re.DOTALL):
        yield dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", block))


def measure_contrast(one: str, other: str) -> float:
    """Return the contrast of two colors, as WCAG 2.2 defines it."""
    light, dark = sorted((_measure_light(one), _measure_light(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _measure_light(color: str) -> float:
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def test_contrast_of_known_colors_is_measured() -> None:
    assert measure_contrast("#000000", "#ffffff") == pytest.approx(21)
    assert measure_contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colors_of_the_style_sheet_have_enough_contrast(scheme: str) -> None:
    light, dark = read_colors()
    colors = light if scheme == "light" else dark
    assert light.keys() == dark.keys()
    assert {*_TEXTS, *_LINES, *_BACKGROUNDS, "border"} == colors.keys()
    for background in _BACKGROUNDS:
        for name in _TEXTS:
            assert measure_contrast(colors[name], colors[background]) >= 4.5, name
        for name in _LINES:
            assert measure_contrast(colors[name], colors[background]) >= 3, name


def test_style_uses_only_colors_whose_contrast_is_checked_and_moves_nothing() -> None:
    style = read_style() + files("berth.operations.watch").joinpath("dashboard.css").read_text()
    rules = re.sub(r":root \{.*?\}", "", style, flags=re.DOTALL)
    assert re.findall(r"#[0-9a-f]{3,8}\b(?=[^{]*\})|rgb|hsl|opacity", rules) == []
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", rules))
    (colors, _) = read_colors()
    assert used <= colors.keys()
    assert re.findall("animation|transition|outline: ?(?:0|none)", rules) == []

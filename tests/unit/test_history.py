"""The list of a stack's updates, and what a rollback would do."""

from dataclasses import replace
from typing import Any

from berth.operations.history import as_json, compare_configurations, format_text, list_releases
from berth.operations.rollback import RollbackReport, format_report
from berth.operations.update import Update

_FIRST = Update(
    number=1,
    kind="update",
    succeeded=True,
    config={"berth:models": {"digits": {"traffic": {"1": 90, "2": 10}}}},
    secrets=frozenset(),
    commit="e863d6c7198a07ca19118",
    has_uncommitted_changes=False,
    ended="2026-11-26T08:00:00.000Z",
    changes={},
)


def _models(first: int, second: int) -> dict[str, Any]:
    return {"berth:models": {"digits": {"traffic": {"1": first, "2": second}}}}


def test_update_is_compared_with_the_last_successful_one() -> None:
    history = [
        _FIRST,
        replace(_FIRST, number=2, succeeded=False, config=_models(0, 100)),
        replace(_FIRST, number=3, kind="refresh"),
        replace(_FIRST, number=4, config=_models(50, 50), has_uncommitted_changes=True),
    ]
    releases = list_releases(history)
    assert [release["number"] for release in as_json(releases)] == [1, 2, 4]
    assert as_json(releases)[2]["changes"] == [
        {"path": "berth:models.digits.traffic.1", "before": "90", "after": "50"},
        {"path": "berth:models.digits.traffic.2", "before": "10", "after": "50"},
    ]
    lines = format_text(releases).splitlines()
    assert lines[1].split()[:2] == ["4", "succeeded"]
    assert lines[1].endswith("e863d6c7198a and uncommitted changes")
    assert lines[2].strip() == "berth:models.digits.traffic.1: 90 -> 50"
    assert lines[4].split()[:2] == ["2", "failed"]
    assert lines[-1].strip() == "the first configuration"


def test_added_and_removed_values_and_lists_are_changes() -> None:
    changes = compare_configurations(
        {"berth:gateway": {"allow": ["a"], "port": 1}},
        {"berth:gateway": {"allow": []}},
        frozenset(),
    )
    assert [str(change) for change in changes] == [
        'berth:gateway.allow: ["a"] -> []',
        "berth:gateway.port: 1 -> (none)",
    ]


def test_changed_secrets_are_listed_without_their_values() -> None:
    before = {"berth:gateway": {"clients": {"a": {"key": "in-may", "burst": 1}}}, "other:x": "s1"}
    after = {"berth:gateway": {"clients": {"a": {"key": "in-june", "burst": 2}}}, "other:x": "s2"}
    changes = compare_configurations(before, after, frozenset(before))
    assert [str(change) for change in changes] == [
        "berth:gateway.clients.a.burst: 1 -> 2",
        "berth:gateway.clients.a.key: [secret] -> [secret]",
        "other:x: [secret] -> [secret]",
    ]


def test_report_has_a_section_for_each_kind_of_consequence() -> None:
    report = RollbackReport(
        number=4,
        changes=(),
        kept=("Keys.",),
        obstacles=("models: gone",),
        missing=("image x is missing",),
    )
    assert not report.is_possible
    assert format_report(report).splitlines() == [
        "A rollback to update 4 changes:",
        "  nothing",
        "It keeps:",
        "  Keys.",
        "The release is not complete:",
        "  image x is missing",
        "It would be refused:",
        "  models: gone",
    ]


def test_report_states_that_a_release_is_complete_or_was_not_checked() -> None:
    report = RollbackReport(number=4, changes=(), kept=(), obstacles=(), missing=())
    assert report.is_possible
    assert format_report(report).endswith("\nThe release is complete.")
    unknown = replace(report, missing=None)
    assert unknown.is_possible
    assert "were not checked" in format_report(unknown)


def test_history_shows_whether_a_release_is_complete() -> None:
    releases = list_releases([_FIRST, replace(_FIRST, number=2, config=_models(50, 50))])
    answers = {1: "complete: no: image x is missing"}
    assert "        complete: no: image x is missing" in format_text(releases, answers).splitlines()
    assert [each["completeness"] for each in as_json(releases, answers)] == [answers[1], None]

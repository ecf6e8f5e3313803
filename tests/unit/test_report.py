"""The report for a pull request, and the conditions that must not pass."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from berth.cli.main import main
from berth.operations.cost_changes import CostReport, compare_costs
from berth.operations.fail_on import FailOnError, find_matches, parse_conditions
from berth.operations.history import Change
from berth.operations.report import Report, as_json
from berth.operations.report_markdown import MAX_CHARACTERS, format_markdown, get_marker
from berth.operations.resource_changes import Operation, ResourceChange
from berth.operations.review import find_deployed
from berth.operations.traffic_changes import TrafficChange, compare_traffic
from berth.operations.undo import UndoFacts, judge_all
from berth.operations.update import Update
from berth.platforms import get_platform
from berth.platforms.cost_line import CostLine
from berth.spec import load_file

_NO_SUMMARY: dict[str, Any] = {"changes": {}, "steps": [], "policies": [], "errors": []}


def _change(name: str, operation: str, kind: str = "x:y:Thing", **more: Any) -> ResourceChange:
    return ResourceChange(
        urn=name, type=kind, name=name, component="stack", operation=Operation(operation), **more
    )


def build_report(*changes: ResourceChange, **more: Any) -> Report:
    facts = UndoFacts(release=4, kept_data=get_platform("aws").kept_data)
    return replace(
        Report(
            stack="prod",
            summary=_NO_SUMMARY,
            changes=changes,
            verdicts=judge_all(changes, facts),
            facts=facts,
            configuration=(),
            traffic=(),
            drift=(),
            cost=None,
        ),
        **more,
    )


def _find_titles(text: str) -> list[str]:
    return re.findall(r"^### (.*)", text, re.MULTILINE)


def test_report_begins_with_its_marker_and_the_answer_on_undo() -> None:
    text = format_markdown(
        build_report(_change("a", "update"), _change("b", "delete", "aws:s3/bucket:Bucket"))
    )
    lines = text.splitlines()
    assert lines[0] == get_marker("prod") == "<!-- berth preview prod -->"
    assert lines[1] == "## Stack `prod`: 1 updated, 1 deleted"
    assert lines[3].startswith("**Can this be undone?** Yes, with loss, for 1 of 2 resources.")
    assert "`berth rollback -s prod --to 4`" in lines[3]


def test_lost_data_comes_before_all_other_changes() -> None:
    text = format_markdown(
        build_report(
            _change("a", "update"),
            _change("b", "replace", "aws:kms/key:Key", replaced_by=("spec",)),
            traffic=(TrafficChange(model="m", version="1", before="100%", after="0%"),),
            summary={**_NO_SUMMARY, "errors": ["it failed"]},
        )
    )
    assert _find_titles(text) == [
        "Errors",
        "Deleted or replaced resources that keep data",
        "Traffic",
        "Changes",
    ]
    assert "everything that only this key decrypts" in text


def test_same_report_has_the_same_bytes() -> None:
    violations = [
        {"level": "advisory", "message": message, "urn": "u::a"} for message in ("b", "a", "c")
    ]
    one = build_report(summary={**_NO_SUMMARY, "policies": violations})
    other = build_report(summary={**_NO_SUMMARY, "policies": violations[::-1]})
    assert format_markdown(one) == format_markdown(other)


def test_first_update_is_not_irreversible() -> None:
    """The workflow of a new project previews a stack without a state."""
    change = _change("a", "create", "aws:s3/bucket:Bucket")
    facts = UndoFacts(release=None, kept_data=get_platform("aws").kept_data)
    report = build_report(change, facts=facts, verdicts=judge_all([change], facts))
    assert find_matches(report, parse_conditions("irreversible")) == []
    assert "`berth destroy -s prod` removes everything." in format_markdown(report)


def test_report_says_that_required_signatures_are_not_rolled_back() -> None:
    line = "Signatures are required as in the configuration file, although update 4 required none."
    facts = UndoFacts(release=4, kept_signatures=(line,))
    change = _change("a", "update")
    report = build_report(change, facts=facts, verdicts=judge_all([change], facts))

    assert f"- {line}" in format_markdown(report)
    assert as_json(report)["undo"]["kept"] == [line]
    # What a rollback restores of the resources does not depend on it.
    assert report.verdicts == build_report(change).verdicts


def test_report_without_changes_says_so() -> None:
    text = format_markdown(build_report())
    assert text == "<!-- berth preview prod -->\n## Stack `prod`: no changes\n\n"


def test_long_report_fits_into_a_comment_and_counts_what_is_left_out() -> None:
    changes = [_change(f"name-{number}" * 8, "update") for number in range(2000)]
    bucket = _change("the-bucket", "delete", "aws:s3/bucket:Bucket")
    drift = tuple(f"{number} was changed" for number in range(300))
    text = format_markdown(build_report(*changes, bucket, drift=drift))
    assert MAX_CHARACTERS - 1000 < len(text) <= MAX_CHARACTERS
    assert "| `Bucket the-bucket` | **delete** |" in text
    shown = len(re.findall("^.*Thing name", text, re.MULTILINE))
    left_out = re.findall(r"^(\d+) more lines are left out", text, re.MULTILINE)
    # The deleted bucket is the first row of the changes.
    assert left_out == [str(2000 - shown), "300"]


@pytest.mark.parametrize("size", [3000, 3001, 3100, 4000, 20_000])
def test_limit_is_kept_for_rows_of_any_length(size: int) -> None:
    changes = [_change("x" * (number % 97), "update") for number in range(500)]
    text = format_markdown(build_report(*changes, drift=("y" * 900,) * 40), limit=size)
    assert len(text) <= size


def test_text_of_others_is_no_markup() -> None:
    message = "@all | <img src=x> `a` ``b\n### c"
    text = format_markdown(
        build_report(
            summary={
                **_NO_SUMMARY,
                "errors": [message],
                "policies": [{"level": "mandatory", "message": message, "urn": "u::<b>"}],
            }
        )
    )
    assert "- ```@all \\| <img src=x> `a` ``b ### c```" in text
    assert _find_titles(text) == ["Errors", "Policy"]


def test_secret_values_are_hidden() -> None:
    secret = Change(path="berth:gateway.clients.a.key", before="[secret]", after="[secret]")
    report = build_report(_change("a", "update", properties=("key",)), configuration=(secret,))
    assert "| `berth:gateway.clients.a.key` | `[secret]` | `[secret]` |" in format_markdown(report)
    assert as_json(report)["resources"][0]["properties"] == ("key",)


def _line(item: str, usd: float, service: str = "EC2") -> CostLine:
    return CostLine(
        service=service, item=item, quantity=1, unit="h", unit_usd=usd, source="", is_read=True
    )


def test_costs_are_compared_line_by_line() -> None:
    report = compare_costs(
        [_line("a", 10), _line("b", 5), _line("b", 5)], [_line("b", 10), _line("c", 14)]
    )
    assert (report.before, report.after, report.percent) == (20, 24, 20)
    assert [(x.item, x.before, x.after) for x in report.lines] == [("a", 10, 0), ("c", 0, 14)]
    text = format_markdown(build_report(cost=report))
    assert "### Monthly cost: +4.00 USD, +20.0%" in text
    assert "| EC2: a | 10.00 | 0.00 | -10.00 |" in text


def test_unknown_cost_is_reported_with_its_reason() -> None:
    cost = CostReport(before=None, after=3.0, problem="no prices for sa-east-1")
    assert "Unknown: `no prices for sa-east-1`" in format_markdown(build_report(cost=cost))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("replace", ["--fail-on replace: 'Thing b'"]),
        ("delete", ["--fail-on delete: 'Bucket c'"]),
        ("irreversible", ["--fail-on irreversible: 'Bucket c': yes, with loss: the objects"]),
        ("replace,delete", ["--fail-on replace: 'Thing b'", "--fail-on delete: 'Bucket c'"]),
        ("cost+19.9%", ["--fail-on cost+19.9%: the monthly cost rises from 20.00 to 24.00"]),
        ("cost+20%", []),
    ],
)
def test_condition_names_what_it_matches(condition: str, expected: list[str]) -> None:
    report = build_report(
        _change("a", "update"),
        _change("b", "replace"),
        _change("c", "delete", "aws:s3/bucket:Bucket"),
        cost=CostReport(before=20, after=24),
    )
    matches = find_matches(report, parse_conditions(condition))
    assert len(matches) == len(expected)
    assert all(line.startswith(text) for line, text in zip(matches, expected, strict=True))


@pytest.mark.parametrize(
    ("cost", "matches"),
    [
        (None, False),
        (CostReport(before=0, after=0), False),
        (CostReport(before=0, after=1), True),
        (CostReport(before=None, after=1, problem="no prices"), True),
        (CostReport(before=10, after=5), False),
    ],
)
def test_cost_that_nobody_knows_does_not_pass(cost: CostReport | None, matches: bool) -> None:
    assert bool(find_matches(build_report(cost=cost), parse_conditions("cost+100%"))) is matches


@pytest.mark.parametrize("text", ["", "replaces", "cost", "cost+%", "cost+20", "cost-5%", "a,,b"])
def test_unknown_condition_is_rejected_with_the_known_ones(text: str) -> None:
    with pytest.raises(FailOnError, match=r"replace, delete, irreversible, cost\+N%"):
        parse_conditions(text)


def test_lowest_cost_limit_applies() -> None:
    assert parse_conditions("cost+20%, cost+5%").cost_percent == 5


def _spec(path: Path, models: str) -> Any:
    path.write_text(f"config:\n  berth:platform: local\n  berth:models: {models}\n")
    return load_file(path)


def test_traffic_lists_all_versions_of_a_model_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    before = _spec(path, '{a: {versions: {"1": {}}}, b: {versions: {"1": {}}}}')
    after = _spec(
        path,
        '{a: {versions: {"1": {}, "2": {}, "3": {}}, traffic: {"1": 60, "2": 40}, shadow: "3"}, '
        'b: {versions: {"1": {}}}}',
    )
    assert [(x.model, x.version, x.before, x.after) for x in compare_traffic(before, after)] == [
        ("a", "1", "100%", "60%"),
        ("a", "2", "not deployed", "40%"),
        ("a", "3", "not deployed", "0%, shadow"),
    ]
    assert len(compare_traffic(None, before)) == 2


def _update(number: int, kind: str = "update", *, succeeded: bool = True) -> Update:
    return Update(
        number=number,
        kind=kind,
        succeeded=succeeded,
        config={},
        secrets=frozenset(),
        commit=None,
        has_uncommitted_changes=False,
        ended="",
        changes={},
    )


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], None),
        ([_update(1)], 1),
        ([_update(1), _update(2, succeeded=False)], 1),
        ([_update(1), _update(2, "refresh")], 1),
        ([_update(1), _update(2, "destroy")], None),
        ([_update(1), _update(2, "destroy", succeeded=False)], 1),
        ([_update(1), _update(2, "destroy"), _update(3)], 3),
    ],
)
def test_deployed_configuration_is_that_of_the_latest_success(
    history: list[Update], expected: int | None
) -> None:
    deployed = find_deployed(history)
    assert (deployed.number if deployed else None) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fail-on", "cheap"], "'cheap' is not a condition"),
        (["--markdown", "--json"], "--markdown cannot be combined with --json"),
    ],
)
def test_invalid_options_are_rejected_before_the_stack_is_read(
    arguments: list[str], message: str
) -> None:
    result = CliRunner().invoke(main, ["preview", *arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())

"""A snapshot as text, as JSON, and as a sentence about its health."""

import json
from dataclasses import replace

from berth.operations.watch.snapshot import Snapshot, as_json, describe_health
from berth.operations.watch.terminal import format_snapshot
from tests.unit.watched import START, build_snapshot, interrupt_rollout


def test_text_shows_everything_that_the_snapshot_knows() -> None:
    lines = format_snapshot(build_snapshot())
    text = "\n".join(lines)
    assert lines[0] == "stack     dev on local, 2026-11-26T16:00:00Z"
    assert "about 1,234 USD per month" in text
    assert "problem   metrics: <b>no answer</b>" in text
    row = next(line for line in lines if line.startswith("digits  1"))
    assert row.split()[2:] == ["ready", "-", "90", "%", "no", "20.0", "25.00%", "4.2", "310"]
    shadow = next(line for line in lines if line.startswith("digits  2"))
    assert shadow.split()[2:] == ["stopped", "-", "shadow", "no", "n/a", "n/a", "n/a", "n/a"]
    assert (
        "rates of  digits 2: not available, because no program of it responds (state: stopped)"
        in lines
    )
    assert "digits 1 → 2: watching, version 2 receives 5 % of the traffic" in lines
    assert "  30 s ago: Step 2 of 5" in lines
    assert "digits-2 does not run" in lines
    assert "7     failed     2 min ago" in lines
    assert "      berth:models.digits.traffic.1: 100 -> 90" in lines


def test_text_has_no_control_characters_without_colors() -> None:
    hostile = replace(build_snapshot(), problems=("state: \x1b]0;title\x07\r\nnext",))
    assert all(line.isprintable() for line in format_snapshot(hostile))


def test_colored_line_has_the_same_text_and_is_not_longer_than_the_terminal() -> None:
    snapshot = build_snapshot()
    plain = format_snapshot(snapshot, width=40)
    colored = format_snapshot(snapshot, width=40, has_color=True)
    assert max(len(line) for line in plain) == 40
    for escape in ("\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m"):
        colored = [line.replace(escape, "") for line in colored]
    assert colored == plain


def test_stack_of_which_nothing_is_known_is_shown() -> None:
    empty = Snapshot(stack="dev", at=START, problems=("Stack 'dev' is not deployed.",))
    text = "\n".join(format_snapshot(empty))
    assert "no berths" in text
    assert "not checked yet" in text
    assert "Stack 'dev' is not deployed." in text


def test_json_document_has_the_berths_with_their_rates() -> None:
    document = json.loads(json.dumps(as_json(build_snapshot())))
    assert document["at"] == "2026-11-26T16:00:00Z"
    assert document["berths"][0]["rates"]["failed_share"] == 0.25
    assert document["berths"][1]["rates"] is None


def test_health_names_what_needs_attention_and_contains_no_rates() -> None:
    health = describe_health(build_snapshot())
    assert "1 of 2 berths need attention: digits 2 (stopped)." in health
    assert "Rollout of digits to version 2: watching." in health
    assert "Update 7 failed." in health
    assert health == describe_health(build_snapshot(seconds=60, per_second=99))


def test_health_of_a_stack_without_problems_is_short() -> None:
    snapshot = build_snapshot()
    good = replace(
        snapshot, berths=snapshot.berths[:1], rollouts=(), updates=(), drift=(), problems=()
    )
    assert describe_health(good) == "The berth is ready."


def test_interrupted_rollout_is_shown_with_its_record_and_its_commands() -> None:
    snapshot = interrupt_rollout(build_snapshot())
    lines = format_snapshot(snapshot, width=80)
    first = lines.index("digits 1 → 2: interrupted while watching")
    assert lines[first + 1 : first + 4] == [
        "  step 2 of 5, version 2 receives 5 % of the traffic, since 2026-11-26T15:59:40Z",
        "  continue it with  berth rollout digits 2 -s dev --resume",
        "  end it with       berth rollout digits 2 -s dev --abort",
    ]
    assert "Rollout of digits to version 2: interrupted while watching." in describe_health(
        snapshot
    )
    (rollout,) = as_json(snapshot)["rollouts"]
    assert rollout["is_interrupted"]
    assert rollout["traffic"] == {"1": 95, "2": 5}


def test_narrow_terminal_shows_the_important_columns_and_whole_commands() -> None:
    snapshot = interrupt_rollout(build_snapshot())
    lines = format_snapshot(snapshot, width=60)
    assert max(len(line) for line in lines) <= 60
    titles = next(line for line in lines if line.startswith("MODEL"))
    assert titles.split() == [
        "MODEL",
        "VERSION",
        "STATE",
        "TRAFFIC",
        "REQ/S",
        "ERRORS",
        "P99",
        "MS",
    ]
    assert "  end it with       berth rollout digits 2 -s dev --abort" in lines
    note = lines.index("rates of  digits 2: not available, because no program of it")
    assert lines[note + 1].strip() == "responds (state: stopped)"
    # What does not fit is left out, also of a terminal that is not usable.
    assert max(len(line) for line in format_snapshot(snapshot, width=20)) <= 20

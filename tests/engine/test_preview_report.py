"""The report for a pull request, with the events of the real engine."""

from typing import Any

import pytest

from tests.engine.project import Project

_KEY = "berth_a-secret-key-of-this-test-0123456789"


@pytest.fixture
def changed(up: Project) -> Project:
    """A running stack whose configuration file differs from what is deployed."""

    def change(config: Any) -> None:
        models = config["berth:models"]
        models["digits"].update(traffic={"1": 50, "2": 50}, serving={"threads": 3})
        del models["breast-cancer"]
        config["berth:gateway"]["clients"]["team"] = {}

    up.edit(change)
    path = "berth:gateway.clients.team.key"
    up.pulumi("config", "set", "--secret", "--path", path, stdin=_KEY)
    return up


def test_report_states_the_same_as_the_engine_and_hides_secrets(changed: Project) -> None:
    pids = changed.pids()
    first, second = (changed.berth("preview", "--markdown").stdout for _ in range(2))
    assert first == second
    assert first.startswith("<!-- berth preview local -->\n## Stack `local`: 1 updated, 2 replaced")
    assert "| `breast-cancer` | `1` | 100% | **not deployed** |" in first
    assert "| `digits` | `1` | 90% | **50%** |" in first
    assert "| replace | `environment.BERTH_THREADS` | yes |" in first
    assert "### Predictions of `digits`: `1` to `2`" in first
    assert "of 2 answers change**" in first
    assert "Client 'team' stays." in first
    assert "`[secret]`" in first
    assert _KEY not in first
    assert changed.pids() == pids


def test_document_contains_the_verdict_on_each_change(changed: Project) -> None:
    document = changed.json("preview")
    undo = {entry["name"]: entry["undo"]["undo"] for entry in document["resources"]}
    assert undo == {"breast-cancer-1": "yes", "digits-1": "yes", "digits-2": "yes"} | {
        "gateway": "kept"
    }
    assert document["undo"]["undo"] == "kept"
    assert _KEY not in str(document)


def test_condition_that_is_met_fails_and_is_named(changed: Project) -> None:
    result = changed.berth("preview", "--json", "--fail-on", "irreversible,replace", code=1)
    assert (
        result.stderr.splitlines()[-1]
        == "--fail-on replace: 'BerthProcess digits-1', 'BerthProcess digits-2'"
    )
    changed.berth("preview", "--json", "--fail-on", "irreversible")


def test_change_of_a_models_files_cannot_be_undone(up: Project) -> None:
    """The history has no model files, so a rollback deploys the changed ones again."""
    card = up.root / "models" / "digits" / "2" / "model.yaml"
    text = card.read_text()
    try:
        card.write_text(f"# Another digest.\n{text}")
        report = up.berth("preview", "--fail-on", "irreversible", code=1)
    finally:
        card.write_text(text)
    assert "digest changes with the program or its files" in report.stderr
    assert "**Can this be undone?** No, for" in report.stdout

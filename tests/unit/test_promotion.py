"""Promotions: the change of the other stack's file, and the checks before it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from berth.errors import OperationError
from berth.operations import serving_check
from berth.operations.promotion.plan import Promotion, promote
from berth.operations.promotion.report import as_json, build_pull_request, format_text
from berth.operations.report_markdown import MAX_CHARACTERS
from berth.operations.rollout.journal import Journal, Phase, journal_path
from berth.operations.rollout.plan import Plan
from berth.platforms.preflight import Finding, Status
from berth.spec import SpecError, load_file
from tests.unit.promotion_project import (
    SOURCE_FILE,
    TARGET_FILE,
    Project,
    after_updates,
    create_project,
    registry_lines,
    serve_gateway,
    update,
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    created = create_project(tmp_path)
    created.write(SOURCE_FILE.format(platform="local"), TARGET_FILE.format(platform="local"))
    return created


def _select(promotion: Promotion, check: str) -> list[Finding]:
    return [finding for finding in promotion.findings if finding.check == check]


def _statuses(promotion: Promotion, check: str) -> set[Status]:
    return {finding.status for finding in _select(promotion, check)}


def test_only_the_release_changes_in_the_file(project: Project) -> None:
    promotion = project.plan()
    assert not promotion.has_failed
    promote(promotion, say=lambda _: None)
    one, two = project.digest("1"), project.digest("2")
    expected = TARGET_FILE.format(platform="local").replace(
        '        "1": {}  # since May\n',
        f'        "1":     # since May\n          digest: {one}\n'
        f'        "2":\n          digest: {two}\n',
    )
    expected = expected.replace("# peak load\n", '# peak load\n      traffic: {"1": 50, "2": 50}\n')
    assert project.path("prod").read_text() == expected
    spec = load_file(project.path("prod"))
    assert spec.models["digits"].replicas.min == 3
    assert list(spec.gateway.clients) == ["shop"]


def test_second_promotion_of_the_same_release_changes_nothing(project: Project) -> None:
    promote(project.plan(), say=lambda _: None)
    text = project.path("prod").read_text()
    again = project.plan()
    assert again.diff == ""
    assert "already has this release" in format_text(again)
    promote(again, say=lambda _: None)
    assert project.path("prod").read_text() == text


def test_version_that_only_the_target_has_stays_without_traffic(project: Project) -> None:
    source = SOURCE_FILE.format(platform="local").replace('        "1": {}\n', "")
    project.path("dev").write_text(source.replace('{"1": 50, "2": 50}', '{"2": 100}'))
    promote(project.plan(), say=lambda _: None)
    model = load_file(project.path("prod")).models["digits"]
    assert list(model.versions) == ["1", "2"]
    assert {v: weight for v, weight in model.traffic.items() if weight} == {"2": 100}


def test_shadow_of_the_target_ends_when_the_version_gets_traffic(project: Project) -> None:
    target = TARGET_FILE.format(platform="local").replace(
        '"1": {}  # since May\n',
        '"1": {}\n        "2": {}\n      traffic: {"1": 100}\n      shadow: "2"\n',
    )
    project.path("prod").write_text(target)
    promote(project.plan(), say=lambda _: None)
    model = load_file(project.path("prod")).models["digits"]
    assert model.shadow is None
    assert model.traffic == {"1": 50, "2": 50}


def test_new_model_takes_the_settings_that_the_target_does_not_have(project: Project) -> None:
    target = TARGET_FILE.format(platform="local").replace("digits", "churn")
    shutil.copytree(project.root / "models" / "digits", project.root / "models" / "churn")
    for card in (project.root / "models" / "churn").glob("*/model.yaml"):
        card.write_text(card.read_text().replace("name: digits", "name: churn"))
    project.path("prod").write_text(target)
    promotion = project.plan()
    promote(promotion, say=lambda _: None)
    spec = load_file(project.path("prod"))
    assert list(spec.models) == ["churn", "digits"]
    assert spec.models["digits"].replicas.max == 2
    assert spec.models["churn"].replicas.max == 9
    [comparison] = [each for each in promotion.comparisons if each.after == "2"]
    assert comparison.note == "the model is new"


def test_only_the_named_model_is_promoted(project: Project) -> None:
    with pytest.raises(OperationError, match=r"no model 'churn'. Models: digits"):
        project.plan(models=["churn"])
    assert list(project.plan(models=["digits"]).release.models) == ["digits"]


def test_edit_that_reaches_other_models_through_an_anchor_is_refused(project: Project) -> None:
    shutil.copytree(project.root / "models" / "digits", project.root / "models" / "churn")
    text = """\
config:
  berth:platform: local
  berth:models:
    digits: &model
      versions: {"1": {}}
    churn: *model
"""
    project.path("prod").write_text(text)
    for card in (project.root / "models" / "churn").glob("*/model.yaml"):
        card.write_text(card.read_text().replace("name: digits", "name: churn"))
    with pytest.raises(OperationError, match="also change other values of berth:models"):
        project.plan()
    assert project.path("prod").read_text() == text


def test_release_that_the_target_cannot_run_is_refused(project: Project) -> None:
    target = project.path("prod").read_text()
    card = project.root / "models" / "digits" / "2" / "model.yaml"
    card.write_text(card.read_text().replace("name: label", "name: class"))
    with pytest.raises(SpecError, match=r"With the release, Pulumi\.prod\.yaml") as caught:
        project.plan()
    assert caught.value.problems[-1] == "Nothing was changed."
    assert project.path("prod").read_text() == target


def test_failed_update_stops_the_promotion(project: Project) -> None:
    state = project.state()
    failed = after_updates(state, [*state.history, update(2, state.config, succeeded=False)])
    promotion = project.plan(failed)
    [finding] = _select(promotion, "deployed")
    assert finding.status is Status.FAILED
    assert "its latest update, 2, failed" in finding.detail
    assert finding.fix == "Run 'berth up -s dev'."
    before = project.path("prod").read_text()
    with pytest.raises(OperationError, match="Nothing was changed"):
        promote(promotion, say=lambda _: None)
    assert project.path("prod").read_text() == before


def test_configuration_that_is_not_deployed_stops_the_promotion(project: Project) -> None:
    deployed = project.state()
    text = project.path("dev").read_text().replace("max: 2", "max: 4")
    project.path("dev").write_text(text)
    state = replace(project.state(), history=deployed.history)
    [finding] = _select(project.plan(state), "deployed")
    assert finding.status is Status.FAILED
    assert "berth:models.digits.replicas.max: 2 -> 4" in finding.detail


def test_destroyed_stack_is_not_promoted(project: Project) -> None:
    state = project.state()
    destroyed = replace(update(2, {}), kind="destroy")
    [finding] = _select(project.plan(after_updates(state, [*state.history, destroyed])), "deployed")
    assert (finding.status, finding.detail) == (Status.FAILED, "Stack 'dev' was destroyed.")


def test_files_that_the_source_did_not_deploy_stop_the_promotion(project: Project) -> None:
    state = project.state()
    tested = project.digest("2")
    card = project.root / "models" / "digits" / "2" / "model.yaml"
    card.write_text(card.read_text() + "\n# retrained\n")
    [finding] = _select(project.plan(state), "files")
    assert finding.status is Status.FAILED
    assert f"digits 2 in the project is {project.digest('2')}" in finding.detail
    assert f"'dev' runs {tested}" in finding.detail


def test_rollout_in_progress_stops_the_promotion(project: Project) -> None:
    path = journal_path(project.root, "prod", "digits")
    journal = Journal(
        path=path,
        plan=Plan(
            model="digits",
            version="2",
            stable="1",
            steps=(5, 100),
            bake_seconds=1,
            step_seconds=2,
            limits={},
            slow_seconds=None,
        ),
        phase=Phase.WATCHING,
    )
    journal.save()
    [finding] = _select(project.plan(), "rollouts")
    assert finding.status is Status.FAILED
    assert "berth rollout digits 2 -s prod --resume" in finding.fix
    journal.phase = Phase.PROMOTED
    journal.save()
    assert _select(project.plan(), "rollouts") == []


def test_model_that_answers_its_example_passes(project: Project) -> None:
    project.path("dev").write_text(
        project.path("dev").read_text() + "  berth:gateway: {clients: {default: {}}}\n"
    )
    with serve_gateway() as endpoint:
        project.endpoint = endpoint
        [finding] = _select(project.plan(sends_requests=True), "requests")
    assert (finding.status, finding.detail) == (
        Status.PASSED,
        "Answered through the gateway: digits 1, digits 2.",
    )


@pytest.mark.parametrize("status", [404, 429, 503])
def test_model_that_does_not_answer_stops_the_promotion(
    project: Project, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(serving_check, "_RESPONSE_SECONDS", 0.0)
    with serve_gateway(status) as endpoint:
        project.endpoint = endpoint
        findings = _select(project.plan(sends_requests=True), "requests")
    assert {finding.status for finding in findings} == {Status.FAILED}
    assert [finding.detail.partition(":")[0] for finding in findings] == ["digits 1", "digits 2"]
    assert all(f"got {status}" in finding.detail for finding in findings)


def test_gateway_that_is_not_reachable_names_the_option(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_check, "_RESPONSE_SECONDS", 0.0)
    with serve_gateway() as endpoint:
        project.endpoint = endpoint
    [finding] = _select(project.plan(sends_requests=True), "requests")
    assert finding.status is Status.FAILED
    assert "--no-request" in finding.fix
    assert _statuses(project.plan(), "requests") == {Status.NOT_CHECKED}


def _set_metric(project: Project, version: str, name: str, value: str) -> None:
    card = project.root / "models" / "digits" / version / "model.yaml"
    lines = [
        f"  {name}: {value}" if line.startswith(f"  {name}:") else line
        for line in card.read_text().splitlines()
    ]
    card.write_text("\n".join(lines) + "\n")


def test_better_metrics_pass(project: Project) -> None:
    promotion = project.plan()
    assert _statuses(promotion, "metrics") == {Status.PASSED}
    [finding] = _select(promotion, "metrics")
    assert "digits 2 compared with 1: accuracy 0.9722 -> 0.9926 (better)" in finding.detail


def test_worse_metric_needs_to_be_accepted(project: Project) -> None:
    _set_metric(project, "2", "accuracy", "0.9721")
    promotion = project.plan()
    assert promotion.has_failed
    [finding] = [each for each in _select(promotion, "metrics") if each.status is Status.FAILED]
    assert "accuracy is worse, 0.9722 -> 0.9721 (higher is better)" in finding.detail
    assert "--accept-worse" in finding.fix
    accepted = project.plan(accepts_worse=True)
    assert not accepted.has_failed
    assert Status.WARNING in _statuses(accepted, "metrics")


def test_metrics_are_compared_with_the_version_that_runs(project: Project) -> None:
    """The file of the target can have a split that was not deployed yet."""
    target = TARGET_FILE.format(platform="local").replace(
        '"1": {}  # since May\n', '"1": {}\n        "2": {}\n      traffic: {"2": 100}\n'
    )
    project.path("prod").write_text(target)
    project.deployed_in_target = {
        "digits": {"versions": {"1": {"digest": project.digest("1"), "traffic": 100}}}
    }
    [comparison] = project.plan().comparisons
    assert (comparison.before, comparison.after) == ("1", "2")
    project.deployed_in_target = {}
    [comparison] = project.plan().comparisons
    assert (comparison.before, comparison.after) == ("2", "1")


def test_metrics_of_other_files_than_those_that_run_are_not_compared(project: Project) -> None:
    project.deployed_in_target = {
        "digits": {"versions": {"1": {"digest": f"sha256:{'0' * 64}", "traffic": 100}}}
    }
    promotion = project.plan()
    assert _statuses(promotion, "metrics") == {Status.NOT_CHECKED}
    assert "as it runs in 'prod' is not in the project" in _select(promotion, "metrics")[0].detail


def test_unknown_metric_is_reported_and_not_judged(project: Project) -> None:
    for version, value in (("1", "0.9"), ("2", "0.1")):
        card = project.root / "models" / "digits" / version / "model.yaml"
        card.write_text(card.read_text().replace("  accuracy:", "  quality:"))
        _set_metric(project, version, "quality", value)
    promotion = project.plan()
    assert not promotion.has_failed
    assert any(
        "not judged: quality 0.9 -> 0.1" in finding.detail
        for finding in _select(promotion, "metrics")
    )


def test_file_that_somebody_changed_meanwhile_is_not_overwritten(project: Project) -> None:
    promotion = project.plan()
    changed = promotion.before + "# mine\n"
    project.path("prod").write_text(changed)
    with pytest.raises(OperationError, match="changed by somebody else"):
        promote(promotion, say=lambda _: None)
    assert project.path("prod").read_text() == changed


def test_target_on_another_platform_builds_from_the_same_digest(project: Project) -> None:
    target = TARGET_FILE.format(platform="kubernetes") + registry_lines("127.0.0.1:9/berth")
    project.path("prod").write_text(target)
    promotion = project.plan(compares_stacks=True)
    assert not promotion.has_failed
    assert promotion.images.pins == {}
    [finding] = _select(promotion, "images")
    assert finding.status is Status.OPTIONAL
    assert "builds one of the same model files: digits/1, digits/2" in finding.detail
    assert _statuses(promotion, "parity") == {Status.NOT_CHECKED}


def test_pull_request_states_change_checks_digests_and_metrics(project: Project) -> None:
    promotion = project.plan()
    request = build_pull_request(promotion)
    assert request == build_pull_request(project.plan())
    assert request.branch.startswith("promote-dev-to-prod-")
    assert request.title == "Promote digits 1/2 from dev to prod"
    assert promotion.diff.rstrip() in request.body
    assert project.digest("2") in request.body
    assert "| digits | log_loss | 0.1023 (version 1) | 0.0313 (version 2) | lower | better |" in (
        request.body
    )
    for finding in promotion.findings:
        assert f"| {finding.check} | {finding.status} |" in request.body


def test_pull_request_of_a_failed_check_says_so(project: Project) -> None:
    _set_metric(project, "2", "accuracy", "0.1")
    assert "**A check failed.** Do not merge." in build_pull_request(project.plan()).body


def test_pull_request_fits_into_a_comment(project: Project) -> None:
    promotion = project.plan()
    finding = Finding(check="images", status=Status.OPTIONAL, detail="x" * 600)
    long = replace(promotion, findings=(finding,) * 200)
    body = build_pull_request(long).body
    assert len(body) <= MAX_CHARACTERS
    assert body.endswith("The rest is left out; see `berth promote --json`.\n")


def test_json_lists_digests_traffic_and_checks(project: Project) -> None:
    document = as_json(project.plan(), was_written=False)
    assert document["models"]["digits"]["traffic"] == {"1": 50, "2": 50}
    assert document["models"]["digits"]["versions"]["2"] == {
        "digest": project.digest("2"),
        "image": None,
    }
    assert (document["passed"], document["changed"], document["written"]) == (True, True, False)
    assert {each["check"] for each in document["checks"]} >= {"deployed", "files", "metrics"}

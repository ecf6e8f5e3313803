"""`berth monitoring`: the files that it writes and replaces, for stacks of each platform."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from berth.cli.main import main
from berth.cli.monitoring import monitoring
from berth.operations.monitoring import build_monitoring
from berth.platforms.stack_context import StackContext
from berth.spec import load_file
from berth.spec.parent_gateway import ParentGatewaySpec
from tests.repository import REPOSITORY

_STACK = """\
config:
  berth:platform: local
  berth:gateway: {clients: {partner: {quota: {requests: 500}}}}
  berth:models: {digits: {versions: {"1": {}, "2": {exposed: false}}, traffic: {"1": 100}}}
"""

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in a project with one stack, with `out` as directory."""
    (tmp_path / "Pulumi.yaml").write_text("name: shop\nruntime: python\n")
    (tmp_path / "Pulumi.local.yaml").write_text(_STACK)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, ["monitoring", "--into", "out", *arguments])


def _build(name: str, **kubernetes: Any) -> tuple[dict[str, Any], str]:
    """Return the rules of a stack of this repository, and all files as text."""
    spec = load_file(REPOSITORY / f"Pulumi.{name}.yaml")
    spec = spec.model_copy(update={"kubernetes": spec.kubernetes.model_copy(update=kubernetes)})
    files = build_monitoring(StackContext(root=REPOSITORY, stack=name, spec=spec)).files
    return yaml.safe_load(files["rules.yaml"]), "".join(files.values())


def test_files_are_written_and_replaced(run: Run, tmp_path: Path) -> None:
    result = run("--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    dashboard = json.loads((tmp_path / document["dashboard"]).read_text())
    rules = yaml.safe_load((tmp_path / document["rules"]).read_text())
    assert dashboard["uid"] == document["dashboard_uid"]
    assert document["labels"] == {}
    written = {rule["alert"] for group in rules["groups"] for rule in group["rules"]
               if "alert" in rule}  # fmt: skip
    assert written == {*document["alerts"]}
    assert {"BerthErrorBudgetBurn", "BerthQuotaNearlyUsed", "BerthGatewayAbsent"} <= written
    text = (tmp_path / "Pulumi.local.yaml").read_text()
    (tmp_path / "Pulumi.local.yaml").write_text(text.replace("500", "700"))
    result = run()
    assert result.exit_code == 0, result.output
    assert "/ 700 >" in (tmp_path / "out" / "rules.yaml").read_text()
    assert f"    - {tmp_path / 'out' / 'rules.yaml'}\n" in result.stdout


@pytest.mark.parametrize("name", ["dashboard.json", "rules.yaml"])
def test_file_that_the_command_did_not_write_is_kept(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("groups: []\n")
    result = run()
    assert result.exit_code == 1
    assert f"out/{name} was not written by 'berth monitoring'. Nothing was changed" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    assert (tmp_path / "out" / name).read_text() == "groups: []\n"


def test_directory_that_cannot_be_written_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out" / "rules.yaml").mkdir(parents=True)
    result = run()
    assert result.exit_code == 1
    assert "Cannot write to out/rules.yaml: Is a directory." in result.stderr


def test_labels_select_the_series_of_the_stack(run: Run, tmp_path: Path) -> None:
    assert run("--label", "job=shop", "--label", 'note="a"=b').exit_code == 0
    rules = (tmp_path / "out" / "rules.yaml").read_text()
    assert 'absent(berth_gateway_in_flight{job="shop",note="\\"a\\"=b"})' in rules


@pytest.mark.parametrize("label", ["job", "a b=c", "=x", "job="])
def test_invalid_label_is_rejected_before_anything_is_written(
    run: Run, tmp_path: Path, label: str
) -> None:
    result = run("--label", label)
    assert result.exit_code == 2
    assert f"'{label}' is not NAME=VALUE" in result.stderr
    assert not (tmp_path / "out").exists()


def test_command_needs_a_directory() -> None:
    result = CliRunner().invoke(monitoring, ["-s", "local"])
    assert result.exit_code == 2
    assert "--into" in result.stderr


def test_stack_in_a_cluster_is_selected_by_namespace_and_counted_in_the_berths() -> None:
    rules, text = _build("kubernetes")
    assert 'berth_requests_total{namespace="berth"' in text.replace("\\", "")
    assert "BerthAbsent" in {rule.get("alert") for rule in rules["groups"][1]["rules"]}


def test_stack_behind_an_existing_gateway_is_counted_in_its_own_gateway() -> None:
    parent = ParentGatewaySpec.model_validate({"name": "shared", "namespace": "infra"})
    _, text = _build("kubernetes", parent_gateway=parent)
    assert "berth_gateway_requests_total" in text
    assert "berth_requests_total" not in text


def test_cold_standby_without_replicas_is_not_expected() -> None:
    spec = load_file(REPOSITORY / "Pulumi.kubernetes.yaml")
    digits = spec.models["digits"]
    cold = digits.versions["1"].model_copy(update={"standby": "cold", "exposed": False})
    versions = {**digits.versions, "3": cold}
    models = {**spec.models, "digits": digits.model_copy(update={"versions": versions})}
    context = StackContext(
        root=REPOSITORY, stack="kubernetes", spec=spec.model_copy(update={"models": models})
    )
    berths = build_monitoring(context).stack.berths
    assert ("digits", "1") in berths
    assert ("digits", "3") not in berths


def test_thresholds_on_aws_are_those_of_the_cloudwatch_alarms() -> None:
    spec = load_file(REPOSITORY / "Pulumi.prod.yaml")
    alarms = spec.observability.alarms.model_copy(update={"latency_p99_ms": 123.0, "minutes": 9})
    observability = spec.observability.model_copy(update={"alarms": alarms})
    context = StackContext(
        root=REPOSITORY,
        stack="prod",
        spec=spec.model_copy(update={"observability": observability}),
    )
    rules = yaml.safe_load(build_monitoring(context).files["rules.yaml"])
    (slow,) = [rule for rule in rules["groups"][1]["rules"] if rule["alert"] == "BerthLatencyHigh"]
    assert slow["expr"].endswith("> 0.123")
    assert slow["for"] == "9m"

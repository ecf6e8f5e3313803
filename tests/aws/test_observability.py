"""The components of observability: topic, log groups, metrics, alarms, dashboards, budget."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.aws.emulation import ACCOUNT, REGION, Emulation
from tests.aws.program import Program

_PROGRAM = """
import pulumi
from pulumi_berth.aws.alarm_plan import AlarmThresholds
from pulumi_berth.aws.alarm_topic import AlarmTopic, AlarmTopicArgs, alarm_key_statements
from pulumi_berth.aws.logs import ContainerLogs, ContainerLogsArgs
from pulumi_berth.aws.budget import BudgetScope, MonthlyBudget, MonthlyBudgetArgs
from pulumi_berth.aws.encryption_key import EncryptionKey, EncryptionKeyArgs, allow_service
from pulumi_berth.aws.logs import LogSettings, create_log_group
from pulumi_berth.aws.observability import Observability, ObservabilityArgs
from pulumi_berth.aws.metrics import MonitoredModel

ACCOUNT, REGION = "123456789012", "us-east-1"

key = EncryptionKey("watch", EncryptionKeyArgs(
    stack_name="test",
    purpose="Logs and alarms", account=ACCOUNT, deletion_window_days=7,
    statements=[allow_service(f"logs.{REGION}.amazonaws.com"), *alarm_key_statements()],
))
logs = LogSettings(path_prefix="/berth/test", days=14, key=key.arn)
topic = AlarmTopic("alarms", AlarmTopicArgs(
    account=ACCOUNT, region=REGION, key=key.arn, emails=["ml@example.com"]))
ContainerLogs("containers", ContainerLogsArgs(cluster_name="berth-test", logs=logs))
access_log = create_log_group("access", logs, pulumi.ResourceOptions())
watch = Observability("watch", ObservabilityArgs(
    stack_name="test",
    region=REGION, topic_arn=topic.arn,
    models=[
        MonitoredModel(name="digits", versions=["1", "2"], compute="cpu", queue=256),
        MonitoredModel(name="texts", versions=["1.5"], compute="gpu", queue=0),
    ],
    api_name="berth-test", api_stage="v2", access_log=access_log.name,
    load_balancer="net/berth/50dc6c495c0c9188", target_group="targetgroup/berth/73e2d6bc24d8a067",
    cluster_name=pulumi.Output.from_input("berth-test"), namespace="berth",
    repositories=["berth/digits", pulumi.Output.from_input("berth/base")],
    thresholds=AlarmThresholds(
        error_percent=1, latency_p99_ms=500, rate_limited_percent=5,
        saturation_percent=85, minutes=5),
))
budget = MonthlyBudget("budget", MonthlyBudgetArgs(
    scope=BudgetScope.STACK,
    stack_name="test",
    monthly_usd=900.5, alert_percents=[50, 80, 100], emails=["ml@example.com"]))
for what, value in dict(
    topic=topic.arn, key=key.arn, access_log=access_log.name, dashboards=watch.dashboards,
    alarms=watch.alarms, budget=budget.budget,
).items():
    pulumi.export(what, value)
"""


@pytest.fixture(scope="module")
def program(new_program: Callable[[str], Program]) -> Iterator[Program]:
    program = new_program("watch").write(_PROGRAM)
    program.up()
    yield program
    topic = program.outputs()["topic"]
    program.destroy()
    left = program.aws.client("cloudwatch")
    assert left.describe_alarms(AlarmNamePrefix="watch-")["MetricAlarms"] == []
    assert left.list_dashboards(DashboardNamePrefix="berth-test-")["DashboardEntries"] == []
    assert program.aws.client("events").list_rules(NamePrefix="watch-")["Rules"] == []
    assert topic not in {
        entry["TopicArn"] for entry in program.aws.client("sns").list_topics()["Topics"]
    }
    groups = program.aws.client("logs").describe_log_groups(
        logGroupNamePrefix="/aws/containerinsights/berth-test/"
    )
    assert groups["logGroups"] == []


@pytest.fixture(scope="module")
def outputs(program: Program) -> dict[str, Any]:
    return program.outputs()


@pytest.fixture(scope="module")
def alarms(program: Program) -> dict[str, dict[str, Any]]:
    """Return the alarms by logical name."""
    found = program.aws.client("cloudwatch").describe_alarms(AlarmNamePrefix="watch-")
    return {
        alarm["AlarmName"].removeprefix("watch-").rpartition("-")[0]: alarm
        for alarm in found["MetricAlarms"]
    }


def test_second_preview_is_empty(program: Program) -> None:
    assert program.changes() == {}


def test_topic_lets_only_monitoring_services_publish_over_tls(
    aws: Emulation, outputs: dict[str, Any]
) -> None:
    attributes = aws.client("sns").get_topic_attributes(TopicArn=outputs["topic"])["Attributes"]
    assert attributes["KmsMasterKeyId"] == outputs["key"]
    statements = json.loads(attributes["Policy"])["Statement"]
    (denied,) = (entry for entry in statements if entry["Effect"] == "Deny")
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    allowed = {
        entry["Principal"]["Service"]: entry.get("Condition")
        for entry in statements
        if entry["Effect"] == "Allow"
    }
    assert set(allowed) == {f"{who}.amazonaws.com" for who in ("cloudwatch", "budgets", "events")}
    for who, source in {
        "cloudwatch": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:*",
        "budgets": f"arn:aws:budgets::{ACCOUNT}:*",
    }.items():
        assert allowed[f"{who}.amazonaws.com"] == {
            "StringEquals": {"aws:SourceAccount": ACCOUNT},
            "ArnLike": {"aws:SourceArn": source},
        }
    assert {entry["Action"] for entry in statements} == {"sns:Publish"}


def test_key_lets_publishers_encrypt(aws: Emulation, outputs: dict[str, Any]) -> None:
    policy = aws.client("kms").get_key_policy(KeyId=outputs["key"], PolicyName="default")
    users = {
        entry["Principal"].get("Service") for entry in json.loads(policy["Policy"])["Statement"]
    }
    assert {f"{who}.amazonaws.com" for who in ("cloudwatch", "budgets", "events")} <= users


def test_email_addresses_are_subscribed(aws: Emulation, outputs: dict[str, Any]) -> None:
    found = aws.client("sns").list_subscriptions_by_topic(TopicArn=outputs["topic"])
    (subscription,) = found["Subscriptions"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "ml@example.com")


def test_container_logs_are_encrypted_and_expire(aws: Emulation, outputs: dict[str, Any]) -> None:
    groups = aws.client("logs").describe_log_groups(
        logGroupNamePrefix="/aws/containerinsights/berth-test/"
    )["logGroups"]
    assert {group["logGroupName"].rpartition("/")[2] for group in groups} == {
        "application", "dataplane", "host", "performance", "prometheus",
    }  # fmt: skip
    for group in groups:
        assert (group["retentionInDays"], group["kmsKeyId"]) == (14, outputs["key"])


def test_access_log_has_metrics_for_each_model(aws: Emulation, outputs: dict[str, Any]) -> None:
    filters = aws.client("logs").describe_metric_filters(logGroupName=outputs["access_log"])
    found = {}
    for entry in filters["metricFilters"]:
        (transformation,) = entry["metricTransformations"]
        key = transformation["metricNamespace"], transformation["metricName"]
        found[key] = (entry["filterPattern"], transformation)
    assert {namespace for namespace, _ in found} == {"Berth/test/digits", "Berth/test/texts"}
    assert len(found) == 8
    pattern, rate_limited = found["Berth/test/digits", "RateLimited"]
    assert '$.path = "*/v2/models/digits/*"' in pattern
    assert "$.status = 429" in pattern
    assert (rate_limited["metricValue"], rate_limited["defaultValue"]) == ("1", 0.0)
    _, latency = found["Berth/test/digits", "Latency"]
    assert latency["metricValue"] == "$.latency"
    assert "defaultValue" not in latency


def test_each_model_and_the_stack_have_alarms(
    alarms: dict[str, dict[str, Any]], outputs: dict[str, Any]
) -> None:
    assert set(alarms) == {
        "errors", "unhealthy-nodes", "failed-nodes",
        "digits-errors", "digits-latency", "digits-rate-limited",
        "digits-1-cpu", "digits-1-queue", "digits-2-cpu", "digits-2-queue",
        "texts-errors", "texts-latency", "texts-rate-limited", "texts-1-5-gpu",
    }  # fmt: skip
    assert {alarm["AlarmArn"] for alarm in alarms.values()} == set(outputs["alarms"])
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [outputs["topic"]]
        assert alarm["TreatMissingData"] == "notBreaching"
        assert (alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]) == (5, 5)
        (result,) = (entry for entry in alarm["Metrics"] if entry.get("ReturnData", True))
        assert "Expression" in result or len(alarm["Metrics"]) == 1


def test_alarms_read_metrics_of_their_subject(alarms: dict[str, dict[str, Any]]) -> None:
    errors = {entry["Id"]: entry for entry in alarms["digits-errors"]["Metrics"]}
    assert errors["percent"]["Expression"] == "IF(requests > 0, 100 * errors / requests, 0)"
    assert errors["errors"]["MetricStat"]["Metric"]["Namespace"] == "Berth/test/digits"
    alarm = alarms["digits-1-cpu"]
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 85)
    (used,) = alarm["Metrics"]
    metric = used["MetricStat"]["Metric"]
    assert metric["MetricName"] == "pod_cpu_utilization_over_pod_limit"
    assert {entry["Name"]: entry["Value"] for entry in metric["Dimensions"]} == {
        "ClusterName": "berth-test", "Namespace": "berth", "PodName": "digits-1",
    }  # fmt: skip
    (gpu,) = alarms["texts-1-5-gpu"]["Metrics"]
    assert gpu["MetricStat"]["Metric"]["MetricName"] == "pod_gpu_utilization"
    (latency,) = alarms["digits-latency"]["Metrics"]
    assert (latency["MetricStat"]["Stat"], latency["MetricStat"]["Period"]) == ("p99", 60)


def test_each_model_and_the_stack_have_a_dashboard(aws: Emulation, outputs: dict[str, Any]) -> None:
    cloudwatch = aws.client("cloudwatch")
    assert outputs["dashboards"] == [
        "berth-test-stack", "berth-test-model-digits", "berth-test-model-texts",
    ]  # fmt: skip
    for name in outputs["dashboards"]:
        body = json.loads(cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"])
        assert len(body["widgets"]) == 6
    assert '"berth-test", "model", "texts"' in json.dumps(body)


def _scan(repository: str, **counts: int) -> Any:
    """Return an event in ECR's format."""
    return {
        "source": "aws.ecr",
        "detail-type": "ECR Image Scan",
        "detail": {
            "scan-status": "COMPLETE",
            "repository-name": repository,
            "finding-severity-counts": counts,
        },
    }


def test_critical_and_high_findings_are_sent_to_topic(
    aws: Emulation, outputs: dict[str, Any]
) -> None:
    # Import here: without moto these tests are skipped with a reason.
    from moto.events.models import EventPattern

    events = aws.client("events")
    (rule,) = events.list_rules(NamePrefix="watch-scans")["Rules"]
    pattern = json.loads(rule["EventPattern"])
    assert pattern["detail-type"] == ["ECR Image Scan"]
    assert pattern["detail"]["repository-name"] == ["berth/base", "berth/digits"]
    matcher = EventPattern.load(rule["EventPattern"])
    assert matcher.matches_event(_scan("berth/digits", CRITICAL=1))
    assert matcher.matches_event(_scan("berth/base", HIGH=2, LOW=1))
    assert not matcher.matches_event(_scan("berth/digits", LOW=9))
    assert not matcher.matches_event(_scan("another/digits", CRITICAL=1))
    (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    assert target["Arn"] == outputs["topic"]


def test_budget_counts_only_the_stack(aws: Emulation, outputs: dict[str, Any]) -> None:
    budgets = aws.client("budgets", "us-east-1")
    named = {"AccountId": ACCOUNT, "BudgetName": outputs["budget"]}
    budget = budgets.describe_budget(**named)["Budget"]
    assert float(budget["BudgetLimit"]["Amount"]) == 900.5
    assert budget["CostFilters"] == {"TagKeyValue": ["user:berth:stack$test"]}
    messages = budgets.describe_notifications_for_budget(**named)["Notifications"]
    assert {(entry["NotificationType"], entry["Threshold"]) for entry in messages} == {
        ("ACTUAL", 50), ("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100),
    }  # fmt: skip

"""What watches a stack, alone: topic, log groups, metrics of the access log, alarms, dashboards,
word of findings, budget."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.aws.emulation import ACCOUNT, REGION, Emulation
from tests.aws.program import Program

_PROGRAM = """
import pulumi
from pulumi_berth.aws.alarm_plan import AlarmThresholds
from pulumi_berth.aws.alarm_topic import AlarmTopic, AlarmTopicArgs, alarm_key_users
from pulumi_berth.aws.container_logs import ContainerLogs, ContainerLogsArgs
from pulumi_berth.aws.cost import Cost, CostArgs
from pulumi_berth.aws.encryption_key import EncryptionKey, EncryptionKeyArgs, service_use
from pulumi_berth.aws.log_group import LogSettings, log_group
from pulumi_berth.aws.observability import Observability, ObservabilityArgs
from pulumi_berth.aws.watched import WatchedModel

ACCOUNT, REGION = "123456789012", "us-east-1"

key = EncryptionKey("watch", EncryptionKeyArgs(
    purpose="Logs and alarms", account=ACCOUNT, deletion_window_days=7,
    users=[service_use(f"logs.{REGION}.amazonaws.com"), *alarm_key_users()],
))
logs = LogSettings(days=14, key=key.arn)
topic = AlarmTopic("alarms", AlarmTopicArgs(
    account=ACCOUNT, region=REGION, key=key.arn, emails=["ml@example.com"]))
ContainerLogs("containers", ContainerLogsArgs(cluster_name="berth-test", logs=logs))
access_log = log_group("access", logs, pulumi.ResourceOptions())
watch = Observability("watch", ObservabilityArgs(
    region=REGION, topic_arn=topic.arn,
    models=[
        WatchedModel(name="digits", versions=["1", "2"], compute="cpu", queue=256),
        WatchedModel(name="texts", versions=["1.5"], compute="gpu", queue=0),
    ],
    api_name="berth-test", api_stage="v2", access_log=access_log.name,
    load_balancer="net/berth/50dc6c495c0c9188", target_group="targetgroup/berth/73e2d6bc24d8a067",
    cluster_name=pulumi.Output.from_input("berth-test"), namespace="berth",
    repositories=["berth/digits", pulumi.Output.from_input("berth/base")],
    thresholds=AlarmThresholds(
        error_percent=1, latency_p99_ms=500, rate_limited_percent=5,
        saturation_percent=85, minutes=5),
))
cost = Cost("cost", CostArgs(
    monthly_usd=900.5, alert_percents=[50, 80, 100], emails=["ml@example.com"]))
for what, value in dict(
    topic=topic.arn, key=key.arn, access_log=access_log.name, dashboards=watch.dashboards,
    alarms=watch.alarms, budget=cost.budget,
).items():
    pulumi.export(what, value)
"""


@pytest.fixture(scope="module")
def program(new_program: Callable[[str], Program]) -> Iterator[Program]:
    made = new_program("watch").write(_PROGRAM)
    made.up()
    yield made
    topic = made.outputs()["topic"]
    made.destroy()
    left = made.aws.client("cloudwatch")
    assert left.describe_alarms(AlarmNamePrefix="watch-")["MetricAlarms"] == []
    assert left.list_dashboards(DashboardNamePrefix="berth-test-")["DashboardEntries"] == []
    assert made.aws.client("events").list_rules(NamePrefix="watch-")["Rules"] == []
    assert topic not in {
        entry["TopicArn"] for entry in made.aws.client("sns").list_topics()["Topics"]
    }
    groups = made.aws.client("logs").describe_log_groups(
        logGroupNamePrefix="/aws/containerinsights/berth-test/"
    )
    assert groups["logGroups"] == []


@pytest.fixture(scope="module")
def outputs(program: Program) -> dict[str, Any]:
    return program.outputs()


@pytest.fixture(scope="module")
def alarms(program: Program) -> dict[str, dict[str, Any]]:
    """Logical name -> alarm."""
    found = program.aws.client("cloudwatch").describe_alarms(AlarmNamePrefix="watch-")
    return {
        alarm["AlarmName"].removeprefix("watch-").rpartition("-")[0]: alarm
        for alarm in found["MetricAlarms"]
    }


def test_a_further_preview_is_empty(program: Program) -> None:
    assert program.changes() == {}


def test_only_those_that_watch_publish_and_over_tls(
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


def test_the_key_lets_them_encrypt(aws: Emulation, outputs: dict[str, Any]) -> None:
    policy = aws.client("kms").get_key_policy(KeyId=outputs["key"], PolicyName="default")
    users = {
        entry["Principal"].get("Service") for entry in json.loads(policy["Policy"])["Statement"]
    }
    assert {f"{who}.amazonaws.com" for who in ("cloudwatch", "budgets", "events")} <= users


def test_addresses_are_asked_to_confirm(aws: Emulation, outputs: dict[str, Any]) -> None:
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


def test_the_access_log_is_counted_by_model(aws: Emulation, outputs: dict[str, Any]) -> None:
    filters = aws.client("logs").describe_metric_filters(logGroupName=outputs["access_log"])
    found = {}
    for entry in filters["metricFilters"]:
        (made,) = entry["metricTransformations"]
        found[made["metricNamespace"], made["metricName"]] = (entry["filterPattern"], made)
    assert {namespace for namespace, _ in found} == {"Berth/test/digits", "Berth/test/texts"}
    assert len(found) == 8
    pattern, throttled = found["Berth/test/digits", "Throttled"]
    assert '$.path = "*/v2/models/digits/*"' in pattern
    assert "$.status = 429" in pattern
    assert (throttled["metricValue"], throttled["defaultValue"]) == ("1", 0.0)
    _, latency = found["Berth/test/digits", "Latency"]
    assert latency["metricValue"] == "$.latency"
    assert "defaultValue" not in latency


def test_alarms_of_each_model_and_of_what_they_share(
    alarms: dict[str, dict[str, Any]], outputs: dict[str, Any]
) -> None:
    assert set(alarms) == {
        "errors", "unhealthy-nodes", "failed-nodes",
        "digits-errors", "digits-latency", "digits-throttled",
        "digits-1-processor", "digits-1-queue", "digits-2-processor", "digits-2-queue",
        "texts-errors", "texts-latency", "texts-throttled", "texts-1-5-processor",
    }  # fmt: skip
    assert {alarm["AlarmArn"] for alarm in alarms.values()} == set(outputs["alarms"])
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [outputs["topic"]]
        assert alarm["TreatMissingData"] == "notBreaching"
        assert (alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]) == (5, 5)
        (judged,) = (entry for entry in alarm["Metrics"] if entry.get("ReturnData", True))
        assert "Expression" in judged or len(alarm["Metrics"]) == 1


def test_an_alarm_reads_what_it_judges(alarms: dict[str, dict[str, Any]]) -> None:
    errors = {entry["Id"]: entry for entry in alarms["digits-errors"]["Metrics"]}
    assert errors["percent"]["Expression"] == "IF(requests > 0, 100 * errors / requests, 0)"
    assert errors["errors"]["MetricStat"]["Metric"]["Namespace"] == "Berth/test/digits"
    alarm = alarms["digits-1-processor"]
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 85)
    (used,) = alarm["Metrics"]
    metric = used["MetricStat"]["Metric"]
    assert metric["MetricName"] == "pod_cpu_utilization_over_pod_limit"
    assert {entry["Name"]: entry["Value"] for entry in metric["Dimensions"]} == {
        "ClusterName": "berth-test", "Namespace": "berth", "PodName": "digits-1",
    }  # fmt: skip
    (gpu,) = alarms["texts-1-5-processor"]["Metrics"]
    assert gpu["MetricStat"]["Metric"]["MetricName"] == "pod_gpu_utilization"
    (latency,) = alarms["digits-latency"]["Metrics"]
    assert (latency["MetricStat"]["Stat"], latency["MetricStat"]["Period"]) == ("p99", 60)


def test_a_dashboard_for_each_model_and_the_stack(aws: Emulation, outputs: dict[str, Any]) -> None:
    cloudwatch = aws.client("cloudwatch")
    assert outputs["dashboards"] == [
        "berth-test-stack", "berth-test-model-digits", "berth-test-model-texts",
    ]  # fmt: skip
    for name in outputs["dashboards"]:
        body = json.loads(cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"])
        assert len(body["widgets"]) == 6
    assert '"berth-test", "model", "texts"' in json.dumps(body)


def _scan(repository: str, **counts: int) -> Any:
    """An event as ECR sends it."""
    return {
        "source": "aws.ecr",
        "detail-type": "ECR Image Scan",
        "detail": {
            "scan-status": "COMPLETE",
            "repository-name": repository,
            "finding-severity-counts": counts,
        },
    }


def test_grave_findings_are_told(aws: Emulation, outputs: dict[str, Any]) -> None:
    # Not above: without moto these tests are skipped, and say so.
    from moto.events.models import EventPattern

    events = aws.client("events")
    (rule,) = events.list_rules(NamePrefix="watch-scans")["Rules"]
    pattern = json.loads(rule["EventPattern"])
    assert pattern["detail-type"] == ["ECR Image Scan"]
    assert pattern["detail"]["repository-name"] == ["berth/base", "berth/digits"]
    taken = EventPattern.load(rule["EventPattern"])
    assert taken.matches_event(_scan("berth/digits", CRITICAL=1))
    assert taken.matches_event(_scan("berth/base", HIGH=2, LOW=1))
    assert not taken.matches_event(_scan("berth/digits", LOW=9))
    assert not taken.matches_event(_scan("another/digits", CRITICAL=1))
    (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    assert target["Arn"] == outputs["topic"]


def test_the_budget_is_the_stacks_own(aws: Emulation, outputs: dict[str, Any]) -> None:
    budgets = aws.client("budgets", "us-east-1")
    named = {"AccountId": ACCOUNT, "BudgetName": outputs["budget"]}
    budget = budgets.describe_budget(**named)["Budget"]
    assert float(budget["BudgetLimit"]["Amount"]) == 900.5
    assert budget["CostFilters"] == {"TagKeyValue": ["user:berth:stack$test"]}
    messages = budgets.describe_notifications_for_budget(**named)["Notifications"]
    assert {(entry["NotificationType"], entry["Threshold"]) for entry in messages} == {
        ("ACTUAL", 50), ("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100),
    }  # fmt: skip

"""The comparison of scanners' findings with accepted ones, and the Terraform plan for Checkov."""

import json
from dataclasses import replace
from typing import Any

from tools.audit import (
    Accepted,
    Finding,
    find_differences,
    read_accepted,
    read_checkov_report,
    read_prowler_report,
)
from tools.terraform_plan import build_manifests, build_plan, find_type

_BUCKET = {
    "type": "aws:s3/bucket:Bucket",
    "name": "data",
    "inputs": {"bucket": "berth-data", "tags": {"costCenter": "ml"}, "forceDestroy": None},
}
_VERSIONING = {
    "type": "aws:s3/bucketVersioning:BucketVersioning",
    "name": "data",
    "inputs": {"bucket": "berth-data", "versioningConfiguration": {"status": "Enabled"}},
}


def _plan(*resources: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the planned values and the expressions of each address."""
    plan = build_plan(resources)
    values = plan["planned_values"]["root_module"]["resources"]
    expressions = plan["configuration"]["root_module"]["resources"]
    return {
        one["address"]: {"values": one["values"], "expressions": other["expressions"]}
        for one, other in zip(values, expressions, strict=True)
    }


def test_plan_has_blocks_as_lists_and_maps_as_objects() -> None:
    plan = _plan(_BUCKET, _VERSIONING)
    assert plan["aws_s3_bucket.data"]["values"] == {
        "bucket": "berth-data",
        "tags": {"costCenter": "ml"},
    }
    versioning = plan["aws_s3_bucket_versioning.data"]["values"]
    assert versioning["versioning_configuration"] == [{"status": "Enabled"}]


def test_plan_connects_resources_by_output_and_by_bucket_name() -> None:
    log = {
        "type": "aws:cloudwatch/logGroup:LogGroup",
        "name": "api",
        "inputs": {"kmsKeyId": "arn of aws:kms/key:Key logs-key", "retentionInDays": 14.0},
    }
    plan = _plan(_BUCKET, _VERSIONING, log)
    assert plan["aws_s3_bucket_versioning.data"]["expressions"]["bucket"] == {
        "references": ["aws_s3_bucket.data.id", "aws_s3_bucket.data"]
    }
    group = plan["aws_cloudwatch_log_group.api"]
    assert group["expressions"]["kms_key_id"] == {
        "references": ["aws_kms_key.logs-key.arn", "aws_kms_key.logs-key"]
    }
    assert json.dumps(group["values"]["retention_in_days"]) == "14"


def test_types_have_the_names_of_terraform() -> None:
    assert [
        find_type(token)
        for token in (
            "aws:ec2/vpcEndpoint:VpcEndpoint",
            "aws:apigateway/restApi:RestApi",
            "aws:lb/loadBalancer:LoadBalancer",
            "aws:lb/targetGroup:TargetGroup",
            "aws:wafv2/webAcl:WebAcl",
        )
    ] == [
        "aws_vpc_endpoint",
        "aws_api_gateway_rest_api",
        "aws_lb",
        "aws_lb_target_group",
        "aws_wafv2_web_acl",
    ]


def test_manifests_contain_only_kubernetes_objects_with_whole_numbers() -> None:
    pod = {
        "type": "kubernetes:core/v1:Pod",
        "name": "one",
        "inputs": {
            "metadata": {"name": "one"},
            "spec": {"securityContext": {"runAsUser": 65532.0}},
        },
    }
    manifests = build_manifests([_BUCKET, pod])
    assert json.dumps(manifests[0]["spec"]) == '{"securityContext": {"runAsUser": 65532}}'
    assert len(manifests) == 1


def test_differences_are_unexplained_findings_and_obsolete_exceptions() -> None:
    log, other = (
        Finding(check="C1", title="Logging", resource=name) for name in ("dev/log", "prod/data")
    )
    accepted = Accepted(check="C1", title="Logging", resources=("dev/",), reason="dev")
    assert find_differences([log], [accepted]) == []
    assert find_differences([log, other], [accepted]) == ["C1 prod/data: Logging"]
    assert find_differences([], [accepted]) == [
        "C1 is accepted in accepted_findings.yaml, but no resource fails it: Logging"
    ]
    of_account = replace(accepted, check="C*", resources=(), cause="account")
    assert find_differences([], [of_account]) == []
    assert find_differences([log, other], [of_account]) == []


def test_reports_of_scanners_become_findings() -> None:
    failed = {"check_id": "CKV_1", "check_name": "Title", "resource": "aws_lb.a"}
    checkov = {"results": {"failed_checks": [failed], "passed_checks": [failed]}}
    assert read_checkov_report([checkov]) == read_checkov_report(checkov)
    assert read_checkov_report(checkov) == [
        Finding(check="CKV_1", title="Title", resource="aws_lb.a")
    ]
    prowler = [
        {
            "status_code": status,
            "metadata": {"event_code": "s3_bucket_kms_encryption"},
            "finding_info": {"title": "Bucket uses KMS"},
            "resources": [{"uid": "arn:aws:s3:::log"}],
        }
        for status in ("FAIL", "PASS", "MANUAL")
    ]
    assert read_prowler_report(prowler) == [
        Finding(
            check="s3_bucket_kms_encryption", title="Bucket uses KMS", resource="arn:aws:s3:::log"
        )
    ]


def test_accepted_findings_name_each_check_once_with_a_reason() -> None:
    for scanner in ("checkov", "prowler"):
        accepted = read_accepted(scanner)
        assert len({one.check for one in accepted}) == len(accepted)
        assert all(len(one.reason) > 30 or "same as" in one.reason for one in accepted)
        assert {one.cause for one in accepted} <= {"stack", "account", "emulator"}

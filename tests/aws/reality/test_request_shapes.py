"""Requests of the provider follow AWS's models, as botocore has them.

`data/requests.json.gz` has the requests with which the stacks dev and prod were deployed, updated
and destroyed on the emulator, one of each form. The fixture `aws` checks the requests of all tests
in this directory. `python -m tests.aws.reality.test_request_shapes RECORDING...` writes the file.
"""

import gzip
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.aws.recorded_requests import (
    RecordedRequest,
    find_operation,
    get_model,
    parse_parameters,
    read_requests,
)
from tests.aws.request_shapes import check_shape, find_violations

_FILE = Path(__file__).with_name("data") / "requests.json.gz"
# Generated keys of clients. They are random, and belong to stacks that no longer exist.
_KEY = re.compile(r"berth_[A-Za-z0-9_-]{43}")
# The same for the header value that the API's firewall requires.
_SEARCH = re.compile(r'("SearchString": ?")[^"]+')


def _read() -> list[RecordedRequest]:
    return list(read_requests(gzip.decompress(_FILE.read_bytes()).decode().splitlines()))


def test_recorded_requests_follow_the_models() -> None:
    requests = _read()
    assert {name: asdict(one) for name, one in find_violations(requests).items()} == {}


def test_recording_covers_the_services_of_the_stacks() -> None:
    operations = {f"{one.service}.{find_operation(one)}" for one in _read()}
    assert {
        "ec2.CreateVpc", "ec2.CreateVpcEndpoint", "eks.CreateCluster", "eks.CreateNodegroup",
        "iam.CreateRole", "kms.CreateKey", "apigateway.PutRestApi", "wafv2.CreateWebACL",
        "cloudfront.CreateDistributionWithTags", "s3.CreateBucket", "ecr.CreateRepository",
        "route53.ChangeResourceRecordSets", "ecr.StartReplicationBackfill", "logs.CreateLogGroup",
        "elasticloadbalancing.CreateLoadBalancer", "budgets.CreateBudget", "sns.CreateTopic",
    } <= operations  # fmt: skip


def _request(target: str, **parameters: object) -> RecordedRequest:
    return RecordedRequest(
        service="ecr",
        method="POST",
        path="/",
        headers={
            "content-type": "application/x-amz-json-1.1",
            "x-amz-target": f"AmazonEC2ContainerRegistry_V20150921.{target}",
        },
        body=json.dumps(parameters),
        status=200,
    )


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({}, "ecr.CreateRepository.repositoryName: is required"),
        ({"repositoryName": "x"}, "ecr.CreateRepository.repositoryName: 1 characters is less"),
        ({"repositoryName": "a" * 257}, "256"),
        ({"repositoryName": "Berth/x"}, "does not match"),
        ({"repositoryName": "berth/x", "imageTagMutability": "FIXED"}, "is not one of MUTABLE"),
        ({"repositoryName": "berth/x", "imageTagMutability": "IMMUTABLE"}, None),
    ],
)
def test_request_that_aws_refuses_is_found(
    parameters: dict[str, object], problem: str | None
) -> None:
    found = list(find_violations([_request("CreateRepository", **parameters)]))
    if problem is None:
        assert found == []
    else:
        assert any(problem in text for text in found), found


def test_unknown_operation_is_found() -> None:
    (problem,) = find_violations([_request("CreateEverything")])
    assert "is no known operation" in problem


def test_rest_path_is_parsed_into_parameters() -> None:
    request = RecordedRequest(
        service="eks", method="GET", path="/clusters/berth-dev/node-groups/general-1",
        headers={}, body="", status=200,
    )  # fmt: skip
    operation = find_operation(request)
    assert operation == "DescribeNodegroup"
    parameters = parse_parameters(request, operation)
    assert parameters == {"clusterName": "berth-dev", "nodegroupName": "general-1"}
    shape = get_model("eks").operation_model(operation).input_shape
    assert list(check_shape(shape, {"clusterName": "berth-dev"}, "")) == [
        (".nodegroupName", "is required")
    ]


def write_recording(recordings: Iterable[Path]) -> None:
    """Write one request of each form: operation and names of its parameters."""
    kept: dict[str, RecordedRequest] = {}
    for path in recordings:
        for request in read_requests(path.read_text().splitlines()):
            body = _KEY.sub("berth_" + "0" * 43, request.body)
            body = _SEARCH.sub(r"\1AAAA", body)
            names = re.sub(r"[^A-Za-z]+", " ", re.sub(r"(=|: ?)(\"[^\"]*\"|[^&,}]+)", "", body))
            kept.setdefault(
                f"{request.service} {find_operation(request)} {names}", replace(request, body=body)
            )
    lines = "".join(json.dumps(asdict(one), sort_keys=True) + "\n" for one in kept.values())
    _FILE.write_bytes(gzip.compress(lines.encode(), 9, mtime=0))
    print(f"{len(kept)} requests, {_FILE.stat().st_size} bytes")


if __name__ == "__main__":
    write_recording(map(Path, sys.argv[1:]))

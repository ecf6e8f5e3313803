"""Nodes can pull every image of a stack through the endpoints of its network.

A gateway endpoint takes all requests to S3 in the Region, whatever other route there is. Registries
other than ECR keep layers in S3 too, so its policy decides about their images.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.aws.reality.declared import declare, select
from tests.aws.reality.iam_evaluation import is_allowed
from tests.aws.reality.tables import read_table

_STACKS = ("dev", "prod")
_HOSTS = read_table("image_hosts")
_REGION = "eu-central-1"
_ACCOUNT = "000000000000"
# Layers are read with a presigned URL of the registry's own account.
_FOREIGN = {"aws:PrincipalAccount": "999999999999", "aws:ResourceAccount": "999999999999"}


def _built_images(stack: str) -> dict[str, dict[str, Any]]:
    kinds = ("BuiltImage", "CopiedImage")
    return {
        f"reference of pulumi-python:dynamic/berth:{kind} {name}": inputs
        for kind in kinds
        for name, inputs in select(declare(stack), f"pulumi-python:dynamic/berth:{kind}").items()
    }


def _pod_images(stack: str) -> Iterator[str]:
    """Return the images of all containers, those of the stack's registry by repository."""
    own = _built_images(stack)
    for resource in declare(stack):
        if resource["type"].startswith("kubernetes:apps/v1:"):
            pod = resource["inputs"]["spec"]["template"]["spec"]
            for container in [*pod.get("initContainers", []), *pod["containers"]]:
                image = container["image"]
                yield own[image]["repository"] if image in own else image


def _images(stack: str) -> set[str]:
    addons = select(declare(stack), "aws:eks/addon:Addon")
    others = [_HOSTS["addons"]["image"].replace("<addon>", name) for name in addons]
    others.append(_HOSTS["bottlerocket"]["image"])
    return {*_pod_images(stack), *(image.replace("<region>", _REGION) for image in others)}


def _find_registry(image: str) -> dict[str, Any]:
    host = image.partition("/")[0]
    (found,) = (
        entry
        for entry in _HOSTS["registries"].values()
        if re.fullmatch(entry["host"].replace("<region>", _REGION), host)
    )
    return dict(found)


def _endpoint_statements(stack: str) -> list[dict[str, Any]]:
    endpoints = select(declare(stack), "aws:ec2/vpcEndpoint:VpcEndpoint")
    statements: list[dict[str, Any]] = json.loads(endpoints["network-s3"]["policy"])["Statement"]
    return statements


@pytest.mark.parametrize("stack", _STACKS)
def test_layers_of_every_image_can_be_read_through_the_endpoint(stack: str) -> None:
    statements = _endpoint_statements(stack)
    refused = {
        f"{image} ({bucket})"
        for image in _images(stack)
        for pattern in _find_registry(image)["buckets"]
        for bucket in [pattern.replace("<region>", _REGION)]
        if not is_allowed(statements, "s3:GetObject", f"arn:aws:s3:::{bucket}/layer", _FOREIGN)
    }
    assert refused == set()
    assert any("valkey" in image for image in _images(stack))


@pytest.mark.parametrize("stack", _STACKS)
def test_no_image_is_pulled_from_a_registry_that_limits_anonymous_nodes(stack: str) -> None:
    limited = {
        image for image in _images(stack) if _find_registry(image)["anonymous_limit"] is not None
    }
    assert limited == set()


@pytest.mark.parametrize("stack", _STACKS)
def test_endpoint_keeps_data_in_the_account(stack: str) -> None:
    statements = _endpoint_statements(stack)
    own = {"aws:PrincipalAccount": _ACCOUNT, "aws:ResourceAccount": _ACCOUNT}
    assert is_allowed(statements, "s3:PutObject", "arn:aws:s3:::berth-dev-data/x", own)
    for context in (_FOREIGN, own | {"aws:ResourceAccount": "999999999999"}):
        assert not is_allowed(statements, "s3:PutObject", "arn:aws:s3:::stolen/x", context)
    layers = f"arn:aws:s3:::prod-{_REGION}-starport-layer-bucket/x"
    assert not is_allowed(statements, "s3:PutObject", layers, _FOREIGN)


@pytest.mark.parametrize("stack", _STACKS)
def test_credentials_of_other_accounts_cannot_use_an_interface_endpoint(stack: str) -> None:
    """AWS's own policy admits every account: a Pod could write data to the log of another one."""
    endpoints = select(declare(stack), "aws:ec2/vpcEndpoint:VpcEndpoint")
    policies = {
        one["serviceName"].rpartition(f"{_REGION}.")[2]: json.loads(one["policy"])["Statement"]
        for one in endpoints.values()
        if one["vpcEndpointType"] == "Interface" and "policy" in one
    }
    interfaces = [one for one in endpoints.values() if one["vpcEndpointType"] == "Interface"]
    # eks-auth exchanges tokens of the account's clusters only.
    assert len(interfaces) - len(policies) == ("network-eks-auth" in endpoints)
    for service, statements in policies.items():
        action = f"{service.partition('.')[0]}:Any"
        own = {"aws:PrincipalAccount": _ACCOUNT}
        assert is_allowed(statements, action, "arn:aws:logs:::x", own), service
        assert not is_allowed(statements, action, "arn:aws:logs:::x", _FOREIGN), service
    if "sts" in policies:
        role, action = "arn:aws:iam::000000000000:role/x", "sts:AssumeRoleWithWebIdentity"
        assert is_allowed(policies["sts"], action, role, {"aws:ResourceAccount": _ACCOUNT})
        assert not is_allowed(policies["sts"], action, role, {"aws:ResourceAccount": "9" * 12})


def test_every_image_has_a_repository_before_it_is_pushed() -> None:
    """ECR refuses a push to a repository that does not exist. dev owns those of prod too."""
    names = {
        inputs["name"].partition("/")[2]
        for inputs in select(declare("dev"), "aws:ecr/repository:Repository").values()
    }
    for stack in _STACKS:
        pushed = {
            inputs["repository"].partition("/")[2].partition("/")[2]
            for inputs in _built_images(stack).values()
        }
        assert pushed <= names

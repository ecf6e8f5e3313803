"""`up` creates only definitions that the package contains, pinned by their SHA-256."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from pulumi_berth.images.third_party import read_manifest, read_third_party
from tests.aws.reality.declared import declare

_STACKS = ("dev", "prod")
_NAMES = sorted(read_third_party()["manifests"])


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _texts(member, f"{path}.{key}")
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member, path)
    elif isinstance(value, str):
        yield path, value


@pytest.mark.parametrize("stack", _STACKS)
def test_no_resource_reads_a_file_from_an_address(stack: str) -> None:
    addresses = {
        (resource["name"], path): text
        for resource in declare(stack)
        if resource["type"].startswith("kubernetes:yaml")
        for path, text in _texts(resource["inputs"])
        if re.match(r"(https?|ftp)://", text)
    }
    assert addresses == {}


def _kinds(text: str) -> set[tuple[str, str]]:
    return {
        (f"{one['spec']['group']}/{version['name']}", one["spec"]["names"]["kind"])
        for one in yaml.load_all(text, yaml.CSafeLoader)
        if one and one["kind"] == "CustomResourceDefinition"
        for version in one["spec"]["versions"]
    }


@pytest.mark.parametrize("stack", _STACKS)
def test_definitions_cover_every_custom_resource_of_the_stack(stack: str) -> None:
    texts = [
        resource["inputs"]["yaml"]
        for resource in declare(stack)
        if resource["type"] == "kubernetes:yaml/v2:ConfigGroup"
    ]
    assert texts == [read_manifest(name) for name in _NAMES]
    known = set().union(*map(_kinds, texts))
    used = {
        (resource["type"].split(":")[1], resource["type"].split(":")[2])
        for resource in declare(stack)
        if re.match(r"kubernetes:(gateway\.networking\.k8s|traefik)\.io", resource["type"])
    }
    assert used
    assert used <= known


def test_gateway_api_has_the_version_of_the_list() -> None:
    version = read_third_party()["manifests"]["gateway-api"]["version"]
    found = re.findall(r"bundle-version: (v[\d.]+)$", read_manifest("gateway-api"), re.MULTILINE)
    assert set(found) == {version}


def test_changed_file_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {**read_third_party()["manifests"]["traefik"], "sha256": "0" * 64}
    content = {"manifests": {"traefik": entry}}
    monkeypatch.setattr("pulumi_berth.images.third_party.read_third_party", lambda: content)
    with pytest.raises(ValueError, match=r"expected 0{64}. Reinstall berth"):
        read_manifest("traefik")

"""Images that a rollback needs and that the registry no longer has."""

from typing import Any

import pytest

from berth.operations import missing_images
from berth.operations.missing_images import find_missing_images, has_image
from berth.operations.resource_changes import Operation, ResourceChange
from pulumi_berth.oci.registry import RegistryError
from tests.unit.serving_registry import serve_registry

_DIGESTS = [f"sha256:{digit * 64}" for digit in "123"]
_HOST = "registry.example.com:5000"


def _image(name: str, digest: str, **more: Any) -> dict[str, Any]:
    reference = f"{_HOST}/berth/{name}@{digest}"
    return {
        "type": "pulumi-python:dynamic/berth:BuiltImage",
        "urn": f"image-{name}",
        "outputs": {"repository": f"{_HOST}/berth/{name}", "reference": reference, **more},
    }


def _workload(name: str, *references: str) -> dict[str, Any]:
    containers = [{"image": reference} for reference in references]
    return {
        "type": "kubernetes:apps/v1:Deployment",
        "urn": name,
        "outputs": {},
        "inputs": {"spec": {"template": {"spec": {"containers": containers}}}},
    }


def _change(urn: str, operation: Operation = Operation.UPDATE) -> ResourceChange:
    return ResourceChange(urn=urn, type="t", name=urn, component="stack", operation=operation)


@pytest.mark.parametrize(("exists", "is_missing"), [(True, False), (False, True), (None, False)])
def test_pinned_image_that_is_gone_is_reported(exists: bool | None, is_missing: bool) -> None:
    pinned = f"{_HOST}/berth/digits@{_DIGESTS[0]}"
    resources = [_image("gateway", _DIGESTS[1]), _workload("digits", pinned)]
    missing = find_missing_images([_change("digits")], resources, lambda _: exists)
    assert missing == ({"digits": f"the registry no longer has {pinned}"} if is_missing else {})


def test_image_that_the_stack_builds_is_not_looked_up() -> None:
    """A rollback builds it again from the same files."""
    image = _image("digits", _DIGESTS[0])
    asked: list[str] = []

    def has(reference: str) -> bool:
        asked.append(reference)
        return False

    resources = [image, _workload("digits", image["outputs"]["reference"])]
    assert find_missing_images([_change("digits"), _change("image-digits")], resources, has) == {}
    assert asked == []


def test_image_that_another_stack_has_pushed_is_looked_up() -> None:
    image = _image("digits", _DIGESTS[0], pull_only=True)
    resources = [image, _workload("digits", image["outputs"]["reference"])]
    missing = find_missing_images([_change("digits")], resources, lambda _: False)
    assert missing.keys() == {"digits"}


def test_other_registries_and_unchanged_resources_are_not_asked() -> None:
    resources = [
        _image("gateway", _DIGESTS[1]),
        _workload("traefik", f"docker.io/library/traefik@{_DIGESTS[2]}"),
        _workload("digits", f"{_HOST}/berth/digits@{_DIGESTS[0]}"),
    ]
    changes = [_change("traefik"), _change("digits", Operation.CREATE)]
    assert find_missing_images(changes, resources, lambda _: False) == {}


def test_registry_is_asked_for_the_digest() -> None:
    with serve_registry() as registry:
        reference = registry.add_image()
        gone = f"{registry.host}/base@{_DIGESTS[0]}"
        assert has_image(reference, plain_http=True) is True
        assert has_image(gone, plain_http=True) is False


def test_registry_that_does_not_tell_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_name: str, *, plain_http: bool) -> None:
        raise RegistryError(f"unreachable, plain_http={plain_http}")

    monkeypatch.setattr(missing_images, "open_repository", fail)
    assert has_image(f"{_HOST}/berth/digits@{_DIGESTS[0]}", plain_http=True) is None

"""A stack whose images are pushed to a registry, and pulled from it by digest."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pulumi_berth.docker.engine import IMAGE_LABEL
from pulumi_berth.images.image_inputs import build_image
from pulumi_berth.own_container_rules import digest_context
from tests.cluster import own_server
from tests.cluster.stacks import SMALL
from tests.docker.engine import Engine
from tests.docker.hosting import DockerProject
from tests.docker.lab import Lab
from tests.docker_registry import delete_image, start_registry
from tests.own_image import MODEL, write_context
from tests.signed_stack import Signer, refuse, require_signatures, sign_versions_one_by_one

pytestmark = pytest.mark.slow
_PORT = 5000


@pytest.fixture(scope="module")
def registry(docker_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry without TLS on this machine, which the engines of the lab trust."""
    address = f"{docker_lab.network.address}:{_PORT}"
    with start_registry(tmp_path_factory.mktemp("registry"), address) as started:
        yield f"{started}/berth"


def _find_images(project: DockerProject) -> dict[str, str]:
    """Return each version's image."""
    outputs = project.pulumi("stack", "output", "models", "--json").stdout
    return {
        f"{model} {version}": str(berth["image"])
        for model, entry in json.loads(outputs).items()
        for version, berth in entry["versions"].items()
    }


def _find_digests(project: DockerProject) -> dict[str, str]:
    """Return the digest of each version's image."""
    return {name: image.rpartition("@")[2] for name, image in _find_images(project).items()}


@pytest.fixture(scope="module")
def own_image(
    registry: str, docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """An image that the engine built from a context, and that Berth pushed, as on kubernetes."""
    context = write_context(tmp_path_factory.mktemp("own") / "server")
    built = build_image(
        {
            "repository": f"{registry}/team/server",
            "plain_http": True,
            "directory": str(context),
            "context_digest": digest_context(context),
            "engine": docker_engine.host,
            "architectures": ["amd64"],
            "scan": {"command": ["true"], "fail_on": "high", "ignore_unfixed": False},
        }
    )
    assert built["report"]["amd64"]["user"] == "1000"
    return str(built["reference"])


@pytest.fixture
def with_registry(up: DockerProject, registry: str, own_image: str) -> DockerProject:
    """The stack with the registry, and with a container of the user's own."""

    def use_registry(config: Any) -> None:
        config["berth:registry"] = {"url": registry, "plain_http": True}
        container = {"image": own_image, "port": own_server.PORT}
        config["berth:models"][MODEL] = {
            "versions": {"1": {"container": container}}, "resources": SMALL,
        }  # fmt: skip

    up.edit(use_registry)
    return up


def test_images_of_a_registry_are_those_that_are_loaded_without_one(
    up: DockerProject, with_registry: DockerProject, registry: str, own_image: str
) -> None:
    loaded = _find_digests(up)
    with up.load():
        up.berth("up", "--yes")
    digests = _find_digests(up)
    # The copy in the stack's repository has the digest of the user's image.
    own_digest = own_image.rpartition("@")[2]
    assert digests == loaded | {f"{MODEL} 1": own_digest}
    own = up.container("berth", MODEL, "1")
    assert own.labels[IMAGE_LABEL] == f"{registry}/{MODEL}@{own_digest}"
    assert up.json("status")["models"][MODEL]["versions"]["1"]["state"] == "ready"
    for version in ("1", "2"):
        container = up.container("berth", "digits", version)
        reference = f"{registry}/digits@{loaded[f'digits {version}']}"
        assert container.labels[IMAGE_LABEL] == reference
        assert reference in container.image.attrs["RepoDigests"]
    up.berth("preview", "--expect-no-changes")


def _delete_everywhere(project: DockerProject, image: str) -> None:
    """Delete an image from its registry and from the engine."""
    delete_image(image)
    with contextlib.closing(project.engine.client()) as client:
        client.images.remove(image)


def test_rollback_needs_signatures_and_names_images_that_are_lost(
    with_registry: DockerProject, own_image: str, tmp_path: Path
) -> None:
    project = with_registry
    project.berth("up", "--yes")
    number = project.json("status")["update"]["number"]
    images = _find_images(project)
    signer = Signer.create(project, tmp_path)
    project.edit(require_signatures)
    versions = [("digits", "1"), ("digits", "2"), ("breast-cancer", "1")]
    sign_versions_one_by_one(project, signer, versions)
    refuse(
        project,
        f"berth:models.{MODEL}.versions.1.container.image: {own_image} has no signature",
    )
    assert project.json("status")["update"]["number"] == number

    signed = project.json("sign-images", "--key", str(signer.private))["images"]
    assert {each["image"] for each in signed} == {*images.values(), own_image}
    text = project.config_file.read_text()

    def remove_versions(config: Any) -> None:
        del config["berth:models"][MODEL]
        del config["berth:models"]["digits"]["versions"]["2"]
        config["berth:models"]["digits"]["traffic"] = {"1": 100}

    project.deploy(remove_versions)
    check = ("rollback", "--check", "--to", str(number))
    assert project.json(*check)["missing"] == []
    built, copied = images["digits 2"], images[f"{MODEL} 1"]
    delete_image(images["digits 1"])  # The engine still has it.
    _delete_everywhere(project, built)
    _delete_everywhere(project, copied)
    report = project.json(*check, code=1)
    assert sorted(report["missing"]) == sorted(
        [
            f"image {built} is missing. A rollback builds an image of the same files",
            f"image {copied} is missing. A rollback copies it again from {own_image}",
        ]
    )
    assert report["obstacles"] == []

    # The configuration of the update requires no signatures. A rollback to it still does.
    signature = project.root / "models" / "digits" / "1.sig"
    hidden = signature.rename(tmp_path / "1.sig")
    rollback = ("rollback", "--to", str(number), "--yes")
    refuse(project, f"update {number} required none", "is not signed", command=rollback)
    hidden.rename(signature)
    project.berth(*rollback)
    assert YAML(typ="safe").load(project.config_file) == YAML(typ="safe").load(text)
    assert _find_images(project) == images
    assert project.json("rollback", "--check", "--to", str(number))["missing"] == []

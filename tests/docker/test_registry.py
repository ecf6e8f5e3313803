"""A stack whose images are pushed to a registry, and pulled from it by digest."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pulumi_berth.docker.engine import IMAGE_LABEL
from pulumi_berth.images.image_inputs import build_image
from pulumi_berth.own_container_rules import digest_context
from tests.cluster import own_server
from tests.cluster.stacks import SMALL
from tests.docker.engine import Engine
from tests.docker.hosting import DockerProject
from tests.docker.lab import Lab
from tests.docker_registry import start_registry
from tests.own_image import MODEL, write_context

pytestmark = pytest.mark.slow
_PORT = 5000


@pytest.fixture(scope="module")
def registry(docker_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry without TLS on this machine, which the engines of the lab trust."""
    address = f"{docker_lab.network.address}:{_PORT}"
    with start_registry(tmp_path_factory.mktemp("registry"), address) as started:
        yield f"{started}/berth"


def _find_digests(project: DockerProject) -> dict[str, str]:
    """Return the digest of each version's image."""
    outputs = project.pulumi("stack", "output", "models", "--json").stdout
    return {
        f"{model} {version}": str(berth["image"]).rpartition("@")[2]
        for model, entry in json.loads(outputs).items()
        for version, berth in entry["versions"].items()
    }


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


def test_images_of_a_registry_are_those_that_are_loaded_without_one(
    up: DockerProject, registry: str, own_image: str
) -> None:
    loaded = _find_digests(up)

    def use_registry(config: Any) -> None:
        config["berth:registry"] = {"url": registry, "plain_http": True}
        container = {"image": own_image, "port": own_server.PORT}
        config["berth:models"][MODEL] = {
            "versions": {"1": {"container": container}}, "resources": SMALL,
        }  # fmt: skip

    with up.load():
        up.deploy(use_registry)
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

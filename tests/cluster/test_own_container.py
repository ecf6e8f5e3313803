"""A container of the user's own serves a version in the cluster."""

import json
from pathlib import Path

import httpx

from pulumi_berth.images import layers
from pulumi_berth.images.build import Image, build
from pulumi_berth.images.scan import Scan
from pulumi_berth.oci.documents import RunConfig
from pulumi_berth.oci.layer import write_layer
from pulumi_berth.oci.registry import Repository
from pulumi_berth.oci.tree import PLAIN, Entry
from tests.cluster import own_server
from tests.cluster.cluster import Cluster
from tests.cluster.stacks import NAMESPACE, SMALL, read_config, restore_config
from tests.docker_registry import delete_image
from tests.engine.project import Project
from tests.signed_stack import Signer, refuse, require_signatures, sign_versions_one_by_one

_REQUEST = {
    "inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["hello", "you"]}]
}


def _push_server(cluster: Cluster, directory: Path) -> str:
    """Push an image with the server, as another program would, and return its reference."""
    tree = {"srv/server.py": Entry(mode=PLAIN, path=Path(own_server.__file__))}
    image = Image(
        repository=Repository(name=f"{cluster.registry}/team/server", plain_http=True),
        tag="1",
        base=None,
        layers={
            "amd64": [
                ("base", layers.base_layer("amd64", [])),
                ("server", write_layer(tree, directory / "server.tar.gz")),
            ]
        },
        run=RunConfig(
            user="1000", environment={}, entrypoint=["/usr/bin/python3", "/srv/server.py"],
            labels={},
        ),
    )  # fmt: skip
    return build(image, scan=Scan(command=["true"], fail_on="high", ignore_unfixed=False)).reference


def test_own_container_serves_behind_the_gateway_like_a_berth(
    hosted: Project, cluster: Cluster, tmp_path: Path
) -> None:
    reference = _push_server(cluster, tmp_path)
    (hosted.root / "shout.json").write_text(json.dumps(_REQUEST))
    container = {"image": reference, "port": own_server.PORT, "example": "shout.json"}
    with restore_config(hosted):
        hosted.deploy(
            lambda config: config["berth:models"].update(
                {"shout": {"versions": {"1": {"container": container}}, "resources": SMALL}}
            )
        )
        response = hosted.json("invoke", "shout")
        assert response["outputs"][0]["data"] == ["HELLO", "YOU"]
        status = hosted.json("status")
        berth = status["models"]["shout"]["versions"]["1"]
        assert (berth["state"], berth["traffic"]) == ("ready", 100)
        assert berth["digest"] == reference.partition("@")[2]
        assert berth["image"].startswith(f"{cluster.registry}/berth/shout@sha256:")
        (pod,) = cluster.get("pods", "-n", NAMESPACE, "-l", "berth/model=shout")["items"]
        assert pod["spec"]["securityContext"]["runAsUser"] == 65532
        url = f"{status['endpoint']}{own_server.MODEL}"
        assert httpx.post(f"{url}/infer", json=_REQUEST).status_code == 401
        metadata = httpx.get(url, headers={"x-api-key": hosted.key()})
        assert metadata.json() == own_server.METADATA
        hosted.berth("preview", "--expect-no-changes")
        _check_signatures(hosted, reference, berth["image"], tmp_path)


def _check_signatures(hosted: Project, reference: str, copy: str, directory: Path) -> None:
    """Require signatures of the running stack, and lose an image of the release before."""
    status = hosted.json("status")
    number, models = status["update"]["number"], status["models"]
    signer = Signer.create(hosted, directory)
    hosted.edit(require_signatures)
    versions = [
        (name, version)
        for name, model in models.items()
        for version in model["versions"]
        if name != "shout"
    ]
    sign_versions_one_by_one(hosted, signer, versions)
    refuse(hosted, f"berth:models.shout.versions.1.container.image: {reference} has no signature")
    signed = hosted.json("sign-images", "--key", str(signer.private))["images"]
    assert {reference, copy} <= {each["image"] for each in signed}
    hosted.deploy(lambda config: config["berth:models"].pop("shout"))

    check = ("rollback", "--check", "--to", str(number))
    assert hosted.json(*check)["missing"] == []
    delete_image(copy)
    (missing,) = hosted.json(*check, code=1)["missing"]
    assert missing == f"image {copy} is missing. A rollback copies it again from {reference}"
    # The update before required no signatures. The rollback does, and they are there.
    hosted.berth("rollback", "--to", str(number), "--yes")
    assert "berth:require_signature" in read_config(hosted)
    assert hosted.json("invoke", "shout")["outputs"][0]["data"] == ["HELLO", "YOU"]

"""`berth up` on a cluster: images, pods, an answer, and what a person sees with kubectl."""

import httpx

from berth_protocol.model_card import read_card
from pulumi_berth.oci.registry import Repository, split_reference
from tests.cluster.cluster import Cluster
from tests.engine.project import Project


def test_what_is_up_needs_nothing_more(hosted: Project) -> None:
    hosted.berth("preview", "--expect-no-changes")


def test_answers_are_the_models(hosted: Project) -> None:
    request = read_card(hosted.root / "models" / "digits" / "2").example
    said = hosted.json("invoke", "digits", "--version", "2")
    assert said["model_version"] == "2"
    assert {output["name"] for output in said["outputs"]} == {"label", "probabilities"}
    assert len(said["outputs"][0]["data"]) == request["inputs"][0]["shape"][0]


def test_a_key_is_needed(hosted: Project) -> None:
    endpoint = hosted.json("status")["endpoint"]
    refused = httpx.post(f"{endpoint}/v2/models/digits/infer", json={})
    assert refused.status_code == 401
    assert "API key" in refused.json()["error"]


def test_the_key_is_nowhere_in_the_cluster(hosted: Project, cluster: Cluster) -> None:
    key = hosted.key()
    assert key not in cluster.run("get", "secrets,configmaps,pods", "-A", "-o", "yaml")


def test_status_tells_what_runs(hosted: Project) -> None:
    found = hosted.json("status")
    assert found["gateway"] == "ready"
    version = found["models"]["digits"]["versions"]["1"]
    assert (version["state"], version["replicas"], version["traffic"]) == ("ready", "1/1", 90)
    assert version["digest"] in hosted.berth("status").stdout or version["digest"][:19] in (
        hosted.berth("status").stdout
    )


def test_logs_are_those_of_the_pods(hosted: Project) -> None:
    hosted.berth("invoke", "digits", "--version", "1")
    lines = hosted.berth("logs", "digits", "--version", "1").stdout.splitlines()
    assert any("answered" in line for line in lines)
    assert all(line.startswith("digits-1-") for line in lines)


def test_kubectl_tells_what_runs(hosted: Project, cluster: Cluster) -> None:
    found = hosted.json("status")["models"]["digits"]["versions"]["2"]
    (deployment,) = cluster.get(
        "deployments", "-n", "hosted", "-l", "berth/model=digits,berth/version=2"
    )["items"]
    labels = deployment["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "berth"
    assert labels["app.kubernetes.io/version"] == "2"
    described = cluster.run("describe", "pod", "-n", "hosted", "-l", "berth/version=2")
    assert found["digest"] in described
    assert found["image"] in described


def test_pods_are_admitted_without_a_warning(hosted: Project, cluster: Cluster) -> None:
    """The namespace warns of whatever `restricted` would refuse; asked again, it says nothing."""
    labels = cluster.get("namespace", "hosted")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    said = cluster.run(
        "label", "--dry-run=server", "--overwrite", "namespace", "hosted",
        "pod-security.kubernetes.io/enforce=restricted", code=None,
    )  # fmt: skip
    assert "Warning" not in said


def test_pods_hold_no_token_and_a_read_only_root(hosted: Project, cluster: Cluster) -> None:
    pods = cluster.get("pods", "-n", "hosted", "-l", "app.kubernetes.io/name=berth")["items"]
    assert pods
    for pod in pods:
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        (container,) = spec["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert "@sha256:" in container["image"]


def test_a_pod_has_no_shell(hosted: Project, cluster: Cluster) -> None:
    said = cluster.run(
        "exec", "-n", "hosted", "deploy/digits-2", "--", "/bin/sh", "-c", "true", code=None
    )
    assert "no such file or directory" in said


def test_every_image_is_in_the_registry_with_its_sbom(hosted: Project) -> None:
    version = hosted.json("status")["models"]["digits"]["versions"]["2"]
    name, digest = split_reference(version["image"])
    repository = Repository(name=name, plain_http=True)
    assert repository.digest_of(digest) == digest
    assert repository.digest_of(f"{digest.replace(':', '-')}.sbom")

"""Tests of a stack that `berth up` deployed to a cluster: responses, pods, images and kubectl."""

import httpx
import numpy as np
import onnxruntime

from berth.platforms import get_platform
from berth.platforms.stack_context import StackContext
from berth.spec import load_file
from berth_protocol.model_card import read_card
from pulumi_berth.oci.registry import Repository, split_reference
from tests.cluster.cluster import Cluster
from tests.cluster.stacks import NAMESPACE, create_load
from tests.engine.project import Project
from tests.text_models import SENTENCES, UPPER, build_text_request


def test_deployed_stack_has_no_changes(hosted: Project) -> None:
    hosted.berth("preview", "--expect-no-changes")


def test_invoke_returns_the_prediction_of_the_model(hosted: Project) -> None:
    request = read_card(hosted.root / "models" / "digits" / "2").example
    response = hosted.json("invoke", "digits", "--version", "2")
    assert response["model_version"] == "2"
    assert {output["name"] for output in response["outputs"]} == {"label", "probabilities"}
    assert len(response["outputs"][0]["data"]) == request["inputs"][0]["shape"][0]


def test_text_models_answer_in_their_pods(hosted: Project) -> None:
    """The pods are not root and have a read-only root directory; see below."""
    endpoint, headers = hosted.json("status")["endpoint"], {"x-api-key": hosted.key()}
    texts = ["Run!", "It's the station", ""]
    found = {}
    for model, name in ((SENTENCES, "text"), (UPPER, "x")):
        body = build_text_request(name, texts)
        url = f"{endpoint}/v2/models/{model}/infer"
        response = httpx.post(url, json=body, headers=headers)
        assert response.status_code == 200, response.text
        (found[model],) = response.json()["outputs"]
    session = onnxruntime.InferenceSession(hosted.root / "models" / SENTENCES / "1" / "model.onnx")
    (expected,) = session.run(None, {"text": np.array(texts, object)})
    actual = np.array(found[SENTENCES]["data"]).reshape(found[SENTENCES]["shape"])
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    assert found[UPPER]["data"] == ["RUN!", "IT'S THE STATION", ""]


def test_request_without_key_is_rejected(hosted: Project) -> None:
    endpoint = hosted.json("status")["endpoint"]
    response = httpx.post(f"{endpoint}/v2/models/digits/infer", json={})
    assert response.status_code == 401
    assert "API key" in response.json()["error"]


def test_metrics_of_all_berths_and_gateways_are_read_in_their_pods(hosted: Project) -> None:
    hosted.json("invoke", "digits", "--version", "2")
    context = StackContext(root=hosted.root, stack=hosted.stack, spec=load_file(hosted.config_file))
    read = get_platform("kubernetes").read_metrics
    assert read is not None
    texts = read(context, {"namespace": NAMESPACE}).values()
    berths = [text for text in texts if "berth_model_info{" in text]
    gateways = [text for text in texts if "berth_gateway_in_flight" in text]
    assert len(berths) + len(gateways) == len(texts)
    assert gateways
    assert any('berth_requests_total{code="200",model="digits",version="2"}' in x for x in berths)


def test_watch_and_dashboard_show_the_requests_in_each_pod(hosted: Project) -> None:
    with create_load(hosted).running():
        snapshot, sections = hosted.watch()
    assert snapshot["problems"] == []
    assert snapshot["drift"] == []
    assert (snapshot["platform"], snapshot["gateway"]) == ("kubernetes", "ready")
    assert snapshot["updates"]
    berths = {(each["model"], each["version"]): each for each in snapshot["berths"]}
    for version in ("1", "2"):
        berth = berths["digits", version]
        assert (berth["state"], berth["replicas"]) == ("ready", "1/1")
        assert berth["rates"]["per_second"] > 0
        assert berth["rates"]["failed_share"] == 0
    # Pods of models without requests report that they have none.
    assert berths[SENTENCES, "1"]["rates"]["per_second"] == 0
    assert berths[SENTENCES, "1"]["rates"]["p99_seconds"] is None
    assert {each["rates_note"] for each in berths.values()} == {None}
    assert sections["health"].endswith("are ready.")
    assert sections["problems"] == ""


def test_no_cluster_object_contains_the_key(hosted: Project, cluster: Cluster) -> None:
    key = hosted.key()
    assert key not in cluster.kubectl("get", "secrets,configmaps,pods", "-A", "-o", "yaml")


def test_status_shows_gateway_and_versions(hosted: Project) -> None:
    status = hosted.json("status")
    assert status["gateway"] == "ready"
    version = status["models"]["digits"]["versions"]["1"]
    assert (version["state"], version["replicas"], version["traffic"]) == ("ready", "1/1", 90)
    text = hosted.berth("status").stdout
    assert version["digest"] in text or version["digest"][:19] in text


def test_logs_shows_the_lines_of_the_pods(hosted: Project) -> None:
    hosted.berth("invoke", "digits", "--version", "1")
    lines = hosted.berth("logs", "digits", "--version", "1").stdout.splitlines()
    assert any("Request completed" in line for line in lines)
    assert all(line.startswith("digits-1-") for line in lines)


def test_kubectl_shows_version_digest_and_image(hosted: Project, cluster: Cluster) -> None:
    version = hosted.json("status")["models"]["digits"]["versions"]["2"]
    (deployment,) = cluster.get(
        "deployments", "-n", NAMESPACE, "-l", "berth/model=digits,berth/version=2"
    )["items"]
    labels = deployment["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "berth"
    assert labels["app.kubernetes.io/version"] == "2"
    description = cluster.kubectl("describe", "pod", "-n", NAMESPACE, "-l", "berth/version=2")
    assert version["digest"] in description
    assert version["image"] in description


def test_pods_meet_pod_security_restricted_without_warning(
    hosted: Project, cluster: Cluster
) -> None:
    """The API server warns about every running pod that `restricted` would not admit."""
    labels = cluster.get("namespace", NAMESPACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    output = cluster.kubectl(
        "label", "--dry-run=server", "--overwrite", "namespace", NAMESPACE,
        "pod-security.kubernetes.io/enforce=restricted", code=None,
    )  # fmt: skip
    assert "Warning" not in output


def test_pods_have_no_token_and_a_read_only_root(hosted: Project, cluster: Cluster) -> None:
    pods = cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=berth")["items"]
    assert pods
    for pod in pods:
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        (container,) = spec["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        limits, requests = container["resources"]["limits"], container["resources"]["requests"]
        assert (limits, requests["cpu"]) == ({"cpu": "1", "memory": requests["memory"]}, "50m")
        assert "@sha256:" in container["image"]


def test_pod_has_no_shell(hosted: Project, cluster: Cluster) -> None:
    output = cluster.kubectl(
        "exec", "-n", NAMESPACE, "deploy/digits-2", "--", "/bin/sh", "-c", "true", code=None
    )
    assert "no such file or directory" in output


def test_registry_contains_the_sbom_of_each_image(hosted: Project) -> None:
    version = hosted.json("status")["models"]["digits"]["versions"]["2"]
    name, digest = split_reference(version["image"])
    repository = Repository(name=name, plain_http=True)
    assert repository.digest_of(digest) == digest
    assert repository.digest_of(f"{digest.replace(':', '-')}.sbom")

"""The public components: their schema, defaults and arguments through a component host."""

import tomllib
from typing import Any

import pulumi
import pulumi_kubernetes
import pytest
from pulumi.errors import InputPropertiesError

import pulumi_berth
from pulumi_berth.plugin import COMPONENTS, VERSION, BerthProvider
from tests.repository import REPOSITORY
from tests.unit.component_host import construct, record
from tools.component_reference import build_files, build_schema

_MODELS = REPOSITORY / "models"
_DIGITS: dict[str, Any] = {
    "versions": {str(n): {"directory": str(_MODELS / "digits" / str(n))} for n in (1, 2)},
    "traffic": {"1": 90.0, "2": 10.0},
}
_LOCAL = {"runDir": "/project/.berth/run/dev", "models": {"digits": _DIGITS}}
_CLUSTER = {
    "namespace": "shop", "models": {"digits": _DIGITS},
    "images": {"registry": "registry.example.com/berth"},
}  # fmt: skip
_OUTPUTS = {
    "key": "k" * 24, "reference": f"registry.example.com/x@sha256:{'0' * 64}",
    "url": "http://127.0.0.1:1", "process": "digits-1", "admin_listener_port": 1.0,
    "owner_id": "0123456789ab", "owner": "shop/prod/0123456789ab",
}  # fmt: skip


def _is_described(properties: dict[str, Any]) -> bool:
    return all(value.get("description") for value in properties.values())


def test_committed_schema_and_pages_are_those_of_the_components() -> None:
    files = build_files()
    assert len(files) == 1 + len(COMPONENTS)
    for path, text in files.items():
        assert (REPOSITORY / path).read_text() == text, "run `python -m tools.generate`"


def test_every_argument_and_output_is_described() -> None:
    schema = build_schema()
    assert len(schema["resources"]) == len(COMPONENTS) <= 7
    for resource in schema["resources"].values():
        assert resource["description"]
        assert _is_described(resource["inputProperties"])
        assert _is_described(resource["properties"])
    for content in schema["types"].values():
        assert content["description"]
        assert _is_described(content.get("properties", {}))


@pytest.mark.parametrize("name", pulumi_berth.__all__)
def test_public_name_can_be_imported(name: str) -> None:
    assert getattr(pulumi_berth, name).__name__ == name


def test_version_of_the_plugin_is_that_of_the_package() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


def test_unknown_name_is_not_found() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Hosting'"):
        pulumi_berth.Hosting  # noqa: B018


def test_local_hosting_declares_a_process_per_version_and_the_gateway() -> None:
    resources = construct(pulumi_berth.LocalHosting, _LOCAL, _OUTPUTS)
    processes = {name for kind, name in resources if kind == "BerthProcess"}
    assert processes == {"x-digits-1", "x-digits-2"}
    config = resources["GatewayProcess", "x-gateway"]["config"]
    assert config["models"]["digits"]["traffic"] == {"1": 90, "2": 10}
    assert [client["name"] for client in config["clients"]] == ["default"]


def test_kubernetes_hosting_builds_its_images_and_declares_everything() -> None:
    resources = construct(pulumi_berth.KubernetesHosting, _CLUSTER, _OUTPUTS)
    images = {name for kind, name in resources if kind == "BuiltImage"}
    assert {"x-digits-1", "x-digits-2", "x-gateway", "x-valkey", "x-base-cpu"} <= images
    deployments = {name for kind, name in resources if kind == "Deployment"}
    assert deployments == {"x-digits-1", "x-digits-2", "x-gateway", "x-traefik"}
    assert ("Namespace", "x-namespace") in resources
    assert resources["NamespaceGuard", "x-namespace-guard"]["owner_id"] == _OUTPUTS["owner_id"]
    # The owner of the objects is checked, so that an update may restore what somebody edited.
    for kind in ("Deployment", "Secret", "NetworkPolicy"):
        annotations = resources[kind, "x-gateway"]["metadata"]["annotations"]
        assert annotations["pulumi.com/patchForce"] == "true", kind


def test_given_images_are_not_built() -> None:
    image = _OUTPUTS["reference"]
    versions = {name: {**entry, "image": image} for name, entry in _DIGITS["versions"].items()}
    inputs = _CLUSTER | {
        "models": {"digits": {**_DIGITS, "versions": versions}}, "gatewayImage": image,
        "limits": {"valkeyUrl": "valkey://:password@valkey.example.com", "prefix": "shop"},
    }  # fmt: skip
    resources = construct(pulumi_berth.KubernetesHosting, inputs, _OUTPUTS)
    assert not {name for kind, name in resources if kind in ("BuiltImage", "StatefulSet")}


def test_berth_without_callers_admits_no_one() -> None:
    inputs = {"namespace": "shop", "model": "digits", "version": "1", "image": "registry/digits"}
    resources = construct(pulumi_berth.KubernetesBerth, inputs, _OUTPUTS)
    assert resources["NetworkPolicy", "x"]["spec"]["ingress"] == []
    assert resources["Deployment", "x"]["spec"]["replicas"] == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"traffic": {"1": 90.0}}, ("models.digits.traffic", "{'1': 90} adds up to 90")),
        ({"traffic": {"1": 90.0, "3": 10.0}}, ("models.digits.traffic.3", "10 is set for unknown")),
        ({"traffic": None}, ("models.digits.traffic", "is missing")),
        ({"shadow": "2"}, ("models.digits.shadow", "2 receives 10% of the traffic")),
        (
            {"versions": {**_DIGITS["versions"], "2": {"directory": "nowhere"}}},
            ("models.digits.versions.2.directory", "contains no model.yaml"),
        ),
    ],
)
@pytest.mark.parametrize("kind", ["LocalHosting", "KubernetesHosting"])
def test_invalid_models_are_rejected_with_path_and_reason(
    kind: str, change: dict[str, Any], problem: tuple[str, str]
) -> None:
    inputs = _LOCAL if kind == "LocalHosting" else _CLUSTER
    models = {"digits": {**_DIGITS, **change}}
    with pytest.raises(InputPropertiesError) as caught:
        BerthProvider().construct("x", f"berth:index:{kind}", {**inputs, "models": models})
    errors = caught.value.errors or []
    assert [(error["property_path"], problem[1] in error["reason"]) for error in errors] == [
        (problem[0], True)
    ]


@pytest.mark.parametrize("kind", ["LocalHosting", "DockerHosting"])
def test_datasets_are_rejected_where_nothing_mounts_them(kind: str) -> None:
    mount = {"name": "prices", "image": "registry.example.com/data"}
    inputs: dict[str, Any] = {"models": {"digits": _DIGITS | {"datasets": [mount]}}}
    inputs |= {"runDir": _LOCAL["runDir"]} if kind == "LocalHosting" else {}
    with pytest.raises(InputPropertiesError) as caught:
        BerthProvider().construct("x", f"berth:index:{kind}", inputs)
    (error,) = caught.value.errors or []
    assert error["property_path"] == "models.digits.datasets"
    assert "only a cluster mounts datasets; use KubernetesHosting" in error["reason"]


@pytest.mark.parametrize("has_provider", [False, True])
@pytest.mark.parametrize("kubeconfig", [None, "/kubeconfig"])
def test_missing_ownership_check_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, kubeconfig: str | None, *, has_provider: bool
) -> None:
    """The component cannot read the credentials of a provider."""
    warnings: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", lambda message, *_: warnings.append(message))

    def create() -> None:
        provider = pulumi_kubernetes.Provider("cluster") if has_provider else None
        model = pulumi_berth.HostedModelArgs(
            versions={"1": pulumi_berth.HostedVersionArgs(directory=f"{_MODELS}/digits/1")}
        )
        pulumi_berth.KubernetesHosting(
            "x",
            pulumi_berth.KubernetesHostingArgs(
                namespace="shop",
                kubeconfig=kubeconfig,
                models={"digits": model},
                images=pulumi_berth.ImageSettings(registry="registry.example.com/berth"),
            ),
            pulumi.ResourceOptions(providers=[provider] if provider is not None else []),
        )

    record(create, _OUTPUTS)
    is_unchecked = has_provider and kubeconfig is None
    assert ["who owns namespace 'shop'" in text for text in warnings] == [True] * is_unchecked


def test_outputs_of_other_resources_are_accepted() -> None:
    """Every argument that another resource can provide accepts an output."""

    def output(value: Any) -> pulumi.Output[Any]:
        return pulumi.Output.from_input(value)

    mount = {"name": "prices", "image": output("registry.example.com/data"), "claim": output("c")}
    model = {**_DIGITS, "datasets": [mount], "resources": {"cpu": output("250m")}}
    inputs = _CLUSTER | {
        "models": {"digits": model},
        "images": {"registry": output("registry.example.com/other")},
        "clients": {"default": {"key": pulumi.Output.secret("k" * 24)}},
        "controllerImage": output("registry.example.com/traefik:v3.6"),
        "pullSecret": output("login"),
        "metricsNamespace": output("metrics"),
        "limits": {"storageClass": output("disk")},
        "service": {
            "nodePort": 31080.0, "tlsSecret": output("tls"),
            "hostnames": [output("api.example.com")],
        },
    }  # fmt: skip
    hosting = construct(pulumi_berth.KubernetesHosting, inputs, _OUTPUTS)
    assert hosting["BuiltImage", "x-gateway"]["repository"] == "registry.example.com/other/gateway"
    assert not [name for kind, name in hosting if kind == "ApiKey" and name == "x-default"]
    pod = hosting["Deployment", "x-digits-1"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["requests"]["cpu"] == "250m"
    assert pod["volumes"][1]["persistentVolumeClaim"]["claimName"] == "c"
    route = hosting["HTTPRoute", "x-digits"]["spec"]
    assert route["hostnames"] == ["api.example.com"]
    (claim,) = hosting["StatefulSet", "x-valkey"]["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "disk"
    registry = construct(
        pulumi_berth.ModelRegistry,
        {
            "namePrefix": "x", "repositories": ["digits"], "key": output("arn:key"),
            "readers": [{"account": output("210987654321")}],
        },
    )  # fmt: skip
    policy = registry["RepositoryPolicy", "x-digits"]["policy"]
    assert "arn:aws:iam::210987654321:root" in policy

"""The plan of a docker stack: what it declares, with mocks instead of the engine."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

import pulumi_berth
from berth.platforms.docker import target
from berth.platforms.docker.deploy import deploy
from berth.platforms.docker.drift import describe_container
from berth.platforms.stack_context import StackContext
from berth.spec import HostingSpec, SpecError, load_file
from berth_policy.rule import Resource, Stack, find_violations
from berth_policy.rules.containers import RULES
from berth_protocol.model_card import digest
from pulumi_berth.docker import engine as engine_module
from pulumi_berth.docker.container_plan import plan_limits, shorten_name
from pulumi_berth.docker.engine import HOSTING_LABEL
from pulumi_berth.images.image_inputs import content_tag
from tests.repository import REPOSITORY
from tests.unit.component_host import construct

_REGISTRY = 'berth:registry: {url: "registry.example.com/berth"}'


class _Engine(mocks.Mocks):
    """An engine that records the inputs of each resource and returns them as outputs."""

    def __init__(self) -> None:
        self.resources: dict[tuple[str, str], dict[str, Any]] = {}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], None]:
        raise NotImplementedError(args.token)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[Any, Any]]:
        kind = args.typ.split("/")[-1].split(":")[-1]
        self.resources[kind, args.name] = args.inputs
        name = f"{args.name}-1234567"
        outputs: dict[str, dict[str, Any]] = {
            "ApiKey": {"key": f"key-of-{args.name}"},
            "BuiltImage": {"reference": f"{args.inputs.get('repository')}@sha256:{'1' * 64}"},
            "CopiedImage": {"reference": f"{args.inputs.get('repository')}@sha256:{'1' * 64}"},
            "EngineImage": {"image_id": f"sha256:{'2' * 64}"},
            "ReadyContainer": {"address": f"host-of-{args.name}"},
            "GatewayTurn": {"address": "host-of-entry"},
        }
        return f"{args.name}-id", {"name": name, **args.inputs, **outputs.get(kind, {})}


def _declare(spec: HostingSpec) -> _Engine:
    engine = _Engine()
    mocks.set_mocks(engine)

    @pulumi.runtime.test  # type: ignore[untyped-decorator]
    def declare() -> pulumi.Output[Any]:
        return pulumi.Output.all(deploy(spec, stack="x", root=REPOSITORY))

    declare()
    return engine


@pytest.fixture(scope="module")
def engine() -> _Engine:
    return _declare(load_file(REPOSITORY / "Pulumi.docker.yaml"))


@pytest.fixture(scope="module")
def with_registry(tmp_path_factory: pytest.TempPathFactory) -> _Engine:
    return _declare(_load_with_registry(tmp_path_factory.mktemp("registry")))


def _load_with_registry(directory: Path) -> HostingSpec:
    text = (REPOSITORY / "Pulumi.docker.yaml").read_text()
    path = directory / "Pulumi.docker.yaml"
    path.write_text(f"{text}  {_REGISTRY}\n")
    return load_file(path)


def _containers(engine: _Engine) -> Iterator[tuple[str, dict[str, Any]]]:
    for (kind, name), inputs in engine.resources.items():
        if kind == "Container":
            yield name, inputs


def test_each_version_and_the_gateway_have_containers(engine: _Engine) -> None:
    assert {name for name, _ in _containers(engine)} == {
        *("berth-x-digits-1", "berth-x-digits-2", "berth-x-breast-cancer-1"),
        *("berth-x-entry", "berth-x-gateway", "berth-x-gateway-2"),
    }


def test_containers_follow_the_security_baseline(engine: _Engine) -> None:
    for name, inputs in _containers(engine):
        container = Resource(
            type="docker:index/container:Container", name=name, urn=name, props=inputs
        )
        assert not list(find_violations(RULES, [container], Stack())), name
        assert inputs["restart"] == "unless-stopped"
        assert inputs["logOpts"] == {"max-size": "10m", "max-file": "3"}
        assert inputs["memorySwap"] == inputs["memory"]
        # There is no shell in the image.
        assert inputs["healthcheck"]["tests"][:2] == ["CMD", "/usr/bin/python3"]


def test_only_the_entry_publishes_a_port_and_has_a_route_to_the_outside(engine: _Engine) -> None:
    networks = {name for (kind, name) in engine.resources if kind == "Network"}
    assert networks == {"berth-x-front", "berth-x-berths"}
    assert engine.resources["Network", "berth-x-berths"]["internal"] is True
    for name, inputs in _containers(engine):
        attached = [entry["name"] for entry in inputs["networksAdvanced"]]
        if name == "berth-x-entry":
            assert attached == ["berth-x-front-1234567"]
            (port,) = inputs["ports"]
            assert port == {"internal": 8080.0, "external": 8080.0, "ip": "127.0.0.1"}
        else:
            assert attached == ["berth-x-berths-1234567"]
            assert "ports" not in inputs


def test_no_container_has_a_secret(engine: _Engine) -> None:
    """The token, the keys and their digests are only in files, not in what an engine shows."""
    for name, inputs in _containers(engine):
        text = json.dumps(inputs)
        assert "key-of-" not in text, name
    token = engine.resources["VolumeFiles", "berth-x-token"]["files"]
    assert token == {"token": "key-of-berth-x-berth_token"}


def test_gateway_sends_requests_to_the_containers_that_are_ready(engine: _Engine) -> None:
    (text,) = engine.resources["VolumeFiles", "berth-x-gateway-config"]["files"].values()
    config = json.loads(text)
    assert config["models"]["digits"]["versions"] == {
        "1": "http://host-of-berth-x-digits-1:8080",
        "2": "http://host-of-berth-x-digits-2:8080",
    }
    assert config["models"]["digits"]["traffic"] == {"1": 90, "2": 10}


def test_images_are_those_of_a_cluster(engine: _Engine, with_registry: _Engine) -> None:
    """The tag identifies the content of an image, whose digest depends on nothing else."""
    models = REPOSITORY / "models" / "digits"
    versions = {version: {"directory": str(models / version)} for version in ("1", "2")}
    inputs = {
        "namespace": "shop", "images": {"registry": "registry.example.com/berth"},
        "models": {"digits": {"versions": versions, "traffic": {"1": 90.0, "2": 10.0}}},
    }  # fmt: skip
    outputs = {
        "reference": f"registry.example.com/x@sha256:{'1' * 64}", "key": "k" * 24,
        "owner_id": "0123456789ab", "owner": "shop/prod/0123456789ab",
    }  # fmt: skip
    cluster = construct(pulumi_berth.KubernetesHosting, inputs, outputs)
    for stack in (engine, with_registry):
        for name in ("digits-1", "digits-2", "gateway", "base-cpu"):
            expected = content_tag(cluster["BuiltImage", f"x-{name}"])
            assert content_tag(stack.resources["BuiltImage", name]) == expected, name
    reference = with_registry.resources["EngineImage", "berth-x-digits-1"]["reference"]
    assert reference.startswith("registry.example.com/berth/digits@sha256:")


def test_labels_make_the_containers_readable(engine: _Engine) -> None:
    entries = engine.resources["Container", "berth-x-digits-2"]["labels"]
    labels = {entry["label"]: entry["value"] for entry in entries}
    assert (labels["berth.model"], labels["berth.version"]) == ("digits", "2")
    assert labels["berth.digest"] == digest(REPOSITORY / "models" / "digits" / "2")
    assert labels["berth.component"] == "berth"


@pytest.mark.parametrize(
    ("cpu", "limit", "memory", "expected"),
    [
        (None, None, None, (512, 100_000, 1024)),
        ("100m", "1500m", "1Gi", (1024, 150_000, 102)),
        ("1m", None, "64Mi", (64, 100, 2)),
    ],
)
def test_quantities_become_limits_of_the_engine(
    cpu: str | None, limit: str | None, memory: str | None, expected: tuple[int, int, int]
) -> None:
    limits = plan_limits(cpu, limit, memory)
    assert (limits["memory"], limits["cpu_quota"], limits["cpu_shares"]) == expected
    assert limits["memory_swap"] == limits["memory"]


def test_gpus_are_requested_from_the_engine(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.x.yaml"
    path.write_text(
        "config:\n  berth:platform: docker\n  berth:models:\n    digits:\n"
        '      versions: {"1": {}}\n      compute: gpu\n      resources: {gpu: 2}\n'
    )
    (inputs,) = (
        inputs
        for name, inputs in _containers(_declare(load_file(path)))
        if name == "berth-x-digits-1"
    )
    assert inputs["deviceRequests"] == [{"driver": "nvidia", "count": 2.0, "capabilities": ["gpu"]}]
    assert "BERTH_EXECUTION_PROVIDERS=CUDAExecutionProvider,CPUExecutionProvider" in inputs["envs"]


_OWN_IMAGE = f"registry.example.com/team/server@sha256:{'3' * 64}"
_OWN = f"""\
config:
  berth:platform: docker
  berth:models:
    digits:
      versions: {{"1": {{}}, "2": {{container: {{image: "{_OWN_IMAGE}", port: 9001}}}}}}
      traffic: {{"1": 90, "2": 10}}
      serving: {{grace_seconds: 7}}
"""


@pytest.fixture(scope="module")
def with_own(tmp_path_factory: pytest.TempPathFactory) -> _Engine:
    path = tmp_path_factory.mktemp("own") / "Pulumi.x.yaml"
    path.write_text(_OWN)
    return _declare(load_file(path))


def test_own_container_is_hardened_like_a_berth_and_gets_nothing_of_berth(
    with_own: _Engine,
) -> None:
    own, berth = (with_own.resources["Container", f"berth-x-digits-{n}"] for n in ("2", "1"))
    resource = Resource(type="docker:index/container:Container", name="own", urn="own", props=own)
    assert not list(find_violations(RULES, [resource], Stack()))
    different = {key for key in {*own, *berth} if own.get(key) != berth.get(key)}
    # No check runs in the container, no variable and no token are in it.
    assert different == {*("envs", "mounts", "healthcheck", "tmpfs", "labels", "networksAdvanced")}
    assert (own.get("envs"), own.get("healthcheck"), own["mounts"]) == (None, None, [])
    assert own["tmpfs"] == {"/tmp": "rw,noexec,nosuid,nodev,size=16m"}
    assert own["stopTimeout"] == 12


def test_only_gateways_are_in_the_network_of_an_own_container(with_own: _Engine) -> None:
    name = "berth-x-digits-2"
    assert with_own.resources["Network", name]["internal"] is True
    inside = {
        container
        for container, inputs in _containers(with_own)
        if f"{name}-1234567" in [entry["name"] for entry in inputs["networksAdvanced"]]
    }
    assert inside == {name, "berth-x-gateway", "berth-x-gateway-2"}
    (network,) = with_own.resources["Container", name]["networksAdvanced"]
    assert network["name"] == f"{name}-1234567"


def test_own_container_is_ready_when_it_knows_its_model(with_own: _Engine) -> None:
    ready = with_own.resources["ReadyContainer", "berth-x-digits-2"]
    assert "check" not in ready
    assert ready["port"] == 9001
    assert ready["paths"] == ["/v2/models/digits/versions/2", "/v2/health/ready"]
    assert ready["network"] == "berth-x-digits-2-1234567"
    (text,) = with_own.resources["VolumeFiles", "berth-x-gateway-config"]["files"].values()
    model = json.loads(text)["models"]["digits"]
    assert model["own_containers"] == ["2"]
    assert model["versions"]["2"] == "http://host-of-berth-x-digits-2:9001"


def test_image_of_an_own_container_is_checked_before_the_engine_gets_it(
    with_own: _Engine,
) -> None:
    copied = with_own.resources["CopiedImage", "digits-2"]
    assert (copied["copy_of"], copied["repository"]) == (_OWN_IMAGE, "engine.invalid/digits")
    assert copied["scan"]["fail_on"] == "high"
    reference = with_own.resources["EngineImage", "berth-x-digits-2"]["reference"]
    assert reference.startswith("engine.invalid/digits@sha256:")


def test_long_names_stay_different_and_fit_a_host_name() -> None:
    names = {shorten_name(f"berth-{'s' * 60}-{number}") for number in range(20)}
    assert len(names) == 20
    assert max(map(len, names)) + len("-1234567") <= 63
    assert shorten_name("berth-x-digits-1") == "berth-x-digits-1"


_ACTUAL: dict[str, Any] = {
    "HostConfig": {
        "Memory": 256 << 20, "CpuQuota": 50_000, "NanoCpus": 0,
        "RestartPolicy": {"Name": "unless-stopped"},
    },
    "NetworkSettings": {"Networks": {"berths": {}}},
}  # fmt: skip
_DECLARED = {
    "memory": 256, "cpuQuota": 50_000, "restart": "unless-stopped",
    "networksAdvanced": [{"name": "berths"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "host_config", "networks", "expected"),
    [
        ("running", {}, ["berths"], []),
        ("restarting", {}, ["berths"], []),
        ("exited", {}, ["berths"], ["is exited"]),
        ("paused", {}, ["berths"], ["is paused"]),
        ("running", {"Memory": 1 << 30}, ["berths"], ["has 1024 MiB memory, not 256"]),
        (
            "running",
            {"CpuQuota": 0, "NanoCpus": 2 * 10**9},
            ["berths"],
            ["may use 2 CPUs, not 0.5"],
        ),
        ("running", {"RestartPolicy": {"Name": ""}}, ["berths"], ["has the restart policy no"]),
        (
            "running",
            {},
            ["bridge"],
            ["is not in the network berths", "is also in the network bridge"],
        ),
    ],
)
def test_difference_of_a_container_is_described(
    status: str, host_config: dict[str, Any], networks: list[str], expected: list[str]
) -> None:
    actual = {
        "HostConfig": {**_ACTUAL["HostConfig"], **host_config},
        "NetworkSettings": {"Networks": {name: {} for name in networks}},
    }
    assert list(describe_container(actual, status, _DECLARED)) == expected


@pytest.mark.parametrize(
    ("address", "used", "is_own", "is_refused"),
    [
        ("127.0.0.1", {"IP": "127.0.0.1", "PublicPort": 8080}, False, True),
        ("127.0.0.1", {"IP": "0.0.0.0", "PublicPort": 8080}, False, True),
        ("0.0.0.0", {"IP": "10.0.0.1", "PublicPort": 8080}, False, True),
        ("127.0.0.1", {"IP": "10.0.0.1", "PublicPort": 8080}, False, False),
        ("127.0.0.1", {"IP": "127.0.0.1", "PublicPort": 9000}, False, False),
        ("127.0.0.1", {"PrivatePort": 8080}, False, False),
        ("127.0.0.1", {"IP": "127.0.0.1", "PublicPort": 8080}, True, False),
    ],
)
def test_port_of_someone_else_is_refused_before_anything_is_created(
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    used: dict[str, Any],
    is_own: bool,
    is_refused: bool,
) -> None:
    spec = load_file(REPOSITORY / "Pulumi.docker.yaml")
    spec = spec.model_copy(update={"docker": spec.docker.model_copy(update={"address": address})})
    context = StackContext(root=REPOSITORY, stack="docker", spec=spec)
    labels = {HOSTING_LABEL: target.get_hosting_id(context)} if is_own else None
    entry = {"Names": ["/web"], "Labels": labels, "Ports": [used]}
    client = SimpleNamespace(api=SimpleNamespace(containers=lambda: [entry]))
    monkeypatch.setattr(engine_module, "open_engine", lambda _host: nullcontext(client))
    expected = pytest.raises(SpecError, match="published by the container 'web'")
    with expected if is_refused else nullcontext():
        target.require_free_ports(context)


def test_engine_that_does_not_run_is_named_with_the_reason_of_the_system() -> None:
    with (
        pytest.raises(
            engine_module.EngineError, match=r"not respond: Connection refused\. Nothing"
        ),
        engine_module.open_engine("tcp://127.0.0.1:1"),
    ):
        pass

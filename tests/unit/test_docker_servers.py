"""The plan of a stack on several servers: what it declares, with mocks instead of the engines."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest

from berth.operations.lifecycle import exclude
from berth.platforms.docker import lost_hosts
from berth.platforms.docker.deploy import deploy
from berth.platforms.docker.drift import find_host
from berth.platforms.docker.hosts import find_unreachable_hosts
from berth.platforms.docker.lost_hosts import find_lost_hosts
from berth.platforms.stack_context import StackContext, pass_skipped_parts
from pulumi_berth.docker import engine
from pulumi_berth.docker.engine import EngineError
from tests.repository import REPOSITORY
from tests.unit.component_host import Resources, record
from tests.unit.spec_file import load

_SPEC = """\
config:
  berth:platform: docker
  berth:models:
    digits:
      versions: {"1": {}, "2": {standby: cold}}
      traffic: {"1": 100}
      replicas: {min: 2, max: 2}
  berth:docker:
    manager: two
    hosts:
      one: {address: "ssh://ann@192.0.2.1", memory: 2Gi, private_address: 10.0.0.1}
      two:
        address: ssh://ann@192.0.2.2
        memory: 2Gi
        private_address: 10.0.0.2
        listen_address: 0.0.0.0
"""
_OUTPUTS = {
    "key": "key-of-a-client", "reference": f"engine.invalid/x@sha256:{'1' * 64}",
    "image_id": f"sha256:{'2' * 64}", "address": "0123456789ab", "report": {},
}  # fmt: skip


def _declare(directory: Path, text: str = _SPEC) -> tuple[Resources, dict[str, Any]]:
    spec, outputs = load(directory, text, "docker"), dict[str, Any]()

    def declare() -> None:
        declared = deploy(spec, stack="x", root=REPOSITORY)
        pulumi.Output.all(**declared["endpoints"]).apply(outputs.update)
        declared["endpoint"].apply(lambda first: outputs.update(endpoint=first))

    return record(declare, _OUTPUTS), outputs


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> Resources:
    """What the servers declare. Tests must not change it."""
    return _declare(tmp_path_factory.mktemp("servers"))[0]


def _list_containers(resources: Resources, part: str) -> dict[str, Any]:
    return {
        name: inputs
        for (kind, name), inputs in resources.items()
        if kind == "Container" and part in name
    }


def test_networks_between_servers_are_internal_and_encrypted(resources: Resources) -> None:
    networks = {name: inputs for (kind, name), inputs in resources.items() if kind == "Network"}
    shared = {
        name: inputs for name, inputs in networks.items() if inputs.get("driver") == "overlay"
    }
    assert set(shared) == {"berth-x-two-berths", "berth-x-two-limits"}
    for network in shared.values():
        assert network["internal"]
        assert network["attachable"]
        assert network["options"] == {"encrypted": ""}


def test_encryption_of_the_networks_can_be_turned_off(tmp_path: Path) -> None:
    text = _SPEC.replace("    manager: two\n", "    manager: two\n    encrypted: false\n")
    # The name differs, so that turning it off replaces the network.
    assert _declare(tmp_path, text)[0]["Network", "berth-x-two-berths-plain"]["options"] == {}


def test_replicas_are_on_both_servers_and_have_one_name(resources: Resources) -> None:
    berths = _list_containers(resources, "digits")
    assert sorted(berths) == ["berth-x-one-digits-1-0", "berth-x-two-digits-1-1"] or sorted(
        berths
    ) == ["berth-x-one-digits-1-1", "berth-x-two-digits-1-0"]
    for berth in berths.values():
        assert "ports" not in berth
        (network,) = berth["networksAdvanced"]
        assert network["name"] == "berth-x-two-berths"
        assert network["aliases"] == ["digits-1"]


def test_gateways_share_valkey_in_a_network_of_their_own(resources: Resources) -> None:
    (valkey,) = _list_containers(resources, "valkey").values()
    assert [network["name"] for network in valkey["networksAdvanced"]] == ["berth-x-two-limits"]
    gateways = _list_containers(resources, "gateway")
    assert len(gateways) == 4
    for gateway in gateways.values():
        names = {network["name"] for network in gateway["networksAdvanced"]}
        assert names == {"berth-x-two-berths", "berth-x-two-limits"}
        assert "GATEWAY_VALKEY_URL_FILE=/etc/berth/valkey-url" in gateway["envs"]


def test_berths_get_the_token_and_not_the_url_of_valkey(resources: Resources) -> None:
    for host in ("one", "two"):
        files = resources["VolumeFiles", f"berth-x-{host}-berth-token"]["files"]
        assert set(files.get("value", files)) == {"token"}
        files = resources["VolumeFiles", f"berth-x-{host}-token"]["files"]
        assert set(files.get("value", files)) == {"token", "valkey-url"}
    for berth in _list_containers(resources, "digits").values():
        assert [mount["source"].endswith("-berth-token") for mount in berth["mounts"]] == [True]


def test_all_gateways_have_the_same_configuration(resources: Resources) -> None:
    texts = [
        text
        for (kind, name), inputs in resources.items()
        if kind == "VolumeFiles" and name.endswith("gateway-config")
        for text in inputs["files"].values()
    ]
    assert len(texts) == 2
    assert texts[0] == texts[1]
    versions = json.loads(texts[0])["models"]["digits"]["versions"]
    assert versions == {"1": "http://digits-1:8080", "2": "http://digits-2:8080"}


def test_replicas_of_an_own_container_are_in_a_network_with_the_gateways_of_all_servers(
    tmp_path: Path,
) -> None:
    image = f"registry.example.com/team/server@sha256:{'3' * 64}"
    container = f'"1": {{container: {{image: "{image}", port: 9001}}}}'
    resources = _declare(tmp_path, _SPEC.replace('"1": {}', container))[0]
    network = resources["Network", "berth-x-two-digits-1"]
    assert (network["driver"], network["internal"]) == ("overlay", True)
    replicas = _list_containers(resources, "digits")
    assert len(replicas) == 2
    for replica in replicas.values():
        (attached,) = replica["networksAdvanced"]
        assert attached["name"] == "berth-x-two-digits-1"
        assert attached["aliases"] == ["digits-1"]
        assert replica["mounts"] == []
    for gateway in _list_containers(resources, "gateway").values():
        names = {attached["name"] for attached in gateway["networksAdvanced"]}
        assert "berth-x-two-digits-1" in names
    (text, *_) = (
        text
        for (kind, name), inputs in resources.items()
        if kind == "VolumeFiles" and name.endswith("gateway-config")
        for text in inputs["files"].values()
    )
    assert json.loads(text)["models"]["digits"]["versions"]["1"] == "http://digits-1:9001"


def test_endpoints_are_those_of_all_servers(tmp_path: Path) -> None:
    one, two = "http://127.0.0.1:8080", "http://10.0.0.2:8080"
    assert _declare(tmp_path)[1] == {"one": one, "two": two, "endpoint": one}


def test_skipped_server_is_declared_and_another_one_is_the_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _declare(tmp_path)[0]
    monkeypatch.setenv("BERTH_SKIPPED_PARTS", "one")
    resources, outputs = _declare(tmp_path)
    # A resource that the program does not declare would be deleted.
    assert resources.keys() == expected.keys()
    assert outputs["endpoint"] == outputs["two"]


def test_single_server_needs_no_swarm(tmp_path: Path) -> None:
    text = _SPEC.partition("      two:")[0].replace("    manager: two\n", "")
    without = text.replace(", private_address: 10.0.0.1", "")
    assert _list_drivers(_declare(tmp_path, without)[0]) == {"bridge"}


def test_last_server_of_a_swarm_keeps_its_networks(tmp_path: Path) -> None:
    """Removing the other servers must not replace what remains."""
    text = _SPEC.partition("      two:")[0].replace("    manager: two\n", "")
    assert _list_drivers(_declare(tmp_path, text)[0]) == {"bridge", "overlay"}


def _list_drivers(resources: Resources) -> set[str]:
    return {
        str(inputs.get("driver", "bridge"))
        for (kind, _), inputs in resources.items()
        if kind == "Network"
    }


def test_pattern_of_a_skipped_server_matches_its_resources_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_engine(host: str) -> Any:
        if host.endswith(".1"):
            raise EngineError(f"{host} is not reachable.")
        return memoryview(b"")  # Any context manager.

    monkeypatch.setattr(engine, "open_engine", open_engine)
    (part,) = find_unreachable_hosts(load(tmp_path, _SPEC, "docker"), tmp_path)
    urn = "urn:pulumi:x::berth::berth:docker/{}:Host$docker:index/volume:Volume::a"
    assert part.urns == "**berth:docker/one:Host$**"
    # Those of other servers that use its resources, such as the networks, are updated.
    assert exclude([part]) == ["--exclude", part.urns]
    assert pass_skipped_parts([part]) == {"BERTH_SKIPPED_PARTS": "one"}
    assert find_host(urn.format("one")) == "one"
    assert find_host("urn:pulumi:x::berth::docker:index/volume:Volume::one") == ""


def _build_state() -> list[dict[str, Any]]:
    """Return resources in a state: of the hosts one and three, and of none."""
    urn = "urn:pulumi:x::berth::"
    of_host = [
        ("berth:docker/{}:Host", {}),
        ("berth:docker/{}:Host$pulumi:providers:docker", {"host": "ssh://ann@{}"}),
        ("berth:docker/{}:Host$docker:index/volume:Volume", {"name": "a"}),
    ]
    return [
        {
            "type": kind.rpartition("$")[2].format(name),
            "urn": f"{urn}{kind.format(name)}::{name}",
            "outputs": {key: value.format(name) for key, value in outputs.items()},
        }
        for name in ("one", "three")
        for kind, outputs in of_host
    ] + [{"type": "berth:index:X", "urn": f"{urn}berth:index:X::three", "outputs": {}}]


@pytest.mark.parametrize("is_reachable", [True, False])
def test_removed_server_that_does_not_respond_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_reachable: bool
) -> None:
    def open_engine(host: str) -> Any:
        assert host == "ssh://ann@three"
        if not is_reachable:
            raise EngineError("It is not reachable.")
        return memoryview(b"")  # Any context manager.

    monkeypatch.setattr(lost_hosts, "open_engine", open_engine)
    (tmp_path / "Pulumi.yaml").write_text("name: berth\nruntime: python\n")
    context = StackContext(root=tmp_path, stack="x", spec=load(tmp_path, _SPEC, "docker"))
    found = find_lost_hosts(context, _build_state())
    if is_reachable:
        assert found == []
        return
    (part,) = found
    assert (part.key, part.reason) == ("three", "It is not reachable.")
    assert part.resources == {each["urn"] for each in _build_state()[3:6]}
    assert "0 containers, 1 volumes, 0 networks" in part.remains
    assert "docker volume rm $(docker volume ls -q --filter label=berth.hosting=" in part.remains

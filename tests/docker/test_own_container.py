"""A container of the user's own on a Docker engine: built there, hardened and replaced."""

import json
from pathlib import Path
from typing import Any

import pytest

from berth.platforms.docker.metrics import read_metrics
from berth.platforms.stack_context import StackContext
from berth.spec import load_file
from pulumi_berth.own_container_rules import digest_context
from tests.cluster import own_server
from tests.docker.benchmark import OWN_DEVIATIONS, find_failures
from tests.docker.hosting import DockerProject
from tests.engine.project import Load, wait_for
from tests.own_image import ANSWER, MODEL, REQUEST, change_mark, write_context

pytestmark = pytest.mark.slow
# What Berth's own container and one of the user's have in common.
_HARDENING = (
    *("Privileged", "ReadonlyRootfs", "CapAdd", "CapDrop", "SecurityOpt", "PidsLimit", "Dns"),
    *("PidMode", "IpcMode", "UTSMode", "Binds", "Devices", "PortBindings", "RestartPolicy"),
    *("LogConfig", "CpuPeriod"),
)


@pytest.fixture(scope="module")
def context(docker_project: DockerProject) -> Path:
    """The build context in the project."""
    (docker_project.root / "shout.json").write_text(json.dumps(REQUEST))
    return write_context(docker_project.root / "server")


def _add_container(config: Any, **settings: Any) -> None:
    container = {"context": "server", "port": own_server.PORT, "example": "shout.json"}
    config["berth:models"][MODEL] = {
        "versions": {"1": {"container": container | settings}},
        "resources": {"cpu": "50m", "cpu_limit": "1", "memory": "192Mi"},
    }


def _send(project: DockerProject) -> list[str]:
    answer: list[str] = project.json("invoke", MODEL)["outputs"][0]["data"]
    return answer


def _create_load(project: DockerProject) -> Load:
    headers = {"x-api-key": project.key(), "content-type": "application/json"}
    path = f"/v2/models/{MODEL}/infer"
    return Load(project.endpoint, headers, path, json.dumps(REQUEST).encode())


def test_own_container_is_built_in_the_engine_and_treated_like_a_berth(
    up: DockerProject, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up.deploy(_add_container)
    assert _send(up) == ANSWER
    status = up.json("status")
    berth = status["models"][MODEL]["versions"]["1"]
    assert (berth["state"], berth["traffic"]) == ("ready", 100)
    assert berth["digest"] == digest_context(context)
    own, berth = up.container("berth", MODEL), up.container("berth", "digits", "1")
    assert own.attrs["Config"]["User"] == "65532:65532"
    for key in _HARDENING:
        assert own.attrs["HostConfig"][key] == berth.attrs["HostConfig"][key], key
    assert own.attrs["HostConfig"]["Memory"] == 192 << 20
    assert own.attrs["Mounts"] == []
    assert not [line for line in own.attrs["Config"]["Env"] if line.startswith("BERTH_")]
    assert find_failures(own.attrs) == OWN_DEVIATIONS
    up.berth("preview", "--expect-no-changes")

    # Its requests are not known to Berth, which is not the same as none.
    with up.load():
        snapshot, sections = up.watch()
    assert snapshot["problems"] == []
    assert snapshot["drift"] == []
    assert (snapshot["platform"], snapshot["gateway"]) == ("docker", "ready")
    berths = {(each["model"], each["version"]): each for each in snapshot["berths"]}
    assert berths["digits", "1"]["rates"]["per_second"] > 0
    assert berths["digits", "1"]["rates"]["failed_share"] == 0
    assert berths["digits", "1"]["rates_note"] is None
    assert berths[MODEL, "1"]["rates"] is None
    assert "its own container does not report requests" in berths[MODEL, "1"]["rates_note"]
    assert "its own container does not report requests" in sections["berths"]
    assert sections["problems"] == ""
    stack = StackContext(root=up.root, stack=up.stack, spec=load_file(up.config_file))
    monkeypatch.setenv("DOCKER_HOST", up.environment["DOCKER_HOST"])
    metrics = read_metrics(stack, {}).values()
    assert [text.count("# TYPE berth_gateway_in_flight") for text in metrics].count(1) == 1

    # Only the gateways are in its network.
    (network,) = own.attrs["NetworkSettings"]["Networks"]
    names = up.engine.docker(
        "network", "inspect", "-f", "{{.Internal}} {{range .Containers}}{{.Name}} {{end}}", network
    ).split()
    gateways = [str(each.name) for each in up.find("gateway")]
    assert sorted(names) == sorted(["true", str(own.name), *gateways])

    up.kill_program(own)
    wait_for(up.is_serving, seconds=60)
    assert up.container("berth", MODEL).id == own.id

    load = _create_load(up)
    with load.running():
        change_mark(context, "!")
        up.deploy(_add_container)
    load.assert_no_failures()
    assert load.total > 50
    assert _send(up) == [f"{text}!" for text in ANSWER]

"""A stack on two servers over SSH, whose engines are nodes of one swarm."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from berth_protocol.model_card import read_card
from tests.cluster import own_server
from tests.cluster.stacks import create_project
from tests.docker.engine import Server
from tests.docker.lab import Servers
from tests.engine.project import Load, Project
from tests.own_image import ANSWER, MODEL, REQUEST, write_context

_SMALL = {"cpu": "50m", "cpu_limit": "1", "memory": "192Mi"}
_PORT = 8080


def _build_config(servers: Servers) -> dict[str, Any]:
    return {
        "berth:platform": "docker",
        "berth:models": {
            "digits": {
                "versions": {"1": {}},
                "replicas": {"min": 2, "max": 2},
                "resources": _SMALL,
            },
            # On one of the servers. The gateway of the other reaches it.
            "breast-cancer": {"versions": {"1": {}}, "resources": _SMALL},
            MODEL: {
                "versions": {"1": {"container": {"context": "server", "port": own_server.PORT}}},
                "replicas": {"min": 2, "max": 2},
                "resources": _SMALL,
            },
        },
        "berth:gateway": {
            "clients": {
                "default": {"rate_per_second": 100000, "burst": 100000},
                "few": {"quota": {"requests": 3, "period": "month"}},
            }
        },
        "berth:docker": {
            "port": _PORT,
            "ready_timeout_seconds": 600,
            # The kernel of a test machine may have no IPsec.
            "encrypted": False,
            "hosts": {
                server.machine.name: {
                    "address": server.url,
                    "memory": "1Gi",
                    "listen_address": server.address,
                    "private_address": server.address,
                }
                for server in servers.servers
            },
        },
    }


@pytest.fixture(scope="module")
def project(docker_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The deployed stack. Afterwards it is destroyed, and must leave nothing on the servers."""
    if shutil.which("pulumi") is None:
        pytest.skip("pulumi is not on the PATH; `./berth test` finds or builds it")
    docker_servers.create_swarm()
    try:
        config = {"config": _build_config(docker_servers)}
        project = create_project(tmp_path_factory.mktemp("servers"), "docker", config)
        project.environment |= docker_servers.environment()
        write_context(project.root / "server")
        (docker_servers.directory / "bin" / "docker").symlink_to("/usr/bin/docker")
        project.berth("up", "--yes")
        yield project
        project.berth("destroy", "--yes")
        for server in docker_servers.servers:
            assert server.docker("ps", "-aq") == ""
            assert server.docker("volume", "ls", "-q") == ""
            networks = server.docker("network", "ls", "--format", "{{.Name}}").split()
            assert [name for name in networks if name.startswith("berth")] == []
    finally:
        docker_servers.leave_swarm()


def _create_load(project: Project, server: Server, model: str = "digits") -> Load:
    request = read_card(project.root / "models" / model / "1").example
    return Load(
        endpoint=f"http://{server.address}:{_PORT}",
        headers={"x-api-key": project.key(), "content-type": "application/json"},
        path=f"/v2/models/{model}/infer",
        body=json.dumps(request).encode(),
    )


def _send(load: Load, key: str | None = None) -> urllib3.BaseHTTPResponse:
    headers = load.headers if key is None else {**load.headers, "x-api-key": key}
    return urllib3.request(
        "POST", load.endpoint + load.path, body=load.body, headers=headers, retries=False,
        timeout=10,
    )  # fmt: skip


def _list_hosts(project: Project, model: str) -> list[str]:
    status = project.json("status")
    replicas = status["models"][model]["versions"]["1"]["replicas"]
    assert {replica["state"] for replica in replicas} == {"ready"}
    return sorted(replica["host"] for replica in replicas)


def test_each_gateway_reaches_the_berths_of_all_servers(
    project: Project, docker_servers: Servers
) -> None:
    assert _list_hosts(project, "digits") == ["server-1", "server-2"]
    assert len(_list_hosts(project, "breast-cancer")) == 1
    for server in docker_servers.servers:
        for model in ("digits", "breast-cancer"):
            assert _send(_create_load(project, server, model)).status == 200


def test_image_that_the_manager_built_runs_on_all_servers(
    project: Project, docker_servers: Servers
) -> None:
    assert _list_hosts(project, MODEL) == ["server-1", "server-2"]
    headers = {"x-api-key": project.key(), "content-type": "application/json"}
    for server in docker_servers.servers:
        endpoint = f"http://{server.address}:{_PORT}"
        load = Load(endpoint, headers, f"/v2/models/{MODEL}/infer", json.dumps(REQUEST).encode())
        assert json.loads(_send(load).data)["outputs"][0]["data"] == ANSWER


def test_only_gateways_publish_ports(project: Project, docker_servers: Servers) -> None:
    assert project.json("status")["gateway"] == "ready"
    for server in docker_servers.servers:
        lines = server.docker("ps", "--format", "{{.Names}} {{.Ports}}").splitlines()
        published = [line for line in lines if "->" in line]
        assert len(published) == 1
        assert "-entry-" in published[0]
        assert f"{server.address}:{_PORT}->" in published[0]


def test_gateways_share_quotas(project: Project, docker_servers: Servers) -> None:
    first, second = (_create_load(project, server) for server in docker_servers.servers)
    key = project.key("few")
    statuses = [_send(load, key).status for load in (first, second, first, second, first)]
    assert statuses == [200, 200, 200, 429, 429]


def test_no_secret_is_visible_in_the_engines(project: Project, docker_servers: Servers) -> None:
    key = project.key()
    for server in docker_servers.servers:
        ids = server.docker("ps", "-aq").split()
        text = server.docker("inspect", *ids)
        assert key not in text
        assert "valkey://" not in text
        environment = [line for each in json.loads(text) for line in each["Config"]["Env"]]
        assert not [line for line in environment if "PASSWORD" in line or "TOKEN=" in line]

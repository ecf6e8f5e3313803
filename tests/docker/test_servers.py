"""A stack on two servers over SSH, whose engines are nodes of one swarm."""

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from berth_protocol.model_card import read_card
from tests.cluster import own_server
from tests.cluster.cluster import poll
from tests.cluster.stacks import create_project, read_config
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
            assert _list_objects(server) == []
    finally:
        docker_servers.leave_swarm()


def _list_objects(server: Server) -> list[str]:
    """Return the containers, volumes and networks of stacks on a server."""
    networks = server.docker("network", "ls", "--format", "{{.Name}}").split()
    return [
        *server.docker("ps", "-a", "--format", "{{.Names}}").split(),
        *server.docker("volume", "ls", "-q").split(),
        *(name for name in networks if name.startswith("berth")),
    ]


def _list_berths(server: Server) -> dict[str, str]:
    """Return the ID of each container of digits on a server, and its `BERTH_MAX_BATCH`."""
    ids = server.docker("ps", "-aq", "--filter", "label=berth.model=digits").split()
    found = json.loads(server.docker("inspect", *ids)) if ids else []
    return {
        each["Id"]: line.partition("=")[2]
        for each in found
        for line in each["Config"]["Env"]
        if line.startswith("BERTH_MAX_BATCH=")
    }


def _list_gateways(server: Server) -> list[str]:
    label = "label=berth.component=gateway"
    return sorted(server.docker("ps", "-aq", "--filter", label).split())


def _write_config(project: Project, config: dict[str, Any]) -> None:
    (project.root / "Pulumi.docker.yaml").write_text(json.dumps({"config": config}))


@contextlib.contextmanager
def _lose(server: Server) -> Iterator[None]:
    server.lose()
    try:
        yield
    finally:
        server.return_to_network()


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
    # A new connection: an earlier one can lead to a gateway that was replaced.
    with urllib3.PoolManager(retries=False, timeout=10) as client:
        return client.request("POST", load.endpoint + load.path, body=load.body, headers=headers)


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


@pytest.mark.slow
def test_lost_server_under_load_is_skipped_until_it_returns(
    project: Project, docker_servers: Servers
) -> None:
    first, second = docker_servers.servers
    before = _list_berths(first).keys()
    load = _create_load(project, first)
    with load.running(8), contextlib.ExitStack() as stack:
        total = load.total
        poll(lambda: load.total > total + 200, seconds=60)
        stack.enter_context(_lose(second))
        lost = load.total
        # Requests that hang end with the block.
        poll(lambda: load.total > lost + 200, seconds=120)
        config = read_config(project)
        config["berth:models"]["digits"]["serving"] = {"max_batch": 64}
        _write_config(project, config)
        process = project.berth("up", "--yes", code=1)
        assert process.stderr.count("Skipping host server-2: ") == 1
        assert "Not changed: host server-2" in process.stderr
        changed = _list_berths(first)
        assert list(changed.values()) == ["64"]
        assert changed.keys().isdisjoint(before)
        status = project.json("status")
        assert status["gateways"] == {"server-1": "ready", "server-2": "host unreachable"}
        replicas = status["models"]["digits"]["versions"]["1"]["replicas"]
        states = {each["host"]: each["state"] for each in replicas}
        assert states == {"server-1": "ready", "server-2": "host unreachable"}
    failures = load.statuses - Counter({"200": load.statuses["200"]})
    # A response that broke off in its middle is not repeated. Each client waited for one.
    assert set(failures) <= {"502"}, load.statuses
    assert failures.total() <= 8, load.statuses
    assert set(_list_berths(second).values()) == {"1024"}
    project.berth("up", "--yes")
    assert _list_hosts(project, "digits") == ["server-1", "server-2"]
    assert list(_list_berths(second).values()) == ["64"]
    assert _list_berths(first) == changed


@pytest.mark.slow
def test_server_is_removed_and_added_without_a_failed_request(
    project: Project, docker_servers: Servers
) -> None:
    first, second = docker_servers.servers
    gateways = _list_gateways(first)
    complete, fewer = read_config(project), read_config(project)
    del fewer["berth:docker"]["hosts"][second.machine.name]
    for config, hosts in (
        (fewer, ["server-1", "server-1"]),
        (complete, ["server-1", "server-2"]),
    ):
        load = _create_load(project, first)
        _write_config(project, config)
        with load.running():
            project.berth("up", "--yes")
        load.assert_no_failures()
        assert _list_hosts(project, "digits") == hosts
        assert _list_gateways(first) == gateways
        if config is fewer:
            assert _list_objects(second) == []
        else:
            assert _send(_create_load(project, second)).status == 200


@pytest.mark.slow
@pytest.mark.runs_last
def test_lost_server_that_never_returns_is_forgotten(
    project: Project, docker_servers: Servers
) -> None:
    first, second = docker_servers.servers
    config = read_config(project)
    del config["berth:docker"]["hosts"][second.machine.name]
    _write_config(project, config)
    with _lose(second):
        error = project.berth("up", "--yes", code=1).stderr
        assert "The specification no longer has host server-2" in error
        assert "run 'berth up -s docker --forget server-2'" in error
        output = project.berth("up", "--yes", "--forget", "server-2").stderr
        assert "Forgot host server-2. These remain at" in output
        assert _list_hosts(project, "digits") == ["server-1", "server-1"]
        assert _send(_create_load(project, first)).status == 200
    assert _list_objects(second) != []
    for command in output.partition("Delete them there with '")[2].split("'")[0::2][:3]:
        second.machine.run("sh", "-c", command)
    # The swarm removes its networks from a server that has no container in them.
    poll(lambda: _list_objects(second) == [], seconds=60)
    assert (
        "not reachable can be forgotten"
        in project.berth("up", "--yes", "--forget", "server-2", code=1).stderr
    )

"""The processes of a local stack under load: restarts, drift, and the loss of their supervisor."""

import json
import os
import secrets
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pulumi.dynamic import DiffResult

from berth_protocol.model_card import digest, read_card
from pulumi_berth.api_key import hash_api_key
from pulumi_berth.local import berth_process, gateway_process, supervisor, supervisord
from pulumi_berth.local.run_dir import RunDir
from pulumi_berth.local.stack_processes import find_processes, get_listening_ports
from pulumi_berth.providers import BerthProvider, GatewayProvider
from pulumi_berth.serving_settings import ServingSettings
from tests.engine.project import Load, wait_for
from tests.repository import REPOSITORY

_MODEL = REPOSITORY / "models" / "digits" / "1"
_MORE_REQUESTS = 100


class _Hosting:
    """A gateway and one berth, operated by the provider functions as the engine does."""

    def __init__(self, run_dir: RunDir) -> None:
        self.run_dir = run_dir
        supervisor.start_empty(run_dir)
        self.berth_inputs: dict[str, Any] = {
            "run_dir": str(run_dir.path),
            "model": "digits",
            "version": "1",
            "model_dir": str(_MODEL),
            "digest": digest(_MODEL),
            "program_digest": "sha256:0",
            "environment": ServingSettings().environment(),
        }
        self.create_berth()
        self.gateway: dict[str, Any] = {}
        self.gateway = GatewayProvider().create(self.gateway_inputs()).outs or {}

    def create_berth(self) -> None:
        result = BerthProvider().create(self.berth_inputs)
        assert result.outs
        self.berth_name, self.berth = result.id, result.outs

    def diff_berth(self) -> DiffResult:
        return BerthProvider().diff(self.berth_name, self.berth, self.berth_inputs)

    def gateway_inputs(self, **changes: Any) -> dict[str, Any]:
        return {
            "run_dir": str(self.run_dir.path),
            "program_digest": self.gateway.get("program_digest", "sha256:0"),
            "gateway_port": None,
            "admin_port": None,
            "berths": [self.berth["process"]],
            "config": {
                "max_body_bytes": 1_000_000,
                "timeout_seconds": 30,
                "clients": [
                    {
                        "name": "default",
                        "keys": [{"name": "default", "sha256": hash_api_key("k")}],
                        "rate_per_second": 1e6,
                        "burst": 1_000_000,
                        "quota": None,
                    }
                ],
                "models": {
                    "digits": {
                        "versions": {"1": self.berth["url"]},
                        "exposed": ["1"],
                        "traffic": {"1": 100},
                        "shadow": None,
                    }
                },
            },
            **changes,
        }

    def update_gateway(self, **changes: Any) -> None:
        news = self.gateway_inputs(**changes)
        assert GatewayProvider().diff("", self.gateway, news).changes
        self.gateway = GatewayProvider().update("", self.gateway, news).outs or {}
        assert not GatewayProvider().diff("", self.gateway, news).changes

    def load(self) -> Load:
        return Load(
            endpoint=self.gateway["endpoint"],
            headers={"x-api-key": "k", "content-type": "application/json"},
            path="/v2/models/digits/infer",
            body=json.dumps(read_card(_MODEL).example).encode(),
        )

    def status_without_key(self) -> int:
        return httpx.post(f"{self.gateway['endpoint']}/v2/models/digits/infer").status_code


@pytest.fixture(scope="module")
def hosting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Hosting]:
    run_dir = RunDir(tmp_path_factory.mktemp("hosting") / "run")
    try:
        yield _Hosting(run_dir)
    finally:
        supervisor.delete(run_dir)


def _wait_for_more(load: Load) -> None:
    before = load.total
    wait_for(lambda: load.total >= before + _MORE_REQUESTS)


def _wait_until_both_have_the_sockets(hosting: _Hosting) -> None:
    port = int(hosting.gateway["gateway_listener_port"])

    def have_sockets() -> bool:
        pids = supervisord.get_pids(hosting.run_dir)
        return all(
            port in get_listening_ports(pids.get(name, 0)) for name in gateway_process.PROCESSES
        )

    wait_for(have_sockets)


def test_restart_with_another_program_or_port_fails_no_request(hosting: _Hosting) -> None:
    _wait_until_both_have_the_sockets(hosting)
    before = supervisord.get_pids(hosting.run_dir)
    endpoint = hosting.gateway["endpoint"]
    load = hosting.load()
    with load.running():
        hosting.update_gateway(program_digest=f"sha256:{secrets.token_hex(4)}")
        _wait_for_more(load)
    load.assert_no_failures()
    after = supervisord.get_pids(hosting.run_dir)
    assert {name for name in before if before[name] != after[name]} == {"gateway", "gateway-2"}
    assert hosting.gateway["endpoint"] == endpoint


def test_killed_gateway_processes_refuse_no_connection(hosting: _Hosting) -> None:
    for name in gateway_process.PROCESSES:
        _wait_until_both_have_the_sockets(hosting)
        os.kill(supervisord.get_pids(hosting.run_dir)[name], signal.SIGKILL)
        assert hosting.status_without_key() == 401


def test_gateway_that_cannot_start_leaves_the_old_one_serving(
    hosting: _Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    _wait_until_both_have_the_sockets(hosting)
    monkeypatch.setattr(
        gateway_process, "program_environment", lambda _: {"GATEWAY_LOG_LEVEL": "loud"}
    )
    news = hosting.gateway_inputs(program_digest="sha256:2")
    with pytest.raises(RuntimeError, match=r"exited during startup.*must be one of"):
        GatewayProvider().update("", hosting.gateway, news)
    assert hosting.status_without_key() == 401
    monkeypatch.undo()
    # The state still has the inputs of the gateway that serves, but one process is missing.
    hosting.update_gateway()
    assert gateway_process.is_alive(supervisord.get_states(hosting.run_dir))


def test_edited_configuration_is_drift_and_is_repaired(hosting: _Hosting) -> None:
    config = json.loads(hosting.run_dir.gateway_config.read_text())
    config["clients"][0]["keys"][0]["sha256"] = hash_api_key("another")
    original = hosting.run_dir.gateway_config.read_bytes()
    hosting.run_dir.gateway_config.write_text(json.dumps(config))
    refreshed = GatewayProvider().read("", hosting.gateway).outs
    assert refreshed
    assert refreshed["running"] is False
    for name in gateway_process.PROCESSES:
        supervisord.reload(hosting.run_dir, name)
    accepted = {"x-api-key": "another"}
    wait_for(lambda: httpx.get(f"{hosting.gateway['endpoint']}/v2", headers=accepted).is_success)
    # Also if only the process has it: the file looks as deployed.
    hosting.run_dir.gateway_config.write_bytes(original)
    assert "another configuration" in str(
        gateway_process.find_drift(hosting.run_dir, hosting.gateway)
    )
    hosting.update_gateway()
    assert httpx.get(f"{hosting.gateway['endpoint']}/v2", headers=accepted).status_code == 401


def test_berth_with_edited_settings_is_drift_and_is_replaced(hosting: _Hosting) -> None:
    program = hosting.run_dir.program(hosting.berth_name)
    text = program.read_text()
    assert not hosting.diff_berth().changes
    program.write_text(text.replace('BERTH_MAX_BATCH="', 'BERTH_MAX_BATCH="1'))
    assert hosting.diff_berth().replaces == ["process"]
    program.write_text(text)


def test_up_after_a_killed_supervisor_fails_no_request(hosting: _Hosting) -> None:
    """The engine updates the supervisor, replaces the berth, updates the gateway, then deletes."""
    pid = int((hosting.run_dir.path / "supervisord.pid").read_text())
    before = {process.pid for process in find_processes(hosting.run_dir)}
    load = hosting.load()
    with load.running():
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not supervisord.is_running(hosting.run_dir))
        supervisor.start(hosting.run_dir)
        old_name, old = hosting.berth_name, hosting.berth
        assert hosting.diff_berth().replaces == ["process"]
        hosting.create_berth()
        hosting.update_gateway()
        BerthProvider().delete(old_name, old)
        _wait_for_more(load)
    load.assert_no_failures()
    wait_for(lambda: len(supervisord.get_pids(hosting.run_dir)) == 3)
    assert before.isdisjoint({process.pid for process in find_processes(hosting.run_dir)})
    assert berth_process.find_drift(hosting.berth_name, hosting.berth, is_alive=True) is None


def test_suspended_supervisor_is_reported_instead_of_waited_for(
    hosting: _Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisord, "_RESPONSE_SECONDS", 0.2)
    pid = int((hosting.run_dir.path / "supervisord.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(supervisord.SupervisorError, match=r"did not respond within 0\.2 s"):
            supervisor.start(hosting.run_dir)
    finally:
        os.kill(pid, signal.SIGCONT)

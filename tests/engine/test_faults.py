"""Failures are repaired, invalid input changes nothing, and other processes are not signalled."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import httpx
import psutil
import pytest

from pulumi_berth.local.stack_processes import RUN_DIR_VARIABLE
from tests.engine.project import Project, wait_for

SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def bystander(project: Project) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of another program, whose run directory has a similar path."""
    environment = {**os.environ, RUN_DIR_VARIABLE: f"{project.run_dir.path}-of-another"}
    process = subprocess.Popen([sys.executable, "-c", SLEEP], env=environment)
    yield process
    process.kill()
    process.wait()


def _responds(up: Project) -> bool:
    return bool(up.json("invoke", "digits", "--version", "1")["model_version"] == "1")


def _supervisor_pid(up: Project) -> int:
    return int((up.run_dir.path / "supervisord.pid").read_text())


def _wait_for_lock(up: Project) -> None:
    locks = up.root / ".berth" / "state" / ".pulumi" / "locks"
    wait_for(lambda: any(locks.rglob("*.json")))


def test_killed_berth_restarts_on_its_port(up: Project) -> None:
    victim = up.berth_pid("digits", "1")
    assert victim
    url = up.json("status")["models"]["digits"]["versions"]["1"]["url"]
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: up.berth_pid("digits", "1") not in (None, victim))
    wait_for(lambda: up.json("status")["models"]["digits"]["versions"]["1"]["state"] == "ready")
    assert up.json("status")["models"]["digits"]["versions"]["1"]["url"] == url
    assert _responds(up)
    up.berth("preview", "--expect-no-changes")


def test_killed_gateway_restarts_on_its_port(up: Project) -> None:
    endpoint = up.json("status")["endpoint"]
    os.kill(up.pids()["gateway"], signal.SIGKILL)

    def is_ready() -> bool:
        try:
            return httpx.get(f"{endpoint}/v2/health/ready").status_code == 200
        except httpx.HTTPError:
            return False

    wait_for(is_ready)
    assert _responds(up)


def test_refresh_detects_and_up_restarts_dead_processes(
    up: Project, bystander: subprocess.Popen[bytes]
) -> None:
    endpoint = up.json("status")["endpoint"]
    for process in up.find_processes():
        process.kill()
    os.kill(_supervisor_pid(up), signal.SIGKILL)
    wait_for(lambda: not up.pids())
    assert up.json("status")["gateway"] == "stopped"

    refreshed = up.pulumi("refresh", "--yes")
    assert "updated" in refreshed.stdout
    assert up.json("preview")["steps"]

    up.berth("up", "--yes")
    assert up.json("status")["endpoint"] == endpoint
    assert _responds(up)
    assert len(up.find_processes()) >= len(up.pids())
    up.berth("preview", "--expect-no-changes")
    assert bystander.poll() is None


def test_up_without_refresh_replaces_orphaned_processes(up: Project) -> None:
    os.kill(_supervisor_pid(up), signal.SIGKILL)
    wait_for(lambda: not up.pids())
    up.berth("up", "--yes")
    # The processes of the killed supervisor have ended: each name has one process.
    processes = {process.pid for process in up.find_processes()}
    assert set(up.pids().values()) <= processes
    assert _responds(up)


def test_second_simultaneous_up_is_rejected(running: Project) -> None:
    running.edit(lambda c: c["berth:models"]["digits"].update(serving={"max_batch": 9}))
    first = running.start("up", "--yes")
    _wait_for_lock(running)
    second = running.berth("up", "--yes", code=1)
    assert "is locked by" in second.stderr
    assert "Nothing was changed" in second.stderr
    running.finish(first, "up")
    running.berth("preview", "--expect-no-changes")


@pytest.mark.parametrize("moment", ["lock", "process"])
def test_up_after_interrupted_up_converges(running: Project, moment: str) -> None:
    """The engine and its plugins are killed, as in a power failure."""
    max_batch = {"lock": 11, "process": 12}[moment]
    running.edit(lambda c: c["berth:models"]["digits"].update(serving={"max_batch": max_batch}))
    names = set(running.pids())
    interrupted = running.start("up", "--yes", start_new_session=True)
    if moment == "lock":
        _wait_for_lock(running)
    else:
        wait_for(lambda: set(running.pids()) - names)
    # The engine gives each plugin a process group of its own.
    plugins = psutil.Process(interrupted.pid).children(recursive=True)
    os.killpg(interrupted.pid, signal.SIGKILL)
    for plugin in plugins:
        with contextlib.suppress(psutil.NoSuchProcess):
            plugin.kill()
    running.finish(interrupted, "up", code=-signal.SIGKILL)
    assert _responds(running)

    repaired = running.berth("up", "--yes")
    assert "stale lock" in repaired.stderr
    assert len(running.pids()) == len(names)
    assert _responds(running)
    running.berth("preview", "--expect-no-changes")


def test_tampered_model_is_rejected_and_changes_nothing(up: Project) -> None:
    before = up.pids()
    model = up.root / "models" / "digits" / "2" / "model.onnx"
    content = model.read_bytes()
    try:
        model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        rejected = up.berth("up", "--yes", code=2)
        assert "model.onnx" in rejected.stderr
        assert "sha256" in rejected.stderr.lower().replace("-", "")
    finally:
        model.write_bytes(content)
    assert up.pids() == before


def test_reading_commands_work_with_a_broken_configuration_file(up: Project) -> None:
    """They use what the last update recorded, and say so in one line."""
    key = up.key()
    for text in ("config: [", "config:\n  berth:platform: moon\n", ""):
        up.config_file.write_text(text)
        status = up.berth("status", "--json")
        assert json.loads(status.stdout)["gateway"] == "ready"
        (line,) = [line for line in status.stderr.splitlines() if "recorded" in line]
        assert "Pulumi.local.yaml" in line
        assert _responds(up)
        assert up.key() == key
        assert up.berth("logs", "digits", "-n", "1").stdout
    assert "Pulumi.local.yaml" in up.berth("up", "--yes", code=2).stderr


def test_preview_that_expects_no_changes_exits_with_1_and_changes_nothing(up: Project) -> None:
    up.edit(lambda c: c["berth:models"]["digits"].update(traffic={"1": 50, "2": 50}))
    up.berth("preview", "--expect-no-changes", code=1)
    assert up.json("preview", "--expect-no-changes", code=1)["changes"]["update"] == 1
    # A process that somebody suspended or changed is a change too, and is named first.
    up.ensure_up()
    os.kill(_supervisor_pid(up), signal.SIGKILL)
    wait_for(lambda: not up.pids())
    status = up.json("status")
    assert (status["gateway"], len(status["notes"])) == ("ready", 1)
    assert "supervisor is not running" in up.berth("preview", "--expect-no-changes", code=1).stderr


def test_failed_update_shows_its_error_once_and_status_shows_what_runs(up: Project) -> None:
    broken = up.root / "models" / "digits" / "3"
    shutil.copytree(up.root / "models" / "digits" / "1", broken)
    card = (broken / "model.yaml").read_text()
    old = hashlib.sha256((broken / "model.onnx").read_bytes()).hexdigest()
    (broken / "model.onnx").write_bytes(b"not a model")
    new = hashlib.sha256(b"not a model").hexdigest()
    card = card.replace(old, new).replace("version: '1'", "version: '3'")
    (broken / "model.yaml").write_text(card)
    up.edit(lambda c: c["berth:models"]["digits"]["versions"].update({"3": {}}))
    try:
        failed = up.berth("up", "--yes", code=1)
    finally:
        shutil.rmtree(broken)
    output = failed.stdout + failed.stderr
    assert output.count("exited during startup") == 1
    assert "Traceback" not in output
    assert "Exception calling application" not in output
    status = up.json("status")
    assert status["update"]["result"] == "failed"
    versions = status["models"]["digits"]["versions"]
    assert {version: entry["state"] for version, entry in versions.items()} == {
        "1": "ready",
        "2": "ready",
    }
    assert _responds(up)


def test_missing_model_is_reported_and_changes_nothing(up: Project) -> None:
    before = up.pids()
    up.edit(lambda c: c["berth:models"]["digits"]["versions"].update({"3": {}}))
    rejected = up.berth("up", "--yes", code=2)
    assert "models/digits/3" in rejected.stderr
    assert up.pids() == before


def test_invalid_specification_is_rejected_before_the_engine_starts(up: Project) -> None:
    before = up.pids()
    up.edit(lambda c: c["berth:models"]["digits"].update(trafic={"1": 100}))
    rejected = up.berth("up", "--yes", code=2)
    assert "Pulumi.local.yaml" in rejected.stderr
    assert "trafic" in rejected.stderr
    assert "traffic" in rejected.stderr
    assert up.pids() == before


def test_missing_credentials_are_reported_before_the_engine_starts(up: Project) -> None:
    nothing = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    kept = {key: value for key, value in up.environment.items() if not key.startswith("AWS_")}
    without = replace(up, environment=kept | nothing | {"AWS_CONFIG_FILE": os.devnull})
    rejected = without.berth("up", "--yes", "--stack", "dev", code=2)
    assert "aws: AWS accepted no credentials in eu-central-1" in rejected.stderr
    assert len(rejected.stderr.strip().splitlines()) == 1


def test_port_in_use_is_reported_and_the_stack_keeps_serving(up: Project) -> None:
    endpoint = up.json("status")["endpoint"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        up.edit(lambda c: c.setdefault("berth:local", {}).update(gateway_port=port))
        rejected = up.berth("up", "--yes", code=1)
        assert f"Port {port} on 127.0.0.1 is in use" in rejected.stdout + rejected.stderr
        assert _responds(up)
    up.berth("up", "--yes")
    assert up.json("status")["endpoint"] == f"http://127.0.0.1:{port}"
    assert up.json("status")["endpoint"] != endpoint
    up.edit(lambda c: c.pop("berth:local"))
    up.berth("up", "--yes")
    # The gateway keeps its port instead of selecting another free one.
    assert up.json("status")["endpoint"] == f"http://127.0.0.1:{port}"


def test_destroy_after_a_crash_leaves_no_process(
    up: Project, bystander: subprocess.Popen[bytes]
) -> None:
    victim = up.berth_pid("digits", "1")
    assert victim
    os.kill(victim, signal.SIGKILL)
    up.berth("destroy", "--yes")
    assert up.find_processes() == []
    assert not up.run_dir.path.exists()
    assert bystander.poll() is None


def test_salt_of_another_clone_does_not_prevent_a_new_stack(
    new_project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Plain Pulumi writes a salt into the file, which one user commits and another clones."""
    other = Project.copy_to(tmp_path_factory.mktemp("other"))
    other.pulumi("stack", "init", "local")
    committed = other.config_file.read_text()
    assert "encryptionsalt" in committed
    new_project.config_file.write_text(committed)
    (new_project.root / ".berth").mkdir(mode=0o700)
    (new_project.root / ".berth" / "passphrase").write_text("another passphrase")
    new_project.berth("preview")
    assert new_project.config_file.read_text() == committed


def test_secret_of_another_machine_requires_its_passphrase(new_project: Project) -> None:
    new_project.edit(
        lambda c: c["berth:gateway"]["clients"].update(own={"rate_per_second": 1, "burst": 1})
    )
    new_project.pulumi("stack", "init", "local")
    new_project.pulumi(
        *("config", "set", "--secret", "--path", "berth:gateway.clients.own.key"), stdin="x" * 40
    )
    shutil.rmtree(new_project.root / ".berth")
    rejected = new_project.berth("preview", code=1)
    assert "another passphrase" in rejected.stderr

"""What fails is mended, bad input changes nothing, and nobody else's process is signalled."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from pulumi_berth.local.supervisord import RUN_DIR_VARIABLE
from tests.engine.project import Project, eventually

SLEEPER = "import time; time.sleep(600)"


@pytest.fixture
def bystander(project: Project) -> Iterator["subprocess.Popen[bytes]"]:
    """Somebody else's process, with a mark that is nearly ours."""
    environment = {**os.environ, RUN_DIR_VARIABLE: f"{project.run_dir.path}-of-another"}
    process = subprocess.Popen([sys.executable, "-c", SLEEPER], env=environment)
    yield process
    process.kill()
    process.wait()


def _answers(up: Project) -> bool:
    return up.json("invoke", "digits", "--version", "1")["model_version"] == "1"


def test_killed_berth_is_started_again_by_itself(up: Project) -> None:
    victim = up.berth_pid("digits", "1")
    assert victim
    port = up.json("status")["models"]["digits"]["versions"]["1"]["url"]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: up.berth_pid("digits", "1") not in (None, victim))
    state = eventually(
        lambda: up.json("status")["models"]["digits"]["versions"]["1"]["state"] == "ready"
    )
    assert state
    assert up.json("status")["models"]["digits"]["versions"]["1"]["url"] == port
    assert _answers(up)
    up.berth("preview", "--expect-no-changes")


def test_killed_gateway_is_started_again_on_its_port(up: Project) -> None:
    endpoint = up.json("status")["endpoint"]
    os.kill(up.pids()["gateway"], signal.SIGKILL)

    def ready() -> bool:
        try:
            return httpx.get(f"{endpoint}/v2/health/ready").status_code == 200
        except httpx.HTTPError:
            return False

    eventually(ready)
    assert _answers(up)


def test_refresh_sees_what_died_and_up_mends_it(
    up: Project, bystander: subprocess.Popen[bytes]
) -> None:
    endpoint = up.json("status")["endpoint"]
    for process in up.marked():
        process.kill()
    supervisor = _supervisor_pid(up)
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: not up.pids())
    states = up.json("status")
    assert states["gateway"] == "stopped"

    refreshed = up.pulumi("refresh", "--yes")
    assert "updated" in refreshed.stdout
    assert up.json("preview")["steps"]

    up.berth("up", "--yes")
    assert up.json("status")["endpoint"] == endpoint
    assert _answers(up)
    assert len(up.marked()) >= len(up.pids())
    up.berth("preview", "--expect-no-changes")
    assert bystander.poll() is None


def test_up_without_refresh_mends_as_well(up: Project) -> None:
    os.kill(_supervisor_pid(up), signal.SIGKILL)
    eventually(lambda: not up.pids())
    up.berth("up", "--yes")
    # What the killed supervisor left behind is gone: one process for each name.
    marked = {process.pid for process in up.marked()}
    assert set(up.pids().values()) <= marked
    assert _answers(up)


def test_second_up_at_the_same_time_is_refused(up: Project) -> None:
    up.edit(lambda c: c["berth:models"]["digits"].update(serving={"max_batch": 9}))
    first = up.start("up", "--yes")
    locks = up.root / ".berth" / "state" / ".pulumi" / "locks"
    eventually(lambda: any(locks.rglob("*.json")))
    second = up.berth("up", "--yes", code=1)
    assert "is locked by" in second.stderr
    assert "Nothing was changed" in second.stderr
    first.communicate(timeout=120)
    assert first.returncode == 0
    up.berth("preview", "--expect-no-changes")


@pytest.mark.parametrize("moment", ["lock", "process"])
def test_interrupted_up_converges_on_the_next(up: Project, moment: str) -> None:
    """The engine and its plugins are killed, as a power cut does it."""
    batch = {"lock": 11, "process": 12}[moment]
    up.edit(lambda c: c["berth:models"]["digits"].update(serving={"max_batch": batch}))
    names = set(up.pids())
    interrupted = up.start("up", "--yes", start_new_session=True)
    locks = up.root / ".berth" / "state" / ".pulumi" / "locks"
    if moment == "lock":
        eventually(lambda: any(locks.rglob("*.json")))
    else:
        eventually(lambda: set(up.pids()) - names)
    os.killpg(interrupted.pid, signal.SIGKILL)
    interrupted.communicate()
    assert _answers(up)

    mended = up.berth("up", "--yes")
    assert "has ended" in mended.stderr
    assert len(up.pids()) == len(names)
    assert _answers(up)
    up.berth("preview", "--expect-no-changes")


def test_tampered_model_changes_nothing(up: Project) -> None:
    before = up.pids()
    model = up.root / "models" / "digits" / "2" / "model.onnx"
    whole = model.read_bytes()
    try:
        model.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        refused = up.berth("up", "--yes", code=2)
        assert "model.onnx" in refused.stderr
        assert "sha256" in refused.stderr
    finally:
        model.write_bytes(whole)
    assert up.pids() == before


def test_missing_model_is_named_before_anything_changes(up: Project) -> None:
    before = up.pids()
    up.edit(lambda c: c["berth:models"]["digits"]["versions"].update({"3": {}}))
    refused = up.berth("up", "--yes", code=2)
    assert "models/digits/3" in refused.stderr
    assert up.pids() == before
    up.edit(lambda c: c["berth:models"]["digits"]["versions"].pop("3"))


def test_wrong_specification_is_refused_before_the_engine(up: Project) -> None:
    before = up.pids()
    up.edit(lambda c: c["berth:models"]["digits"].update(trafic={"1": 100}))
    refused = up.berth("up", "--yes", code=2)
    assert "Pulumi.local.yaml" in refused.stderr
    assert "trafic" in refused.stderr
    assert "traffic" in refused.stderr
    up.edit(lambda c: c["berth:models"]["digits"].pop("trafic"))
    assert up.pids() == before


def test_missing_credentials_are_told_before_the_engine_starts(up: Project) -> None:
    nothing = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    kept = {key: value for key, value in up.environment.items() if not key.startswith("AWS_")}
    without = replace(up, environment=kept | nothing | {"AWS_CONFIG_FILE": os.devnull})
    refused = without.berth("up", "--yes", "--stack", "dev", code=2)
    assert "aws: no credentials that AWS takes in eu-central-1" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_port_in_use_is_named_and_the_stack_goes_on(up: Project) -> None:
    endpoint = up.json("status")["endpoint"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        up.edit(lambda c: c.setdefault("berth:local", {}).update(gateway_port=port))
        refused = up.berth("up", "--yes", code=1)
        assert f"port {port} of 127.0.0.1 is in use" in refused.stdout + refused.stderr
        assert _answers(up)
    up.berth("up", "--yes")
    assert up.json("status")["endpoint"] == f"http://127.0.0.1:{port}"
    assert up.json("status")["endpoint"] != endpoint
    up.edit(lambda c: c["berth:local"].update(gateway_port=None))
    up.berth("up", "--yes")
    # Kept, not chosen anew.
    assert up.json("status")["endpoint"] == f"http://127.0.0.1:{port}"


def test_destroy_after_faults_leaves_nothing(
    up: Project, bystander: subprocess.Popen[bytes]
) -> None:
    victim = up.berth_pid("digits", "1")
    assert victim
    os.kill(victim, signal.SIGKILL)
    up.berth("destroy", "--yes")
    assert up.marked() == []
    assert not up.run_dir.path.exists()
    assert bystander.poll() is None


def _supervisor_pid(up: Project) -> int:
    return int((up.run_dir.path / "supervisord.pid").read_text())


def test_salt_of_another_machine_does_not_stop_a_new_stack(project: Project) -> None:
    """Plain Pulumi writes a salt into the file, one user commits it, and another user clones it."""
    original = (project.root / "Pulumi.local.yaml").read_text()
    project.pulumi("stack", "init", "local")
    text = (project.root / "Pulumi.local.yaml").read_text()
    assert "encryptionsalt" in text
    shutil.rmtree(project.root / ".berth")
    project.berth("preview")
    assert (project.root / "Pulumi.local.yaml").read_text() == text
    (project.root / "Pulumi.local.yaml").write_text(original)


def test_a_secret_of_another_machine_asks_for_its_passphrase(project: Project) -> None:
    project.edit(
        lambda c: c["berth:gateway"]["clients"].update(own={"rate_per_second": 1, "burst": 1})
    )
    project.pulumi(
        *("config", "set", "--secret", "--path", "berth:gateway.clients.own.key"), stdin="x" * 40
    )
    shutil.rmtree(project.root / ".berth")
    refused = project.berth("preview", code=1)
    assert "another passphrase" in refused.stderr

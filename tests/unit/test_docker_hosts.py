"""Servers of platform docker: the specification, what they need, and the checks of an engine."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from berth.platforms.docker import hosts as docker_hosts
from berth.platforms.docker import preflight
from berth.platforms.docker.preflight import build_needs, run_checks
from berth.platforms.docker.preflight_checks import CHECKS, Facts, Need
from berth.platforms.preflight import Finding, Status
from berth.platforms.stack_context import StackContext
from berth.spec import HostingSpec
from pulumi_berth.docker import engine
from pulumi_berth.docker.engine import EngineError
from tests.unit.spec_file import load, problems

_GIB = 1 << 30
_SPEC = """\
config:
  berth:platform: docker
  berth:models:
    digits:
      versions: {"1": {}, "2": {standby: cold}}
      traffic: {"1": 100}
      replicas: {min: 2, max: 2}
      resources: {cpu: "1", cpu_limit: "3", memory: 1Gi}
    images:
      versions: {"1": {}}
      compute: gpu
  berth:docker:
    hosts:
      one: {address: "ssh://ann@192.0.2.1", memory: 2Gi, private_address: 10.0.0.1}
      two: {address: "ssh://ann@192.0.2.2", memory: 2Gi, private_address: 10.0.0.2}
      gpu:
        address: ssh://ann@192.0.2.3
        memory: 2Gi
        private_address: 10.0.0.3
        compute: gpu
        gpus: 2
"""
# What Docker 20.10.24 of Debian 12 answers, without what no check reads.
_VERSION = {"Version": "20.10.24+dfsg1", "ApiVersion": "1.41"}
_SWARM = {
    "NodeID": "abc", "NodeAddr": "10.0.0.1", "LocalNodeState": "active", "ControlAvailable": True,
    "RemoteManagers": [{"NodeID": "abc", "Addr": "10.0.0.1:2377"}], "Managers": 1, "Nodes": 2,
}  # fmt: skip
_INFO = {
    "OSType": "linux", "Architecture": "x86_64", "DockerRootDir": "/var/lib/docker", "NCPU": 4,
    "MemTotal": 8 * _GIB, "MemoryLimit": True, "SwapLimit": True, "PidsLimit": True,
    "CpuCfsQuota": True, "CgroupVersion": "1", "LiveRestoreEnabled": False,
    "Runtimes": {"nvidia": {}, "runc": {"path": "runc"}},
    "SystemTime": "2026-11-26T09:32:07.14466283Z",
    "Swarm": _SWARM,
}  # fmt: skip
_FACTS = Facts(
    version=_VERSION, info=_INFO, clock_seconds=0.1, clock_error_seconds=0.2, free_bytes=20 * _GIB
)
_NEED = Need(
    architectures=["amd64"], image_bytes=2 * _GIB, memory_bytes=4 * _GIB, is_declared=False,
    cpus=2, gpus=1, private_address="10.0.0.1", must_manage=True,
)  # fmt: skip
_LEFT = {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "RemoteManagers": None}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "    hosts:\n",
            "    host: unix:///run/docker.sock\n    hosts:\n",
            "berth:docker.host: 'unix:///run/docker.sock' cannot be combined with hosts",
        ),
        (
            ", private_address: 10.0.0.1",
            "",
            "berth:docker.hosts.one: requires private_address, because there are several",
        ),
        (
            "ann@192.0.2.2",
            "ann@192.0.2.1",
            "berth:docker.hosts.two.address: 'ssh://ann@192.0.2.1' is also that of host one",
        ),
        ("10.0.0.2", "10.0.0.1", "private_address: '10.0.0.1' is also that of host one"),
        (
            "        gpus: 2\n",
            "",
            "berth:docker.hosts.gpu.gpus: cannot be combined with compute: gpu",
        ),
        (
            "memory: 1Gi}",
            "memory: 4Gi}",
            "berth:models.digits.versions.1: needs compute: cpu, 4096Mi for replica 1 of 2, and no "
            "host has that: host gpu runs compute: gpu; host one has 2048Mi left of 2048Mi; host "
            "two has 2048Mi left of 2048Mi. Lower its resources or replicas, or add a host",
        ),
    ],
)
def test_invalid_hosts_are_rejected(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert _SPEC.count(old) == 1
    (found,) = problems(tmp_path, _SPEC.replace(old, new), "docker")
    assert problem in found


def test_needs_are_those_of_the_replicas_on_each_host(tmp_path: Path) -> None:
    needs = build_needs(load(tmp_path, _SPEC, "docker"), image_bytes=5)
    assert {name: (need.cpus, need.gpus) for name, need in needs.items()} == {
        "one": (3.0, 0),
        "two": (3.0, 0),
        "gpu": (1.0, 1),
    }
    assert {need.memory_bytes for need in needs.values()} == {2 * _GIB}


def test_needs_of_a_single_engine_are_those_of_all_berths(tmp_path: Path) -> None:
    text = _SPEC.partition("    hosts:\n")[0] + "    port: 8080\n"
    (need,) = build_needs(load(tmp_path, text, "docker"), image_bytes=5).values()
    # Two replicas of digits/1, no replica of the cold digits/2, and images/1.
    assert need.memory_bytes == 2 * _GIB + 2 * _GIB
    assert (need.cpus, need.gpus) == (3.0, 1)


def _find(facts: Facts, need: Need = _NEED) -> dict[str, Finding]:
    return {finding.check: finding for check in CHECKS for finding in check(facts, need)}


def _with_info(**changes: Any) -> Facts:
    return replace(_FACTS, info={**_INFO, **changes})


def test_suitable_engine_passes_every_check() -> None:
    found = _find(_FACTS)
    # In a swarm, no engine can keep its containers running while it restarts.
    assert found.pop("live-restore").status is Status.OPTIONAL
    assert {finding.status for finding in found.values()} == {Status.PASSED}
    assert len(found) == len(CHECKS) - 1


@pytest.mark.parametrize(
    ("facts", "check", "status", "detail", "fix"),
    [
        (
            replace(_FACTS, version={"Version": "19.03.15", "ApiVersion": "1.40"}),
            "engine", Status.FAILED, "Docker 19.03.15 with API 1.40", "20.10 or later",
        ),
        (
            _with_info(OSType="windows"),
            "engine", Status.FAILED, "containers of windows", "Linux containers",
        ),
        (
            _with_info(Architecture="aarch64"),
            "architecture", Status.FAILED, "is arm64, and the images are for amd64",
            "Add arm64 to images.architectures",
        ),
        (
            _with_info(Architecture="riscv64"),
            "architecture", Status.FAILED, "is riscv64", "amd64 or arm64",
        ),
        (
            replace(_FACTS, free_bytes=_GIB),
            "disk", Status.WARNING, "1.0 GiB are free in /var/lib/docker, and the images need up "
            "to 2.0 GiB", "docker image prune -a",
        ),
        (replace(_FACTS, free_bytes=None), "disk", Status.NOT_CHECKED, "/var/lib/docker", ""),
        (
            replace(_FACTS, clock_seconds=-40.0),
            "clock", Status.FAILED, "40.0 s behind", "timedatectl set-ntp true",
        ),
        (
            replace(_FACTS, clock_seconds=3.0),
            "clock", Status.WARNING, "3.0 s ahead of", "timedatectl set-ntp true",
        ),
        (
            _with_info(MemoryLimit=False, PidsLimit=False),
            "limits", Status.FAILED, "cannot limit memory, pids", "controllers in the kernel",
        ),
        (
            _with_info(SwapLimit=False),
            "limits", Status.WARNING, "cannot limit swap", "swapaccount=1",
        ),
        (
            _with_info(MemTotal=_GIB),
            "memory", Status.WARNING, "has 1.0 GiB, and the berths may use 4.0 GiB", "Lower",
        ),
        (
            _with_info(NCPU=1),
            "cpus", Status.FAILED, "has 1 CPU cores, and a berth may use 2", "cpu_limit",
        ),
        (
            _with_info(Runtimes={"runc": {}}),
            "gpus", Status.WARNING, "needs 1 GPUs", "NVIDIA Container Toolkit",
        ),
        (
            _with_info(Swarm=_LEFT),
            "swarm", Status.FAILED, "is in no swarm (inactive)",
            "docker swarm init --advertise-addr 10.0.0.1",
        ),
        (
            _with_info(Swarm={**_SWARM, "NodeAddr": "192.0.2.1"}),
            "swarm", Status.FAILED, "joined its swarm with 192.0.2.1", "docker swarm leave",
        ),
        (
            _with_info(Swarm={**_SWARM, "ControlAvailable": False}),
            "swarm", Status.FAILED, "no manager", "docker node promote",
        ),
        (
            _with_info(Swarm={**_SWARM, "Managers": 2, "Nodes": 3}),
            "managers", Status.WARNING, "2 managers", "docker node demote",
        ),
        (
            _with_info(Swarm={**_SWARM, "Managers": 1, "Nodes": 3}),
            "managers", Status.OPTIONAL, "1 manager. While it is lost", "docker node promote",
        ),
    ],
)  # fmt: skip
def test_unsuitable_engine_is_reported_with_its_fix(
    facts: Facts, check: str, status: Status, detail: str, fix: str
) -> None:
    found = _find(facts)
    assert found[check].status is status
    assert detail in found[check].detail
    assert fix in found[check].fix
    assert bool(fix) == bool(found[check].fix)
    others = {each.status for each in found.values() if each.check not in (check, "live-restore")}
    assert others == {Status.PASSED}


@pytest.mark.parametrize(("managers", "nodes"), [(1, 2), (3, 3)])
def test_swarm_with_enough_managers_passes(managers: int, nodes: int) -> None:
    facts = _with_info(Swarm={**_SWARM, "Managers": managers, "Nodes": nodes})
    assert _find(facts)["managers"].status is Status.PASSED


def test_slow_answer_is_no_clock_difference() -> None:
    facts = replace(_FACTS, clock_seconds=31.0, clock_error_seconds=30.0)
    assert _find(facts)["clock"].status is Status.PASSED


def test_declared_memory_that_the_machine_lacks_fails() -> None:
    need = replace(_NEED, is_declared=True, memory_bytes=16 * _GIB)
    finding = _find(_FACTS, need)["memory"]
    assert finding.status is Status.FAILED
    assert "declares 16.0 GiB" in finding.detail
    assert "docker.hosts.<host>.memory" in finding.fix


def test_engine_with_gpus_in_its_device_list_passes() -> None:
    facts = _with_info(Runtimes={}, DiscoveredDevices=[{"ID": "nvidia.com/gpu=0"}])
    assert _find(facts)["gpus"].status is Status.PASSED


def _context(root: Path) -> StackContext:
    for model in ("digits", "images"):
        for version in ("1", "2"):
            directory = root / "models" / model / version
            directory.mkdir(parents=True)
            (directory / "model.onnx").write_bytes(b"0" * 1000)
    spec: HostingSpec = load(root, _SPEC, "docker")
    return StackContext(root=root, stack="docker", spec=spec)


def test_image_size_counts_the_files_of_deployed_versions_twice(tmp_path: Path) -> None:
    assert preflight.estimate_image_bytes(_context(tmp_path)) == _GIB + 2 * 3 * 1000


def test_image_size_counts_the_files_of_a_context(tmp_path: Path) -> None:
    text = (
        "config:\n  berth:platform: docker\n  berth:models:\n    own:\n"
        '      versions: {"1": {container: {context: server}}}\n'
    )
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "Dockerfile").write_bytes(b"0" * 1000)
    spec = load(tmp_path, text, "docker")
    context = StackContext(root=tmp_path, stack="docker", spec=spec)
    assert preflight.estimate_image_bytes(context) == _GIB + 2 * 1000


def test_engine_without_other_hosts_can_keep_containers_running() -> None:
    need = replace(_NEED, private_address=None)
    assert "swarm" not in _find(_FACTS, need)
    assert "daemon.json" in _find(_FACTS, need)["live-restore"].fix
    found = _find(_with_info(LiveRestoreEnabled=True), need)
    assert found["live-restore"].status is Status.PASSED


def test_hosts_of_different_swarms_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(address: str) -> Facts:
        number = address[-1]
        node = "other" if number == "2" else "abc"
        swarm = {**_SWARM, "NodeAddr": f"10.0.0.{number}", "RemoteManagers": [{"NodeID": node}]}
        return _with_info(Swarm=swarm)

    monkeypatch.setattr(preflight, "read_facts", read)
    found = {finding.check: finding for finding in run_checks(_context(tmp_path))}
    assert found["two: swarm"].status is Status.FAILED
    assert "another swarm than host gpu" in found["two: swarm"].detail
    assert "docker swarm join" in found["two: swarm"].fix


def _lose(*lost: str) -> Any:
    def read(address: str) -> Facts:
        if address.endswith(lost):
            raise EngineError(f"{address} is not reachable.")
        return _FACTS

    return read


def test_lost_host_is_a_warning_while_another_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "read_facts", _lose(".2"))
    found = {finding.check: finding for finding in run_checks(_context(tmp_path))}
    assert found["two: connection"].status is Status.WARNING
    assert "an update skips this host" in found["two: connection"].detail
    assert found["one: connection"].status is Status.PASSED
    assert found["gpu: gpus"].status is Status.PASSED
    assert not [check for check in found if check.startswith("two: ") and "connection" not in check]


def test_preflight_fails_if_no_host_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "read_facts", _lose(".1", ".2", ".3"))
    assert {finding.status for finding in run_checks(_context(tmp_path))} == {Status.FAILED}


@pytest.mark.parametrize(
    ("lost", "skipped"),
    [(("192.0.2.2",), ["host two"]), (("192.0.2.1", "192.0.2.2", "192.0.2.3"), []), ((), [])],
)
def test_lost_hosts_are_skipped_while_another_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: tuple[str, ...], skipped: list[str]
) -> None:
    from contextlib import contextmanager

    @contextmanager
    def open_engine(host: str) -> Iterator[None]:
        if lost and host.endswith(lost):
            raise EngineError(f"{host} is not reachable.")
        yield

    monkeypatch.setattr(engine, "open_engine", open_engine)
    parts = docker_hosts.find_unreachable_hosts(load(tmp_path, _SPEC, "docker"), tmp_path)
    assert [part.name for part in parts] == skipped

"""The checks of the CIS Docker Benchmark, and the page that lists them."""

import copy
import re
from typing import Any

import pytest

from tests.docker.benchmark import CHECKS, DEVIATIONS, OWN_DEVIATIONS, find_failures
from tests.repository import REPOSITORY

_PAGE = REPOSITORY / "docs" / "reference" / "docker-benchmark.md"
_ROW = re.compile(r"^\| (\d\.\d+) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
_CONTAINER: dict[str, Any] = {
    "Config": {
        "User": "65532:65532",
        "Env": ["BERTH_PORT=8080"],
        "Labels": {"berth.model": "digits"},
        "Healthcheck": {"Test": ["CMD", "/usr/bin/python3"]},
    },
    "HostConfig": {
        "CapDrop": ["ALL"], "CapAdd": None, "Privileged": False, "Binds": None,
        "SecurityOpt": ["no-new-privileges"], "NetworkMode": "berths", "Memory": 1, "MemorySwap": 1,
        "CpuShares": 51, "CpuQuota": 100000, "ReadonlyRootfs": True, "PublishAllPorts": False,
        "PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]},
        "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0}, "PidMode": "",
        "IpcMode": "private", "Devices": [], "DeviceRequests": None, "UTSMode": "",
        "CgroupParent": "", "PidsLimit": 512, "UsernsMode": "",
    },
    "Mounts": [{"Type": "volume", "Source": "/v/token", "Propagation": ""}],
    "NetworkSettings": {"Networks": {"berths": {}}},
}  # fmt: skip
# What makes a check fail: section, key and value.
_WORSE: dict[str, tuple[str, str, Any]] = {
    "4.1": ("Config", "User", ""),
    "4.10": ("Config", "Env", ["DB_PASSWORD=hunter2"]),
    "5.2": ("HostConfig", "SecurityOpt", ["no-new-privileges", "apparmor=unconfined"]),
    "5.3": ("HostConfig", "SecurityOpt", ["no-new-privileges", "label:disable"]),
    "5.4": ("HostConfig", "CapAdd", ["NET_RAW"]),
    "5.5": ("HostConfig", "Privileged", True),
    "5.6": ("HostConfig", "Binds", ["/etc:/etc"]),
    "5.8": ("HostConfig", "PortBindings", {"80/tcp": [{"HostIp": "10.0.0.1", "HostPort": "80"}]}),
    "5.9": ("Config", "ExposedPorts", {"22/tcp": {}}),
    "5.10": ("HostConfig", "NetworkMode", "host"),
    "5.11": ("HostConfig", "MemorySwap", -1),
    "5.12": ("HostConfig", "CpuQuota", 0),
    "5.13": ("HostConfig", "ReadonlyRootfs", False),
    "5.14": ("HostConfig", "PortBindings", {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}),
    "5.16": ("HostConfig", "PidMode", "host"),
    "5.17": ("HostConfig", "IpcMode", "shareable"),
    "5.18": ("HostConfig", "Devices", [{"PathOnHost": "/dev/sda"}]),
    "5.20": ("", "Mounts", [{"Type": "volume", "Propagation": "rshared"}]),
    "5.21": ("HostConfig", "UTSMode", "host"),
    "5.22": ("HostConfig", "SecurityOpt", ["no-new-privileges", "seccomp=unconfined"]),
    "5.25": ("HostConfig", "CgroupParent", "/other"),
    "5.26": ("HostConfig", "SecurityOpt", []),
    "5.27": ("Config", "Healthcheck", {"Test": ["NONE"]}),
    "5.29": ("HostConfig", "PidsLimit", None),
    "5.30": ("NetworkSettings", "Networks", {"bridge": {}}),
    "5.31": ("HostConfig", "UsernsMode", "host"),
    "5.32": (
        "",
        "Mounts",
        [{"Type": "volume", "Source": "/run/docker.sock", "Propagation": ""}],
    ),
}


@pytest.mark.parametrize("number", _WORSE)
def test_container_that_does_not_meet_a_recommendation_is_found(number: str) -> None:
    worse = copy.deepcopy(_CONTAINER)
    section, key, value = _WORSE[number]
    (worse[section] if section else worse)[key] = value
    assert find_failures(_CONTAINER) == DEVIATIONS
    assert find_failures(worse) == DEVIATIONS | {number}


def test_page_lists_the_section_of_the_runtime_and_what_a_test_reads() -> None:
    rows = {number: (result, shown) for number, _, _, result, shown in _list_rows()}
    assert {number for number in rows if number.startswith("5.")} == {
        f"5.{number}" for number in range(1, 33)
    }
    tested = {number for number, (_, shown) in rows.items() if "docker inspect" in shown}
    assert tested == CHECKS.keys()
    deviations = {number for number, (result, _) in rows.items() if result.startswith("no")}
    assert deviations & CHECKS.keys() == DEVIATIONS
    own = {number for number, (result, _) in rows.items() if "own container" in result}
    assert own == OWN_DEVIATIONS - DEVIATIONS


def _list_rows() -> list[tuple[str, str, str, str, str]]:
    rows: list[tuple[str, str, str, str, str]] = _ROW.findall(_PAGE.read_text(encoding="utf-8"))
    return rows

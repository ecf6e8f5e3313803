"""Checks of the CIS Docker Benchmark 1.6.0 on what an engine shows of its containers."""

from collections.abc import Callable, Mapping
from typing import Any

from berth_policy.rules.secrets import is_secret

Attributes = Mapping[str, Any]
"""What `docker inspect` shows of a container."""


def _host(attributes: Attributes, key: str) -> Any:
    return attributes["HostConfig"].get(key)


def _has_option(attributes: Attributes, *forbidden: str) -> bool:
    options = [str(option).replace(":", "=") for option in _host(attributes, "SecurityOpt") or ()]
    return any(option in forbidden for option in options)


def _list_host_ports(attributes: Attributes) -> list[Mapping[str, str]]:
    bindings = _host(attributes, "PortBindings") or {}
    return [binding for entries in bindings.values() for binding in entries or ()]


def _list_unpublished_ports(attributes: Attributes) -> set[str]:
    return set(attributes["Config"].get("ExposedPorts") or {}) - set(
        _host(attributes, "PortBindings") or {}
    )


def _has_health_check(attributes: Attributes) -> bool:
    tests = (attributes["Config"].get("Healthcheck") or {}).get("Test") or []
    return bool(tests) and tests[0] in ("CMD", "CMD-SHELL")


def _list_secret_names(attributes: Attributes) -> list[str]:
    pairs = [str(line).partition("=") for line in attributes["Config"].get("Env") or ()]
    labels = attributes["Config"].get("Labels") or {}
    return [name for name, value in [*((n, v) for n, _, v in pairs), *labels.items()]
            if is_secret(name, value)]  # fmt: skip


CHECKS: dict[str, Callable[[Attributes], bool]] = {
    "4.1": lambda c: c["Config"]["User"].partition(":")[0] not in ("", "0", "root"),
    "4.10": lambda c: not _list_secret_names(c),
    "5.2": lambda c: not _has_option(c, "apparmor=unconfined"),
    "5.3": lambda c: not _has_option(c, "label=disable"),
    "5.4": lambda c: _host(c, "CapDrop") == ["ALL"] and not _host(c, "CapAdd"),
    "5.5": lambda c: _host(c, "Privileged") is False,
    "5.6": lambda c: not _host(c, "Binds") and all(m["Type"] == "volume" for m in c["Mounts"]),
    "5.8": lambda c: all(int(port["HostPort"]) >= 1024 for port in _list_host_ports(c)),
    "5.9": lambda c: not _list_unpublished_ports(c) and not _host(c, "PublishAllPorts"),
    "5.10": lambda c: _host(c, "NetworkMode") != "host",
    "5.11": lambda c: _host(c, "Memory") > 0 and _host(c, "MemorySwap") == _host(c, "Memory"),
    "5.12": lambda c: _host(c, "CpuShares") > 0 and _host(c, "CpuQuota") > 0,
    "5.13": lambda c: _host(c, "ReadonlyRootfs") is True,
    "5.14": lambda c: all(port["HostIp"] not in ("", "0.0.0.0") for port in _list_host_ports(c)),
    "5.15": lambda c: _host(c, "RestartPolicy") == {"Name": "on-failure", "MaximumRetryCount": 5},
    "5.16": lambda c: _host(c, "PidMode") != "host",
    "5.17": lambda c: _host(c, "IpcMode") in ("private", "none"),
    "5.18": lambda c: not _host(c, "Devices") and not _host(c, "DeviceRequests"),
    "5.20": lambda c: all("shared" not in mount["Propagation"] for mount in c["Mounts"]),
    "5.21": lambda c: _host(c, "UTSMode") != "host",
    "5.22": lambda c: not _has_option(c, "seccomp=unconfined"),
    "5.25": lambda c: not _host(c, "CgroupParent"),
    "5.26": lambda c: _has_option(c, "no-new-privileges", "no-new-privileges=true"),
    "5.27": _has_health_check,
    "5.29": lambda c: 0 < (_host(c, "PidsLimit") or 0) <= 512,
    # The mode stays that of the container's creation, before it left the bridge.
    "5.30": lambda c: "bridge" not in c["NetworkSettings"]["Networks"],
    "5.31": lambda c: _host(c, "UsernsMode") != "host",
    "5.32": lambda c: not any("docker.sock" in str(mount) for mount in c["Mounts"]),
}
"""Whether a container meets a recommendation, by its number."""

DEVIATIONS = {"5.15"}
"""Recommendations that no container of a stack meets."""
OWN_DEVIATIONS = DEVIATIONS | {"5.27"}
"""Those of a container of the user's own, whose image declares no health check."""


def find_failures(attributes: Attributes) -> set[str]:
    """Return the numbers of the recommendations that a container does not meet."""
    return {number for number, is_met in CHECKS.items() if not is_met(attributes)}

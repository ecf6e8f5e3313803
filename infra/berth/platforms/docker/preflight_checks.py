"""The single checks of `berth preflight` on docker. Each reads the facts of one engine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from berth.platforms.preflight import Finding, Status

MIN_API = (1, 41)
"""API of Docker 20.10, the oldest engine that Berth is tested with."""
_MAX_CLOCK_SECONDS = 30.0
_WARN_CLOCK_SECONDS = 2.0
_GIB = 1 << 30
# Docker's names of architectures in GET /info are those of `uname`.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LIMITS = {"MemoryLimit": "memory", "PidsLimit": "pids", "CpuCfsQuota": "CPU"}


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a stack needs of one engine.

    Attributes:
        architectures: Architectures of the images.
        image_bytes: Disk space for the images, in bytes.
        memory_bytes: Memory of all berths, in bytes.
        is_declared: Whether `docker.hosts` declares `memory_bytes`.
        cpus: CPU cores that the largest berth may use.
        gpus: GPUs of all berths.
        private_address: Address with which the engine must be in a swarm. None if the stack has no
            other host.
        must_manage: Whether the engine must be a manager of the swarm.
    """

    architectures: Sequence[str]
    image_bytes: int
    memory_bytes: int
    is_declared: bool
    cpus: float
    gpus: int
    private_address: str | None = None
    must_manage: bool = False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What an engine says about itself and its machine.

    Attributes:
        version: Response of `GET /version`.
        info: Response of `GET /info`.
        clock_seconds: How far the machine's clock is ahead of this one's, in seconds.
        clock_error_seconds: Half of the time that the request took, in seconds.
        free_bytes: Free disk space where the engine stores images. None if nothing tells it.
    """

    version: Mapping[str, Any]
    info: Mapping[str, Any]
    clock_seconds: float
    clock_error_seconds: float
    free_bytes: int | None

    @property
    def architecture(self) -> str:
        """Architecture of the machine, as images name it."""
        name = str(self.info.get("Architecture", ""))
        return _ARCHITECTURES.get(name, name)


def check_version(facts: Facts, _need: Need) -> Iterator[Finding]:
    """Compare the versions of the engine and of its API with the oldest that Berth supports."""
    version, api = str(facts.version.get("Version")), str(facts.version.get("ApiVersion"))
    detail = f"Docker {version} with API {api}."
    if _parse(api) < MIN_API:
        fix = "Update it to Docker 20.10 or later."
        yield _finding("engine", Status.FAILED, detail, fix)
    elif (system := facts.info.get("OSType")) != "linux":
        fix = "Use an engine that runs Linux containers."
        detail = f"The engine runs containers of {system}."
        yield _finding("engine", Status.FAILED, detail, fix)
    else:
        yield _finding("engine", Status.PASSED, detail)


def check_architecture(facts: Facts, need: Need) -> Iterator[Finding]:
    """Compare the machine's architecture with those of the images."""
    built = need.architectures
    if facts.architecture in built:
        yield _finding("architecture", Status.PASSED, f"{facts.architecture}.")
        return
    detail = f"The machine is {facts.architecture}, and the images are for {', '.join(built)}."
    fix = f"Add {facts.architecture} to images.architectures, or use another machine."
    if facts.architecture not in _ARCHITECTURES.values():
        fix = f"Use a machine with {' or '.join(_ARCHITECTURES.values())}."
    yield _finding("architecture", Status.FAILED, detail, fix)


def check_disk(facts: Facts, need: Need) -> Iterator[Finding]:
    """Compare the free disk space with what all images need.

    It is a warning, because the engine may have most of them already.
    """
    directory = facts.info.get("DockerRootDir")
    if facts.free_bytes is None:
        detail = f"The free space in {directory} of the engine's machine is not known."
        yield _finding("disk", Status.NOT_CHECKED, detail)
        return
    detail = f"{facts.free_bytes / _GIB:.1f} GiB are free in {directory}"
    if facts.free_bytes < need.image_bytes:
        detail += f", and the images need up to {need.image_bytes / _GIB:.1f} GiB."
        fix = "Remove images that nothing uses with 'docker image prune -a', or add disk space."
        yield _finding("disk", Status.WARNING, detail, fix)
    else:
        yield _finding("disk", Status.PASSED, f"{detail}.")


def check_clock(facts: Facts, _need: Need) -> Iterator[Finding]:
    """Compare the machine's clock with this machine's."""
    difference = abs(facts.clock_seconds)
    direction = "ahead of" if facts.clock_seconds > 0 else "behind"
    detail = (
        f"The machine's clock is {difference:.1f} s {direction} this machine's "
        f"(±{facts.clock_error_seconds:.1f} s)."
    )
    certain = difference - facts.clock_error_seconds
    fix = "Synchronize both clocks, such as with 'timedatectl set-ntp true'."
    if certain > _MAX_CLOCK_SECONDS:
        yield _finding("clock", Status.FAILED, detail, fix)
    elif certain > _WARN_CLOCK_SECONDS:
        yield _finding("clock", Status.WARNING, detail, fix)
    else:
        yield _finding("clock", Status.PASSED, detail)


def check_limits(facts: Facts, _need: Need) -> Iterator[Finding]:
    """Check that the engine can limit what containers use."""
    missing = [limit for key, limit in _LIMITS.items() if not facts.info.get(key)]
    version = facts.info.get("CgroupVersion", "1")
    if missing:
        detail = f"The engine cannot limit {', '.join(missing)} of containers (cgroup v{version})."
        fix = (
            "Enable the controllers in the kernel, and use cgroup v2 with systemd for a rootless "
            "engine (https://docs.docker.com/engine/security/rootless/)."
        )
        yield _finding("limits", Status.FAILED, detail, fix)
    elif not facts.info.get("SwapLimit"):
        detail = "The engine cannot limit swap, so a berth can use more memory than its limit."
        fix = "Boot the machine with swapaccount=1, use cgroup v2, or turn swap off."
        yield _finding("limits", Status.WARNING, detail, fix)
    else:
        detail = f"memory, swap, CPU and pids (cgroup v{version})."
        yield _finding("limits", Status.PASSED, detail)


def check_memory(facts: Facts, need: Need) -> Iterator[Finding]:
    """Compare the machine's memory with that of all berths."""
    total, needed = int(facts.info.get("MemTotal", 0)), need.memory_bytes
    if needed <= total:
        yield _finding("memory", Status.PASSED, f"{total / _GIB:.1f} GiB.")
        return
    detail = f"The machine has {total / _GIB:.1f} GiB"
    if need.is_declared:
        detail += f", and the stack declares {needed / _GIB:.1f} GiB for berths."
        fix = "Lower docker.hosts.<host>.memory."
        yield _finding("memory", Status.FAILED, detail, fix)
    else:
        # A limit reserves nothing, so the containers start.
        detail += f", and the berths may use {needed / _GIB:.1f} GiB together."
        fix = "Lower the memory of models, or use a larger machine."
        yield _finding("memory", Status.WARNING, detail, fix)


def check_cpus(facts: Facts, need: Need) -> Iterator[Finding]:
    """Compare the CPU cores of the largest berth with those of the machine.

    The engine refuses a container with a higher limit than the machine has cores
    (daemon/daemon_unix.go in https://github.com/moby/moby).
    """
    cpus = int(facts.info.get("NCPU", 0))
    if need.cpus <= cpus:
        yield _finding("cpus", Status.PASSED, f"{cpus}.")
        return
    detail = f"The machine has {cpus} CPU cores, and a berth may use {need.cpus:g}."
    fix = "Lower resources.cpu and resources.cpu_limit of the model, or use a larger machine."
    yield _finding("cpus", Status.FAILED, detail, fix)


def check_gpus(facts: Facts, need: Need) -> Iterator[Finding]:
    """Check that an engine whose machine has GPUs can give them to containers."""
    if not need.gpus:
        return
    runtimes = facts.info.get("Runtimes") or {}
    devices = facts.info.get("DiscoveredDevices") or ()
    if "nvidia" in runtimes or any("nvidia.com/gpu" in str(device) for device in devices):
        yield _finding("gpus", Status.PASSED, "The engine has the NVIDIA runtime.")
        return
    # The engine gives GPUs to containers also with only the toolkit's hook on its PATH, which
    # nothing in its API shows.
    detail = f"The stack needs {need.gpus} GPUs there, and the engine lists no NVIDIA runtime."
    fix = (
        "Install the NVIDIA Container Toolkit, run 'sudo nvidia-ctk runtime configure "
        "--runtime=docker', and restart the engine."
    )
    yield _finding("gpus", Status.WARNING, detail, fix)


def check_swarm(facts: Facts, need: Need) -> Iterator[Finding]:
    """Check that the engine is in a swarm, whose networks reach other hosts."""
    if need.private_address is None:
        return
    swarm = facts.info.get("Swarm") or {}
    state, address = swarm.get("LocalNodeState"), swarm.get("NodeAddr")
    join = "'docker swarm join' with the command that 'docker swarm join-token worker' prints"
    if state != "active":
        detail = f"The engine is in no swarm ({state})."
        fix = (
            f"Run 'docker swarm init --advertise-addr {need.private_address}' on one host, and "
            f"{join} and --advertise-addr on the others."
        )
        yield _finding("swarm", Status.FAILED, detail, fix)
    elif address != need.private_address:
        detail = f"The engine joined its swarm with {address}, not with {need.private_address}."
        fix = (
            f"Correct private_address, or run 'docker swarm leave' and {join} and "
            f"--advertise-addr {need.private_address}."
        )
        yield _finding("swarm", Status.FAILED, detail, fix)
    elif need.must_manage and not swarm.get("ControlAvailable"):
        detail = "The engine is no manager of its swarm, and docker.manager names this host."
        fix = "Run 'docker node promote' for it on a manager, or set docker.manager."
        yield _finding("swarm", Status.FAILED, detail, fix)
    else:
        yield _finding("swarm", Status.PASSED, f"The engine is in a swarm with {address}.")


def check_managers(facts: Facts, need: Need) -> Iterator[Finding]:
    """Check that the swarm keeps a manager when it loses a server.

    An engine needs one to start a container in the swarm's networks. A swarm works while more than
    half of its managers are reachable (https://docs.docker.com/engine/swarm/admin_guide/).
    """
    swarm = facts.info.get("Swarm") or {}
    managers, nodes = int(swarm.get("Managers") or 0), int(swarm.get("Nodes") or 0)
    if not need.must_manage or not managers:
        return
    if managers == 2:
        detail = "The swarm has 2 managers. While it loses one of them, no container can start."
        fix = "Run 'docker node demote' for one, or 'docker node promote' for a third one."
        yield _finding("managers", Status.WARNING, detail, fix)
    elif managers == 1 and nodes > 2:
        detail = "The swarm has 1 manager. While it is lost, no container of the others can start."
        fix = "Run 'docker node promote' on it for two other servers."
        yield _finding("managers", Status.OPTIONAL, detail, fix)
    else:
        yield _finding("managers", Status.PASSED, f"{managers} of {nodes} nodes.")


def find_managers(facts: Facts) -> frozenset[str]:
    """Return the IDs of the managers of the engine's swarm."""
    managers = (facts.info.get("Swarm") or {}).get("RemoteManagers") or ()
    return frozenset(str(manager["NodeID"]) for manager in managers)


def check_restart(facts: Facts, need: Need) -> Iterator[Finding]:
    """Check that containers keep running while the engine restarts."""
    if facts.info.get("LiveRestoreEnabled"):
        detail = "Containers keep running while the engine restarts."
        yield _finding("live-restore", Status.PASSED, detail)
        return
    detail = "A restart of the engine, such as an update, stops all containers for that time."
    # https://docs.docker.com/engine/daemon/live-restore/ lists what it cannot be combined with.
    fix = (
        'Set "live-restore": true in the engine\'s daemon.json, and reload the engine.'
        if need.private_address is None
        else "An engine in a swarm cannot change that. Run two replicas of each berth."
    )
    yield _finding("live-restore", Status.OPTIONAL, detail, fix)


Check = Callable[[Facts, Need], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    check_version,
    check_architecture,
    check_disk,
    check_clock,
    check_limits,
    check_memory,
    check_cpus,
    check_gpus,
    check_swarm,
    check_managers,
    check_restart,
)


def _finding(check: str, status: Status, detail: str, fix: str = "") -> Finding:
    return Finding(check=check, status=status, detail=detail, fix=fix)


def _parse(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())

"""Whether the Pods of a stack fit on its nodes: requests, and what nodes leave for Pods.

The numbers that AWS and other projects define are in `tables/capacity.json`, with their sources.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from berth.platforms.aws.tables import read_table
from berth.spec import HostingSpec, ModelSpec, NodePoolSpec, SpecError
from berth.spec.fields import PodResourceSpec, parse_memory_bytes, parse_millicores
from pulumi_berth.aws.eks_versions import AFTER_NODES

_MEBIBYTE = 1 << 20
# The requests that the components declare; a test compares them with the declared Deployments.
_GATEWAY = _TRAEFIK = (50, 128)
_VALKEY = (50, 32)
_AUTOSCALER = (100, 600)
# Pods of the system may use addresses of the node itself: one network interface stays with it.
_HOST_NETWORK_PODS = 2


@dataclass(frozen=True, kw_only=True)
class Pod:
    """The requests of a Pod, or of each Pod of a DaemonSet.

    Attributes:
        name: Name for messages.
        cpu_millis: CPU request in thousandths of a core.
        memory_mib: Memory request in MiB.
        gpus: Number of GPUs.
    """

    name: str
    cpu_millis: int
    memory_mib: int
    gpus: int = 0


@dataclass(frozen=True, kw_only=True)
class Node:
    """What a node leaves for Pods other than its own daemons.

    Attributes:
        pool: Name of the node pool.
        instance_type: Instance type.
        cpu_millis: CPU in thousandths of a core.
        memory_mib: Memory in MiB.
        pods: Number of Pods.
        gpus: Number of GPUs.
    """

    pool: str
    instance_type: str
    cpu_millis: int
    memory_mib: int
    pods: int
    gpus: int


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How the Pods of one class of nodes fit.

    Attributes:
        compute: Class of the nodes: `cpu` or `gpu`.
        pods: Pods without load.
        initial: Nodes that the pools start with.
        largest: Nodes of all pools at their maximum.
        unplaced: Pods that find no place on the initial nodes.
    """

    compute: str
    pods: Sequence[Pod]
    initial: Sequence[Node]
    largest: Sequence[Node]
    unplaced: Sequence[Pod]


def reserve_cpu(vcpus: int) -> float:
    """Return the CPU that Bottlerocket reserves for the kubelet, in thousandths of a core.

    6% of the first core, 1% of the second, 0.5% of the next two, and 0.25% of all others.
    """
    shares = [60.0, 10.0, 5.0, 5.0]
    return sum(shares[:vcpus]) + 2.5 * max(0, vcpus - len(shares))


def count_pods(network_interfaces: int, addresses: int) -> int:
    """Return the number of Pods of a node whose Pods have secondary addresses of its interfaces."""
    return network_interfaces * (addresses - 1) + _HOST_NETWORK_PODS


def find_daemons(spec: HostingSpec, compute: str) -> list[Pod]:
    """Return the DaemonSets that run on every node of a class."""
    table = read_table("capacity")
    own = [table["addon_daemons"][name] for name in _addons(spec) if name in table["addon_daemons"]]
    gpu = table["gpu_daemons"] if compute == "gpu" else []
    return [Pod(**entry) for entry in [*table["daemons"], *gpu, *own]]


def measure_node(pool_name: str, instance_type: str, daemons: Sequence[Pod]) -> Node | None:
    """Return what a node leaves for other Pods, or None if the table lacks its instance type."""
    table = read_table("capacity")
    facts = read_instance_types().get(instance_type)
    if facts is None:
        return None
    vcpus = facts["vcpus"]
    pods = count_pods(facts["network_interfaces"], facts["addresses_per_interface"])
    visible = facts["memory_mib"] * (1 - table["memory_overhead_percent"] / 100)
    kubelet = pods * 11 + 255 + table["eviction_mib"]
    return Node(
        pool=pool_name,
        instance_type=instance_type,
        cpu_millis=int(vcpus * 1000 - reserve_cpu(vcpus)) - sum(pod.cpu_millis for pod in daemons),
        memory_mib=int(visible - kubelet) - sum(pod.memory_mib for pod in daemons),
        pods=pods - len(daemons),
        gpus=facts["gpus"],
    )


def find_pods(spec: HostingSpec) -> list[Pod]:
    """Return the Pods of a stack without load, DaemonSets excluded."""
    entries = [
        ("gateway", spec.gateway.replicas, _requests(spec.gateway.resources, _GATEWAY)),
        (
            "traefik",
            spec.kubernetes.controller_replicas,
            _requests(spec.kubernetes.controller_resources, _TRAEFIK),
        ),
        ("valkey", 1 if spec.gateway.limits.valkey_url is None else 0, _VALKEY),
        ("cluster-autoscaler", 1, _AUTOSCALER),
    ]
    table = read_table("capacity")["addons"]
    for name in _addons(spec):
        if name in table:
            addon = table[name]
            requests = (addon["cpu_millis"], addon["memory_mib"])
            entries.append((name, addon["replicas"], requests))
    pods = [
        Pod(name=name, cpu_millis=cpu, memory_mib=memory)
        for name, replicas, (cpu, memory) in entries
        for _ in range(replicas)
    ]
    return [*pods, *(pod for name, model in spec.models.items() for pod in _berths(name, model))]


def check_fit(spec: HostingSpec) -> list[Fit]:
    """Return how the Pods fit, by class of nodes. Classes with an unknown instance type are left
    out, as are pools with taints that Berth's Pods do not tolerate."""
    fits = []
    for compute in ("cpu", "gpu"):
        pools = {
            name: pool
            for name, pool in spec.node_pools.items()
            if pool.compute == compute and not pool.taints
        }
        pods = [pod for pod in find_pods(spec) if (pod.gpus > 0) == (compute == "gpu")]
        daemons = find_daemons(spec, compute)
        smallest = {name: _smallest_node(name, pool, daemons) for name, pool in pools.items()}
        nodes = {name: node for name, node in smallest.items() if node is not None}
        if not pods or len(nodes) < len(pools):
            continue
        initial = [nodes[name] for name, pool in pools.items() for _ in range(pool.initial)]
        largest = [nodes[name] for name, pool in pools.items() for _ in range(pool.max)]
        unplaced = place(pods, initial)
        fits.append(
            Fit(compute=compute, pods=pods, initial=initial, largest=largest, unplaced=unplaced)
        )
    return fits


def place(pods: Sequence[Pod], nodes: Sequence[Node]) -> list[Pod]:
    """Return the Pods that find no place, if the largest Pods are placed first."""
    free = [[node.cpu_millis, node.memory_mib, node.pods, node.gpus] for node in nodes]
    unplaced = []
    for pod in sorted(pods, key=lambda pod: (pod.cpu_millis, pod.memory_mib), reverse=True):
        need = (pod.cpu_millis, pod.memory_mib, 1, pod.gpus)
        for rest in free:
            if all(have >= want for have, want in zip(rest, need, strict=True)):
                rest[:] = [have - want for have, want in zip(rest, need, strict=True)]
                break
        else:
            unplaced.append(pod)
    return unplaced


def require_capacity(spec: HostingSpec) -> None:
    """Check that the Pods can fit on the largest number of nodes.

    Raises:
        SpecError: If they cannot. The error states the numbers.
    """
    problems = [problem for fit in check_fit(spec) for problem in _find_impossible(fit)]
    if problems:
        raise SpecError(problems)


def find_capacity_warnings(spec: HostingSpec) -> list[str]:
    """Return one line for each class whose Pods need more nodes than the pools start with."""
    warnings = []
    for fit in check_fit(spec):
        # A GPU pool that starts empty grows for its first Pod, as configured.
        if fit.unplaced and fit.initial:
            names = ", ".join(sorted({pod.name for pod in fit.unplaced}))
            warnings.append(
                f"berth:node_pools: the Pods of the stack need {_describe(_sum(fit.pods))}, but "
                f"the {len(fit.initial)} initial {fit.compute} nodes leave "
                f"{_describe(_sum(fit.initial))}; {names} wait until the autoscaler adds a node. "
                "Raise desired or use larger instance types."
            )
    return warnings


def _find_impossible(fit: Fit) -> Iterator[str]:
    pools = ", ".join(sorted({node.pool for node in fit.largest}))
    for pod in {pod.name: pod for pod in fit.pods}.values():
        if all(place([pod], [node]) for node in fit.largest):
            yield (
                f"berth:node_pools: {pod.name} requests {_describe_pod(pod)}, and no node of "
                f"{pools or 'the pools'} has that much free: "
                f"{_describe_nodes(fit.largest)}. Lower its resources or use a larger type."
            )
    needed, available = _sum(fit.pods), _sum(fit.largest)
    if any(have < want for have, want in zip(available, needed, strict=True)):
        yield (
            f"berth:node_pools: the Pods of the stack need {_describe(needed)} without load, but "
            f"{len(fit.largest)} {fit.compute} nodes, the maximum of {pools or 'the pools'}, leave "
            f"{_describe(available)}. Raise max, use larger types, or lower the models' "
            "resources or replicas."
        )


def _sum(entries: Sequence[Pod] | Sequence[Node]) -> tuple[int, int, int, int]:
    """Return CPU, memory, Pods and GPUs of all entries together."""
    return (
        sum(entry.cpu_millis for entry in entries),
        sum(entry.memory_mib for entry in entries),
        sum(entry.pods if isinstance(entry, Node) else 1 for entry in entries),
        sum(entry.gpus for entry in entries),
    )


def _describe(total: tuple[int, int, int, int]) -> str:
    cpu, memory, pods, gpus = total
    return f"{cpu}m CPU, {memory} MiB memory, {pods} Pods" + (f" and {gpus} GPUs" if gpus else "")


def _describe_pod(pod: Pod) -> str:
    gpus = f" and {pod.gpus} GPUs" if pod.gpus else ""
    return f"{pod.cpu_millis}m CPU, {pod.memory_mib} MiB memory{gpus}"


def _describe_nodes(nodes: Sequence[Node]) -> str:
    by_type = {node.instance_type: node for node in nodes}
    return "; ".join(
        f"{name} {node.cpu_millis}m CPU, {node.memory_mib} MiB memory"
        + (f", {node.gpus} GPUs" if node.gpus else "")
        for name, node in by_type.items()
    )


def _smallest_node(name: str, pool: NodePoolSpec, daemons: Sequence[Pod]) -> Node | None:
    """Return the least that a node of the pool can offer: AWS chooses among its types."""
    nodes = [measure_node(name, instance_type, daemons) for instance_type in pool.instance_types]
    known = [node for node in nodes if node is not None]
    if len(known) < len(nodes):
        return None
    return min(known, key=lambda node: (node.cpu_millis, node.memory_mib))


def _addons(spec: HostingSpec) -> list[str]:
    return list(dict.fromkeys([*AFTER_NODES, *map(str, spec.cluster.addons)]))


def _requests(given: PodResourceSpec, default: tuple[int, int]) -> tuple[int, int]:
    cpu = default[0] if given.cpu is None else parse_millicores(given.cpu)
    memory = default[1] if given.memory is None else _parse_mib(given.memory)
    return cpu, memory


def _berths(name: str, model: ModelSpec) -> Iterator[Pod]:
    for version, entry in model.versions.items():
        is_in_use = version in model.exposed_versions or version == model.shadow
        standby = 0 if entry.standby == "cold" else model.replicas.min
        for _ in range(max(model.replicas.min, 1) if is_in_use else standby):
            yield Pod(
                name=f"{name}-{version}",
                cpu_millis=parse_millicores(model.resources.cpu),
                memory_mib=_parse_mib(model.resources.memory),
                gpus=model.resources.gpu or (1 if model.compute == "gpu" else 0),
            )


def _parse_mib(memory: str) -> int:
    return parse_memory_bytes(memory) // _MEBIBYTE


@cache
def read_instance_types() -> Mapping[str, Mapping[str, int]]:
    """Return the instance types of the table: `vcpus`, `memory_mib`, `gpus` and the others."""
    table = read_table("capacity")
    columns = table["instance_type_columns"]
    return {
        name: dict(zip(columns, values, strict=True))
        for name, values in table["instance_types"].items()
    }

"""Rules for access of pods and ECS tasks to their node: Pod Security `baseline` and `restricted`.

The checks follow https://kubernetes.io/docs/concepts/security/pod-security-standards/ in version
1.35. Rules for users, privileges, capabilities and system calls are in `pods`.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.rule import (
    UNKNOWN,
    Resource,
    Rule,
    Stack,
    get_list,
    get_mapping,
    kubernetes_objects,
    kubernetes_types,
)
from berth_policy.rules.pod_specs import (
    Container,
    Pod,
    build_pod_rule,
    each_container,
    each_pod,
    find_containers,
)

_VOLUME_TYPES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}
_SELINUX_TYPES = (
    None,
    "",
    "container_t",
    "container_init_t",
    "container_kvm_t",
    "container_engine_t",
    UNKNOWN,
)
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HOOKS = ("postStart", "preStop")
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP = "seccomp.security.alpha.kubernetes.io/"


def _check_host_access(pod: Pod) -> Iterator[str]:
    shared = [
        key
        for key in ("hostNetwork", "hostPID", "hostIPC")
        if pod.get(key) not in (None, False, UNKNOWN)
    ]
    for volume in get_list(pod, "volumes"):
        if isinstance(volume, Mapping) and volume.get("hostPath") is not None:
            shared.append(f"hostPath {get_mapping(volume, 'hostPath').get('path')}")
    for container in find_containers(pod):
        shared += [
            f"hostPort {port.get('hostPort')}"
            for port in get_list(container, "ports")
            if isinstance(port, Mapping) and port.get("hostPort") not in (None, 0, UNKNOWN)
        ]
    if shared:
        yield f"it uses {', '.join(shared)}"


def _check_volumes(pod: Pod) -> Iterator[str]:
    for volume in get_list(pod, "volumes"):
        if not isinstance(volume, Mapping):
            continue
        kinds = {key for key, value in volume.items() if key != "name" and value is not None}
        if others := sorted(kinds - _VOLUME_TYPES - {"hostPath"}):
            yield f"its volume {volume.get('name')} has the type {', '.join(others)}"


def _check_persistent_volume(resource: Resource, _: Stack) -> Iterator[str]:
    for content in kubernetes_objects(resource):
        spec = get_mapping(content, "spec")
        if kinds := [key for key in ("hostPath", "local") if spec.get(key) is not None]:
            yield f"it uses {', '.join(kinds)}"


def _check_sysctls(pod: Pod) -> Iterator[str]:
    settings = get_list(get_mapping(pod, "securityContext"), "sysctls")
    names = {str(one.get("name")) for one in settings if isinstance(one, Mapping)}
    if unsafe := sorted(names - _SYSCTLS):
        yield f"it sets {', '.join(unsafe)}"


def _contexts(pod: Pod) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "its securityContext", get_mapping(pod, "securityContext")
    for container in find_containers(pod):
        yield f"container {container.get('name')}", get_mapping(container, "securityContext")


def _check_host_process(pod: Pod) -> Iterator[str]:
    for subject, context in _contexts(pod):
        if get_mapping(context, "windowsOptions").get("hostProcess") not in (None, False, UNKNOWN):
            yield f"{subject} sets windowsOptions.hostProcess"


def _check_selinux(pod: Pod) -> Iterator[str]:
    for subject, context in _contexts(pod):
        options = get_mapping(context, "seLinuxOptions")
        if options.get("type") not in _SELINUX_TYPES or options.get("user") or options.get("role"):
            yield f"{subject} sets seLinuxOptions that confine it less"


def _check_profiles(pod: Pod) -> Iterator[str]:
    allowed = ("RuntimeDefault", "Localhost", None, UNKNOWN)
    for subject, context in _contexts(pod):
        for key in ("appArmorProfile", "seccompProfile"):
            if get_mapping(context, key).get("type") not in allowed:
                yield f"{subject} sets {key} to {get_mapping(context, key).get('type')}"


def _check_annotations(resource: Resource, _: Stack) -> Iterator[str]:
    for content in kubernetes_objects(resource):
        yield from _search_annotations(content, 0)


def _search_annotations(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _search_annotations(item, depth + 1)
    elif isinstance(value, Mapping) and depth < 20:
        for key, setting in get_mapping(value, "annotations").items():
            if str(key).startswith((_APPARMOR, _SECCOMP)) and str(setting) == "unconfined":
                yield f"its annotation {key} is unconfined"
        for key in ("metadata", "spec", "template", "jobTemplate"):
            yield from _search_annotations(value.get(key), depth + 1)


def _check_proc_mount(container: Container, _: Pod) -> str | None:
    value = get_mapping(container, "securityContext").get("procMount")
    return None if value in (None, "Default", UNKNOWN) else f"has procMount {value}"


def _check_probes(container: Container, _: Pod) -> str | None:
    lifecycle = get_mapping(container, "lifecycle")
    handlers = {key: get_mapping(container, key) for key in _PROBES}
    handlers |= {key: get_mapping(lifecycle, key) for key in _HOOKS}
    hosts = [
        key
        for key, handler in handlers.items()
        for kind in ("httpGet", "tcpSocket")
        if get_mapping(handler, kind).get("host") not in (None, "", UNKNOWN)
    ]
    return f"sends requests of {', '.join(hosts)} to another host" if hosts else None


_TASKS = ("aws:ecs/taskDefinition:TaskDefinition", "aws-native:ecs:TaskDefinition")
_HOST_MODES = {"networkMode": "host", "pidMode": "host", "ipcMode": "host"}


def _check_task(task: Resource, _: Stack) -> Iterator[str]:
    """Check an ECS task, whose container definitions are JSON inside a text."""
    shared = [key for key, value in _HOST_MODES.items() if task.get(key) == value]
    for volume in get_list(task.props, "volumes"):
        path = get_mapping(volume, "host").get("sourcePath")
        path = volume.get("hostPath", path) if isinstance(volume, Mapping) else None
        if path:
            shared.append(f"hostPath {path}")
    definitions = task.get("containerDefinitions", [])
    try:
        content = json.loads(definitions) if isinstance(definitions, str) else definitions
    except ValueError:
        yield "its containerDefinitions are not valid JSON"
        return
    for container in content if isinstance(content, list) else []:
        if isinstance(container, Mapping) and container.get("privileged") is True:
            shared.append(f"privileged in container {container.get('name')}")
    if shared:
        yield f"it uses {', '.join(shared)}"


RULES = (
    build_pod_rule(
        "pod-no-host-access",
        "critical",
        "Pods do not use the network, processes, ports or directories of their node.",
        "Remove hostNetwork, hostPID, hostIPC, hostPort and hostPath volumes.",
        each_pod(_check_host_access),
    ),
    build_pod_rule(
        "pod-volume-types",
        "medium",
        "Pods use only the volume types of the Pod Security Standard `restricted`.",
        f"Use one of {', '.join(sorted(_VOLUME_TYPES))}.",
        each_pod(_check_volumes),
    ),
    Rule(
        id="ecs-no-host-access",
        severity="critical",
        types=_TASKS,
        description="ECS tasks do not use the network, processes or directories of their instance, "
        "and are not privileged.",
        remedy="Remove the host modes, host volumes and privileged.",
        check=_check_task,
    ),
    Rule(
        id="volume-no-host-path",
        severity="high",
        types=kubernetes_types("PersistentVolume"),
        description="Persistent volumes are not directories of a node.",
        remedy="Use a StorageClass with a CSI driver.",
        check=_check_persistent_volume,
    ),
    build_pod_rule(
        "pod-safe-sysctls",
        "high",
        "Pods set only kernel parameters that Kubernetes considers safe.",
        "Remove the others from securityContext.sysctls.",
        each_pod(_check_sysctls),
    ),
    build_pod_rule(
        "pod-no-host-process",
        "critical",
        "Windows containers do not run as processes of their node.",
        "Remove windowsOptions.hostProcess.",
        each_pod(_check_host_process),
    ),
    build_pod_rule(
        "pod-selinux",
        "high",
        "Pods keep the SELinux confinement of containers.",
        "Remove seLinuxOptions.",
        each_pod(_check_selinux),
    ),
    build_pod_rule(
        "pod-profiles-confined",
        "high",
        "AppArmor and seccomp profiles are not turned off.",
        "Set the type RuntimeDefault, or remove the profile.",
        each_pod(_check_profiles),
    ),
    build_pod_rule(
        "pod-annotations-confined",
        "high",
        "Annotations do not turn off AppArmor or seccomp.",
        "Remove the annotation.",
        _check_annotations,
    ),
    build_pod_rule(
        "pod-proc-mount",
        "high",
        "Containers see /proc as the runtime masks it.",
        "Remove procMount.",
        each_container(_check_proc_mount),
    ),
    build_pod_rule(
        "pod-probes-local",
        "medium",
        "Probes and lifecycle hooks connect only to their own pod.",
        "Remove host from the probe or hook.",
        each_container(_check_probes),
    ),
)

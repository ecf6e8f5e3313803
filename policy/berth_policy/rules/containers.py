"""Rules for containers on a Docker engine: privileges, access to the host, limits and secrets."""

from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.rule import UNKNOWN, Resource, Rule, Stack, get_list, get_mapping
from berth_policy.rules.secrets import is_secret

_TYPES = ("docker:index/container:Container",)
_ROOT = ("", "0", "root")
_NO_NEW_PRIVILEGES = ("no-new-privileges", "no-new-privileges:true", "no-new-privileges=true")


def _check_privileges(resource: Resource, _: Stack) -> Iterator[str]:
    if resource.get("privileged") not in (None, False, UNKNOWN):
        yield "privileged is true"
    capabilities = get_mapping(resource.props, "capabilities")
    if added := [str(name) for name in get_list(capabilities, "adds")]:
        yield f"it adds the capabilities {', '.join(added)}"
    if resource.get("capabilities") is not UNKNOWN and capabilities.get("drops") is not UNKNOWN:
        dropped = {str(name).upper() for name in get_list(capabilities, "drops")}
        if "ALL" not in dropped:
            yield "it does not drop all capabilities"


def _check_security_options(resource: Resource, _: Stack) -> Iterator[str]:
    if resource.get("securityOpts") is UNKNOWN:
        return
    options = [str(option) for option in get_list(resource.props, "securityOpts")]
    if not set(options) & set(_NO_NEW_PRIVILEGES):
        yield "securityOpts has no no-new-privileges"
    for option in options:
        if option.partition("=")[2] in ("unconfined", "disable") or ":unconfined" in option:
            yield f"securityOpts has {option}"


def _check_host_access(resource: Resource, _: Stack) -> Iterator[str]:
    shared = [
        f"{key} {resource.get(key)}"
        for key in ("networkMode", "pidMode", "ipcMode", "usernsMode", "cgroupnsMode")
        if resource.get(key) == "host"
    ]
    for volume in get_list(resource.props, "volumes"):
        path = volume.get("hostPath") if isinstance(volume, Mapping) else None
        if path not in (None, "", UNKNOWN):
            shared.append(f"the host's {path}")
    for mount in get_list(resource.props, "mounts"):
        if isinstance(mount, Mapping) and mount.get("type") == "bind":
            shared.append(f"the host's {mount.get('source')}")
    for device in get_list(resource.props, "devices"):
        if isinstance(device, Mapping):
            shared.append(f"the host's {device.get('hostPath')}")
    if shared:
        yield f"it uses {', '.join(shared)}"


def _check_user(resource: Resource, _: Stack) -> Iterator[str]:
    user = resource.get("user", "")
    if user is not UNKNOWN and str(user).partition(":")[0] in _ROOT:
        yield f"user is {user!r}"


def _check_root(resource: Resource, _: Stack) -> Iterator[str]:
    if resource.get("readOnly") not in (True, UNKNOWN):
        yield "readOnly is not true"


def _check_limits(resource: Resource, _: Stack) -> Iterator[str]:
    if not resource.get("memory"):
        yield "memory is missing"
    if not resource.get("cpus") and not resource.get("cpuQuota"):
        yield "cpus and cpuQuota are missing"


def _check_image(resource: Resource, _: Stack) -> Iterator[str]:
    image = resource.get("image")
    if image is not UNKNOWN and "sha256:" not in str(image):
        yield f"image is {image!r}"


def _check_secrets(resource: Resource, _: Stack) -> Iterator[str]:
    for entry in get_list(resource.props, "envs"):
        name, _sign, value = str(entry).partition("=")
        if is_secret(name, value):
            yield f"the environment variable {name} seems to contain a secret"
    for argument in _list_arguments(resource):
        if is_secret("", argument):
            yield "an argument of its command seems to contain a secret"
    for label in get_list(resource.props, "labels"):
        if isinstance(label, Mapping) and is_secret(str(label.get("label")), label.get("value")):
            yield f"the label {label.get('label')} seems to contain a secret"


def _list_arguments(resource: Resource) -> list[Any]:
    return [*get_list(resource.props, "entrypoints"), *get_list(resource.props, "command")]


RULES = (
    Rule(
        id="docker-no-privileges",
        severity="critical",
        types=_TYPES,
        description="A container on a Docker engine is not privileged, and drops all capabilities.",
        remedy='Remove privileged and capabilities.adds, and set capabilities.drops to ["ALL"].',
        check=_check_privileges,
    ),
    Rule(
        id="docker-no-escalation",
        severity="high",
        types=_TYPES,
        description="A container on a Docker engine cannot gain privileges, and no profile of the "
        "kernel is turned off for it.",
        remedy='Set securityOpts to ["no-new-privileges"], and remove unconfined profiles.',
        check=_check_security_options,
    ),
    Rule(
        id="docker-no-host-access",
        severity="critical",
        types=_TYPES,
        description="A container on a Docker engine shares no namespace, device or directory of "
        "its host. This includes the engine's socket, with which it could control the host.",
        remedy="Use networks and volumes of the engine.",
        check=_check_host_access,
    ),
    Rule(
        id="docker-not-root",
        severity="high",
        types=_TYPES,
        description="A container on a Docker engine runs as a user other than root.",
        remedy="Set user to a number above 0, such as 65532:65532.",
        check=_check_user,
    ),
    Rule(
        id="docker-read-only-root",
        severity="medium",
        types=_TYPES,
        description="The root file system of a container on a Docker engine is read-only.",
        remedy="Set readOnly to true, and mount a tmpfs or a volume to write to.",
        check=_check_root,
    ),
    Rule(
        id="docker-limits",
        severity="medium",
        types=_TYPES,
        description="A container on a Docker engine has limits for memory and CPU time.",
        remedy="Set memory, and cpus or cpuQuota.",
        check=_check_limits,
    ),
    Rule(
        id="docker-image-digest",
        severity="high",
        types=_TYPES,
        description="A container on a Docker engine names its image by digest or ID.",
        remedy="Use registry/name@sha256:..., or the ID of an image in the engine.",
        check=_check_image,
    ),
    Rule(
        id="docker-no-secret-in-environment",
        severity="high",
        types=_TYPES,
        description="A container on a Docker engine has no plaintext secret in its environment "
        "variables, arguments or labels, which `docker inspect` shows.",
        remedy="Write the secret to a file in a volume.",
        check=_check_secrets,
    ),
)

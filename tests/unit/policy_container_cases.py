"""Containers on a Docker engine that break each rule, and one that breaks none."""

from typing import Any

from berth_policy.rule import UNKNOWN, Resource
from tests.unit.policy_resources import resource

_VALID: dict[str, Any] = {
    "image": f"sha256:{'0' * 64}",
    "user": "65532:65532",
    "readOnly": True,
    "capabilities": {"drops": ["ALL"]},
    "securityOpts": ["no-new-privileges"],
    "memory": 256,
    "cpuQuota": 100000,
    "envs": ["BERTH_PORT=8080", "BERTH_TOKEN_FILE=/etc/berth/token"],
    "mounts": [{"type": "volume", "source": "token", "target": "/etc/berth"}],
    "networkMode": "bridge",
    "labels": [{"label": "berth.model", "value": "digits"}],
}


def _container(**changes: Any) -> Resource:
    props = {**_VALID, **changes}
    return resource("docker:index/container:Container", "digits-1", props)


CONTAINER_COMPLIANT = [
    _container(),
    _container(image=UNKNOWN, capabilities=UNKNOWN, securityOpts=UNKNOWN, user=UNKNOWN),
]
CONTAINER_VIOLATIONS: dict[str, list[list[Resource]]] = {
    "docker-no-privileges": [
        [_container(privileged=True)],
        [_container(capabilities={"drops": ["ALL"], "adds": ["NET_ADMIN"]})],
        [_container(capabilities=None)],
    ],
    "docker-no-escalation": [
        [_container(securityOpts=None)],
        [_container(securityOpts=["no-new-privileges", "seccomp=unconfined"])],
    ],
    "docker-no-host-access": [
        [_container(networkMode="host")],
        [_container(pidMode="host")],
        [_container(volumes=[{"hostPath": "/var/run/docker.sock", "containerPath": "/s"}])],
        [_container(mounts=[{"type": "bind", "source": "/", "target": "/host"}])],
        [_container(devices=[{"hostPath": "/dev/kmsg"}])],
    ],
    "docker-not-root": [[_container(user=None)], [_container(user="0:0")]],
    "docker-read-only-root": [[_container(readOnly=None)]],
    "docker-limits": [[_container(memory=None)], [_container(cpuQuota=None)]],
    "docker-image-digest": [[_container(image="registry.example.com/digits:latest")]],
    "docker-no-secret-in-environment": [
        [_container(envs=["DATABASE_PASSWORD=hunter2hunter2"])],
        [_container(labels=[{"label": "api-token", "value": "abcdef0123456789"}])],
    ],
}

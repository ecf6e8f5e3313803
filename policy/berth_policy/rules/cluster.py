"""Rules for EKS clusters and their nodes."""

from collections.abc import Iterator, Mapping

from berth_policy.addresses import find_excess
from berth_policy.rule import UNKNOWN, Resource, Rule, Stack, require_one_of

_CLUSTER = "aws:eks/cluster:Cluster"
_LAUNCH_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
_NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
_LOG_TYPES = {"api", "audit", "authenticator", "controllerManager", "scheduler"}


def _check_secrets(cluster: Resource, _: Stack) -> Iterator[str]:
    resources = cluster.get("encryptionConfig.resources", [])
    if resources is not UNKNOWN and "secrets" not in resources:
        yield "no customer managed key encrypts its Kubernetes Secrets"


def _check_logs(cluster: Resource, _: Stack) -> Iterator[str]:
    enabled = cluster.get("enabledClusterLogTypes", [])
    missing = set() if enabled is UNKNOWN else _LOG_TYPES - set(enabled)
    if missing:
        yield f"these logs are disabled: {', '.join(sorted(missing))}"


def _check_endpoint(cluster: Resource, _: Stack) -> Iterator[str]:
    if cluster.get("vpcConfig.endpointPublicAccess", True) is not True:
        return
    # Without addresses, AWS admits every address.
    cidrs = cluster.get("vpcConfig.publicAccessCidrs", ["0.0.0.0/0"])
    if cidrs is UNKNOWN:
        return
    if excess := find_excess(str(one) for one in cidrs if one is not UNKNOWN):
        yield f"its API is open to most of the internet: {excess}"


def _check_metadata(template: Resource, _: Stack) -> Iterator[str]:
    options = template.get("metadataOptions", {})
    if options is UNKNOWN:
        return
    if options.get("httpTokens") not in ("required", UNKNOWN):
        yield "the metadata service responds without a token"
    if options.get("httpPutResponseHopLimit", 1) not in (1, UNKNOWN):
        yield "pods can reach the metadata service and use the node's permissions"


def _check_disks(template: Resource, _: Stack) -> Iterator[str]:
    devices = template.get("blockDeviceMappings", [])
    for device in [] if devices is UNKNOWN else devices:
        disk = device.get("ebs") if isinstance(device, Mapping) else None
        if isinstance(disk, Mapping) and disk.get("encrypted") not in ("true", True, UNKNOWN):
            yield f"{device.get('deviceName')} is not encrypted"


def _check_ssh(resource: Resource, _: Stack) -> Iterator[str]:
    if resource.get("remoteAccess") or resource.get("keyName"):
        yield "its nodes accept SSH logins"


RULES = (
    Rule(
        id="eks-secrets-encrypted",
        severity="high",
        types=(_CLUSTER,),
        description="Kubernetes Secrets are encrypted with a customer managed KMS key.",
        remedy='Set encryption_config with a key and the resources ["secrets"].',
        check=_check_secrets,
    ),
    Rule(
        id="eks-logs",
        severity="medium",
        types=(_CLUSTER,),
        description="Control planes write all five logs.",
        remedy="Set enabled_cluster_log_types to all five.",
        check=_check_logs,
    ),
    Rule(
        id="eks-endpoint-restricted",
        severity="high",
        types=(_CLUSTER,),
        description="The cluster's API is not open to most of the internet: at most one IPv4 /8 or "
        "IPv6 /32 of public addresses.",
        remedy="Remove endpoint_public_access, or set public_access_cidrs "
        "(berth:cluster.public_cidrs).",
        check=_check_endpoint,
    ),
    Rule(
        id="eks-access-entries",
        severity="medium",
        types=(_CLUSTER,),
        description="Only access entries, which AWS records, grant access to a cluster.",
        remedy='Set access_config.authentication_mode to "API".',
        check=require_one_of("accessConfig.authenticationMode", "API"),
    ),
    Rule(
        id="imds-v2",
        severity="high",
        types=(_LAUNCH_TEMPLATE,),
        description="The instance metadata service requires a token and is one hop away.",
        remedy='Set metadata_options: http_tokens "required", http_put_response_hop_limit 1.',
        check=_check_metadata,
    ),
    Rule(
        id="disks-encrypted",
        severity="high",
        types=(_LAUNCH_TEMPLATE,),
        description="Disks of nodes are encrypted.",
        remedy="Set ebs.encrypted and ebs.kms_key_id for every device.",
        check=_check_disks,
    ),
    Rule(
        id="nodes-no-ssh",
        severity="medium",
        types=(_LAUNCH_TEMPLATE, _NODE_GROUP),
        description="Nodes accept no SSH logins.",
        remedy="Remove remote_access and key_name.",
        check=_check_ssh,
    ),
)

"""The cluster and its nodes."""

from collections.abc import Iterator, Mapping

from berth_policy.rule import UNKNOWN, Resource, Rule, Stack, unless

_CLUSTER = "aws:eks/cluster:Cluster"
_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
_NODES = "aws:eks/nodeGroup:NodeGroup"
_LOGS = {"api", "audit", "authenticator", "controllerManager", "scheduler"}


def _secrets(cluster: Resource, _: Stack) -> Iterator[str]:
    found = cluster.at("encryptionConfig.resources", [])
    if found is not UNKNOWN and "secrets" not in found:
        yield "Kubernetes Secrets are not encrypted with a key of one's own"


def _logged(cluster: Resource, _: Stack) -> Iterator[str]:
    found = cluster.at("enabledClusterLogTypes", [])
    missing = set() if found is UNKNOWN else _LOGS - set(found)
    if missing:
        yield f"it does not log {', '.join(sorted(missing))}"


def _reached(cluster: Resource, _: Stack) -> Iterator[str]:
    if cluster.at("vpcConfig.endpointPublicAccess", True) is not True:
        return
    # AWS lets everybody in where no addresses are given.
    found = cluster.at("vpcConfig.publicAccessCidrs", ["0.0.0.0/0"])
    if found is not UNKNOWN and any(str(one) in ("0.0.0.0/0", "::/0") for one in found):
        yield "everybody reaches its API"


def _metadata(template: Resource, _: Stack) -> Iterator[str]:
    options = template.at("metadataOptions", {})
    if options is UNKNOWN:
        return
    if options.get("httpTokens") not in ("required", UNKNOWN):
        yield "the metadata service answers without a token"
    if options.get("httpPutResponseHopLimit", 1) not in (1, UNKNOWN):
        yield "pods reach the metadata service, and by it the node's rights"


def _disks(template: Resource, _: Stack) -> Iterator[str]:
    devices = template.at("blockDeviceMappings", [])
    for device in [] if devices is UNKNOWN else devices:
        disk = device.get("ebs") if isinstance(device, Mapping) else None
        if isinstance(disk, Mapping) and disk.get("encrypted") not in ("true", True, UNKNOWN):
            yield f"{device.get('deviceName')} is not encrypted"


def _remote(resource: Resource, _: Stack) -> Iterator[str]:
    if resource.at("remoteAccess") or resource.at("keyName"):
        yield "a person may log in with a key"


RULES = (
    Rule(
        id="eks-secrets-encrypted",
        severity="high",
        types=(_CLUSTER,),
        says="Kubernetes Secrets are encrypted with a customer key of KMS.",
        remedy='Set encryption_config with a key and the resources ["secrets"].',
        check=_secrets,
    ),
    Rule(
        id="eks-logged",
        severity="medium",
        types=(_CLUSTER,),
        says="A cluster's control plane writes all of its logs.",
        remedy="Set enabled_cluster_log_types to all five.",
        check=_logged,
    ),
    Rule(
        id="eks-endpoint-not-open",
        severity="high",
        types=(_CLUSTER,),
        says="The cluster's API is not reached from everywhere.",
        remedy="Take endpoint_public_access away, or name addresses in public_access_cidrs "
        "(berth:cluster.public_cidrs).",
        check=_reached,
    ),
    Rule(
        id="eks-access-entries",
        severity="medium",
        types=(_CLUSTER,),
        says="Who may use a cluster is told by access entries, which AWS records, alone.",
        remedy='Set access_config.authentication_mode to "API".',
        check=unless("accessConfig.authenticationMode", "API"),
    ),
    Rule(
        id="imds-v2",
        severity="high",
        types=(_TEMPLATE,),
        says="An instance's metadata takes a token, and is one hop away.",
        remedy='Set metadata_options: http_tokens "required", http_put_response_hop_limit 1.',
        check=_metadata,
    ),
    Rule(
        id="disks-encrypted",
        severity="high",
        types=(_TEMPLATE,),
        says="The disks of nodes are encrypted.",
        remedy="Set ebs.encrypted and ebs.kms_key_id of every device.",
        check=_disks,
    ),
    Rule(
        id="nodes-without-ssh",
        severity="medium",
        types=(_TEMPLATE, _NODES),
        says="Nobody logs in to a node.",
        remedy="Take remote_access and key_name away.",
        check=_remote,
    ),
)

"""All rules of the security baseline, by subject."""

from berth_policy.rules import (
    api,
    cluster,
    containers,
    encryption,
    exposure,
    identity,
    namespaces,
    network,
    opaque,
    pod_security,
    pods,
    rbac,
    secrets,
    storage,
    trust,
)

RULES = (
    *storage.RULES,
    *encryption.RULES,
    *network.RULES,
    *identity.RULES,
    *trust.RULES,
    *cluster.RULES,
    *api.RULES,
    *exposure.RULES,
    *rbac.RULES,
    *pods.RULES,
    *pod_security.RULES,
    *containers.RULES,
    *namespaces.RULES,
    *secrets.RULES,
    *opaque.RULES,
)

"""All rules of the security baseline, by subject."""

from berth_policy.rules import api, cluster, encryption, identity, network, pods, storage

RULES = (
    *storage.RULES,
    *encryption.RULES,
    *network.RULES,
    *identity.RULES,
    *cluster.RULES,
    *api.RULES,
    *pods.RULES,
)

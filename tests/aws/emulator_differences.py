"""Properties that the emulator returns differently from AWS.

Observed with the real provider against moto 5.2.5. Without this list, a second preview of an
unchanged program would not be empty. None of these differences occurs on AWS.

`strict_rules` lists the opposite: what AWS refuses and the emulator accepts.
"""

_NOT_STORED = "the emulator does not store it and returns no value"

EMULATOR_DIFFERENCES: dict[str, dict[str, str]] = {
    "aws:cloudfront/distribution:Distribution": {
        "defaultCacheBehavior.forwardedValues": (
            "the emulator returns an empty value; AWS returns none if there is a cache policy"
        ),
        "viewerCertificate.cloudfrontDefaultCertificate": (
            "the emulator ignores that the distribution has its own certificate"
        ),
    },
    "aws:eks/cluster:Cluster": {
        "deletionProtection": _NOT_STORED,
        "upgradePolicy": _NOT_STORED,
    },
    "aws:eks/nodeGroup:NodeGroup": {
        "updateConfig": _NOT_STORED,
        "nodeRepairConfig": _NOT_STORED,
    },
    "aws:lb/loadBalancer:LoadBalancer": {
        "enforceSecurityGroupInboundRulesOnPrivateLinkTraffic": _NOT_STORED,
    },
    "aws:kms/key:Key": {
        "rotationPeriodInDays": _NOT_STORED,
    },
    "aws:s3/bucketReplicationConfig:BucketReplicationConfig": {
        "rules": (
            "the emulator returns disabled deletion markers, and no `sourceSelectionCriteria`"
        ),
    },
}
"""Resource type -> property, including everything below it -> behavior of the emulator."""

"""What the emulator gets wrong, so that a further preview is not empty with it.

Found with the real provider against moto 5.2.5. None of it is seen where AWS itself answers.
"""

EMULATOR: dict[str, dict[str, str]] = {
    "aws:cloudfront/distribution:Distribution": {
        "defaultCacheBehavior.forwardedValues": (
            "the emulator answers with an empty one, where AWS has none beside a cache policy"
        ),
        "viewerCertificate.cloudfrontDefaultCertificate": (
            "the emulator answers as though there were no certificate of one's own beside it"
        ),
    },
    "aws:eks/cluster:Cluster": {
        "deletionProtection": "the emulator does not keep it, and answers without it",
        "upgradePolicy": "the emulator does not keep it, and answers without it",
    },
    "aws:eks/nodeGroup:NodeGroup": {
        "updateConfig": "the emulator does not keep it, and answers without it",
        "nodeRepairConfig": "the emulator does not keep it, and answers without it",
    },
    "aws:lb/loadBalancer:LoadBalancer": {
        "enforceSecurityGroupInboundRulesOnPrivateLinkTraffic": (
            "the emulator does not keep it, and answers without it"
        ),
    },
    "aws:kms/key:Key": {
        "rotationPeriodInDays": "the emulator does not keep it, and answers without it",
    },
    "aws:s3/bucketReplicationConfig:BucketReplicationConfig": {
        "rules": (
            "the emulator answers that deletions are not copied, and without "
            "`sourceSelectionCriteria`"
        ),
    },
}
"""Type -> property, with all that is under it -> what the emulator does with it."""

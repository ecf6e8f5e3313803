"""What is lost when a resource is deleted, and changes that a platform does not take back.

A platform's record names the tables that apply to it. A type that is in no table keeps nothing
that a new resource with the same inputs does not have.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class KeptData:
    """What a resource keeps.

    Attributes:
        loss: What is lost with the resource.
        is_final: Whether the resource is of no use without it, so that a new one does not help.
    """

    loss: str
    is_final: bool = False


@dataclass(frozen=True, kw_only=True)
class OneWay:
    """A property that can be changed in one direction only.

    Attributes:
        property: Path of the property.
        reason: Why it does not return to its earlier value.
    """

    property: str
    reason: str


CLIENT_KEYS = "pulumi-python:dynamic/berth:ApiKey"
"""The type of a client's generated key. A rollback leaves clients as they are."""

COMMON_DATA: Mapping[str, KeptData] = {
    CLIENT_KEYS: KeptData(loss="the key, which its client can no longer use", is_final=True),
}

DOCKER_DATA: Mapping[str, KeptData] = {
    "docker:index/volume:Volume": KeptData(loss="the files in the volume"),
}

KUBERNETES_DATA: Mapping[str, KeptData] = {
    "kubernetes:core/v1:Namespace": KeptData(loss="every object in the namespace"),
    "kubernetes:core/v1:PersistentVolume": KeptData(loss="the files in the volume"),
    "kubernetes:core/v1:PersistentVolumeClaim": KeptData(loss="the files in the volume"),
    "kubernetes:apps/v1:StatefulSet": KeptData(loss="what its Pods keep without a volume"),
    "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition": KeptData(
        loss="every object of this kind"
    ),
}

AWS_DATA: Mapping[str, KeptData] = {
    # https://docs.aws.amazon.com/kms/latest/developerguide/deleting-keys.html
    "aws:kms/key:Key": KeptData(
        loss="everything that only this key decrypts, after its waiting period", is_final=True
    ),
    "aws:s3/bucket:Bucket": KeptData(loss="the objects in the bucket"),
    "aws:ecr/repository:Repository": KeptData(loss="the images in the repository"),
    "aws:ebs/volume:Volume": KeptData(loss="the files in the volume"),
    "aws:efs/fileSystem:FileSystem": KeptData(loss="the files in the file system"),
    "aws:dynamodb/table:Table": KeptData(loss="the items in the table"),
    "aws:rds/instance:Instance": KeptData(loss="the data in the database"),
    "aws:rds/cluster:Cluster": KeptData(loss="the data in the database"),
    "aws:elasticache/replicationGroup:ReplicationGroup": KeptData(loss="the data in the cache"),
    "aws:secretsmanager/secret:Secret": KeptData(loss="the secret's values"),
    "aws:cloudwatch/logGroup:LogGroup": KeptData(loss="the log lines in the group"),
    "aws:eks/cluster:Cluster": KeptData(loss="every object in the cluster, and its address"),
    "aws:apigateway/restApi:RestApi": KeptData(loss="the address of the API"),
    "aws:cloudfront/distribution:Distribution": KeptData(loss="the address of the distribution"),
    "aws:ec2/eip:Eip": KeptData(loss="the public address"),
    "aws:ec2/vpc:Vpc": KeptData(loss="peerings and routes that others added to the network"),
    "aws:route53/zone:Zone": KeptData(loss="the name servers of the zone"),
    "aws:sns/topic:Topic": KeptData(loss="the confirmed subscriptions"),
}

KUBERNETES_ONE_WAY: Mapping[str, OneWay] = {
    # https://kubernetes.io/docs/concepts/storage/persistent-volumes/#expanding-persistent-volumes-claims
    "kubernetes:core/v1:PersistentVolumeClaim": OneWay(
        property="spec.resources.requests.storage",
        reason="Kubernetes does not make a volume smaller",
    ),
}

AWS_ONE_WAY: Mapping[str, OneWay] = {
    # https://docs.aws.amazon.com/eks/latest/userguide/rollback-cluster.html
    "aws:eks/cluster:Cluster": OneWay(
        property="version",
        reason="EKS takes back an upgrade only for 7 days, and after the nodes and add-ons",
    ),
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html
    "aws:s3/bucketVersioning:BucketVersioning": OneWay(
        property="versioningConfiguration.status",
        reason="S3 can suspend versioning, but not turn it off again",
    ),
}

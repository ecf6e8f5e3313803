"""Rules of the specification that apply only to platform kubernetes."""

from collections.abc import Iterator

from berth.spec.data import DataSpec
from berth.spec.edge import EdgeSpec
from berth.spec.errors import Problem
from berth.spec.images import RegistrySpec
from berth.spec.kubernetes import KubernetesSpec

_AWS_KEYS = {
    "registry": {
        "source_stack",
        "source_account",
        "readers",
        "replicate_to",
        "keep_images",
        "keep_untagged_days",
    },
    "data": {"noncurrent_version_days", "archive_after_days", "replica_region"},
    "edge": {"cdn", "latency_routing"},
}


def _registry_url(registry: RegistrySpec) -> Iterator[Problem]:
    """On kubernetes `registry.url` is required."""
    if registry.url is None:
        yield Problem(
            ("registry", "url"),
            "is missing; set the registry that platform kubernetes pushes images to, such as "
            "registry.example.com/berth",
            False,
        )


def _no_aws_keys(registry: RegistrySpec, data: DataSpec, edge: EdgeSpec) -> Iterator[Problem]:
    """On kubernetes the keys that this page marks with "aws" are rejected, and a
    dataset requires a `source`."""
    for name, section in (("registry", registry), ("data", data), ("edge", edge)):
        for key in sorted(section.model_fields_set & _AWS_KEYS[name]):
            yield Problem((name, key), "applies only to platform aws; remove it", False)
    for name, dataset in data.datasets.items():
        if dataset.source is None:
            yield Problem(
                ("data", "datasets", name, "source"),
                "is missing; platform kubernetes has no bucket of its own, so set "
                "oci://registry/name, s3://bucket/prefix or pvc://claim/directory",
                False,
            )


def _parent_gateway_without_sites(kubernetes: KubernetesSpec, edge: EdgeSpec) -> Iterator[Problem]:
    """On kubernetes `kubernetes.parent_gateway` cannot be combined with `edge.sites`, because it is
    a Gateway of one cluster."""
    if kubernetes.parent_gateway is not None and edge.sites:
        yield Problem(
            ("kubernetes", "parent_gateway"),
            "cannot be combined with edge.sites; host the sites in a stack of their own",
            False,
        )


RULES = (_registry_url, _no_aws_keys, _parent_gateway_without_sites)

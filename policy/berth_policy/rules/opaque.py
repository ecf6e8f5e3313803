"""Rules for resources that create others which the engine, and thus this pack, does not see."""

from collections.abc import Iterator

from berth_policy.rule import Resource, Rule, Stack, kubernetes_types

# A Helm Release is rendered by the provider. The components `Chart`, `ConfigFile`, `ConfigGroup`
# and `Directory` (Kustomize) declare their objects as resources, which the rules check.
_TYPES = (
    "kubernetes:helm.sh/*:Release",
    "kubernetes:core/v1:List",
    "kubernetes:v1:List",
    # Controllers that fetch manifests: Flux, Argo CD, K3s, Crossplane.
    *kubernetes_types(
        "HelmRelease", "Kustomization", "Application", "ApplicationSet", "HelmChart",
        "HelmChartConfig",
    ),
    "aws:cloudformation/stack:Stack",
    "aws:cloudformation/stackSet*",
    "aws-native:cloudformation:Stack*",
    "aws:servicecatalog/provisionedProduct:ProvisionedProduct",
    # Programs that change something outside the engine.
    "command:*",
)  # fmt: skip


def _check_hidden(_resource: Resource, _stack: Stack) -> Iterator[str]:
    yield "no rule can check what it creates"


RULES = (
    Rule(
        id="no-hidden-resources",
        severity="critical",
        types=_TYPES,
        description="Every resource is declared to the engine, so that the rules can check it: no "
        "Helm Release, no List, no CloudFormation stack, no object with which a controller deploys "
        "manifests, no command.",
        remedy="Declare the objects: for a chart use kubernetes.helm.v4.Chart, for manifests "
        "kubernetes.yaml.v2.ConfigGroup. Or install it outside of this stack.",
        check=_check_hidden,
        allows_exceptions=False,
    ),
)

"""Rules for namespaces."""

from collections.abc import Iterator

from berth_policy.rule import UNKNOWN, Resource, Rule, Stack

_NAMESPACE = "kubernetes:core/v1:Namespace"
_NETWORK_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
_ENFORCE_LABEL = "pod-security.kubernetes.io/enforce"


def _check_pod_security(namespace: Resource, _: Stack) -> Iterator[str]:
    labels = namespace.get("metadata.labels", {})
    if labels is not UNKNOWN and labels.get(_ENFORCE_LABEL) not in ("restricted", UNKNOWN):
        yield f"its label {_ENFORCE_LABEL} is {labels.get(_ENFORCE_LABEL)!r}"


def _check_default_deny(namespace: Resource, stack: Stack) -> Iterator[str]:
    name = namespace.get("metadata.name")
    for policy in stack.of_type(_NETWORK_POLICY):
        # An empty selector covers every pod, and no rules means that nothing is allowed.
        if (
            policy.get("metadata.namespace") in (name, UNKNOWN)
            and not policy.get("spec.podSelector", {})
            and {"Ingress", "Egress"} <= set(policy.get("spec.policyTypes", ()))
            and not policy.get("spec.ingress")
            and not policy.get("spec.egress")
        ):
            return
    yield "it has no NetworkPolicy that denies traffic by default"


RULES = (
    Rule(
        id="namespace-restricted",
        severity="high",
        types=(_NAMESPACE,),
        description="Namespaces enforce the Pod Security Standard `restricted`.",
        remedy=f"Set the label {_ENFORCE_LABEL}: restricted.",
        check=_check_pod_security,
    ),
    Rule(
        id="namespace-default-deny",
        severity="high",
        types=(_NAMESPACE,),
        needs_stack=True,
        description="Namespaces deny all traffic that no NetworkPolicy allows.",
        remedy="Declare a NetworkPolicy with an empty podSelector, for Ingress and Egress, without "
        "rules.",
        check=_check_default_deny,
    ),
)

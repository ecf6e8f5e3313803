"""Another traffic split in a cluster, without an update: the weights of the models' routes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from berth.platforms.kubernetes.cluster import ClusterAccess
from berth.spec.models import ModelSpec
from berth_gateway.config import get_share_name
from berth_protocol.paths import infer_path
from pulumi_berth.kubernetes.api_groups import GATEWAY_API
from pulumi_berth.kubernetes.berth import HTTP_PORT
from pulumi_berth.kubernetes.berth_plan import get_berth_name
from pulumi_berth.kubernetes.cluster_access import apply_object
from pulumi_berth.kubernetes.route_plan import RoutePlan, build_route_rules, build_service_ref

_ROUTE = f"kubernetes:{GATEWAY_API}:HTTPRoute"
# For short bodies, for long ones, and for those of unknown length: see `build_route_rules`.
_SPLIT_RULES = 3
Rule = Mapping[str, Any]


def shift_routes(
    access: ClusterAccess,
    resources: Sequence[Mapping[str, Any]],
    models: Mapping[str, ModelSpec],
) -> Iterator[str]:
    """Apply routes with the traffic of `models`, and yield the model of each.

    The engine's own field manager applies them, so the next update finds no other writer, and what
    it declares is already there. A model whose requests the gateway forwards has no weights in its
    route, and is left out: the gateway's pods read them when they start.

    Args:
        resources: The resources in the state, with the inputs of objects.

    Raises:
        ApiException: If the cluster rejects a request.
        HTTPError: If it does not respond.
    """
    client = None
    for resource in resources:
        inputs, outputs = resource.get("inputs") or {}, resource["outputs"]
        name = str((inputs.get("metadata") or {}).get("name"))
        if resource["type"] != _ROUTE or name not in models:
            continue
        rules = plan_rules(name, inputs["spec"]["rules"], models[name])
        # The state of an interrupted update can be older than the object, so it is always applied.
        if rules is None:
            continue
        client = client or access.create_client()
        # With the identity of the object, none is created in the place of a deleted one.
        metadata = {**inputs["metadata"], "uid": outputs["metadata"]["uid"]}
        declared = {key: value for key, value in inputs.items() if not key.startswith("__")}
        apply_object(
            client,
            f"/apis/{GATEWAY_API}/namespaces/{metadata['namespace']}/httproutes/{name}",
            {**declared, "metadata": metadata, "spec": {**inputs["spec"], "rules": rules}},
            manager=outputs["__fieldManager"],
        )
        yield name


def plan_rules(name: str, rules: Sequence[Rule], model: ModelSpec) -> list[dict[str, Any]] | None:
    """Return the rules of a model's route with the traffic of `model`, or None if it has none.

    With the same versions, they are the rules that an update declares. A version that the route
    does not know yet gets its requests at the address of its Service until then.
    """
    split = [rule for rule in rules if _get_path(rule) == infer_path(name)]
    if len(split) != _SPLIT_RULES or model.shadow is not None:
        return None
    short, known_length, unknown_length = split
    by_version = {
        version: rule["backendRefs"][0]
        for version in model.versions
        for rule in rules
        if _get_path(rule) == infer_path(name, version)
    }
    shares = {ref["name"]: ref for ref in short["backendRefs"]}
    receivers = [version for version, percent in model.traffic.items() if percent]

    def find_backend(version: str) -> dict[str, Any]:
        share = shares.get(f"{get_share_name(name, version)}@http") if len(receivers) > 1 else None
        service = build_service_ref(get_berth_name(name, version), HTTP_PORT)
        found = share or by_version.get(version) or service
        return {key: value for key, value in found.items() if key != "weight"}

    exposed = model.exposed_versions
    plan = RoutePlan(
        model=name,
        split_backends={version: find_backend(version) for version in receivers},
        traffic=model.traffic,
        version_backends={
            version: dict(backend) for version, backend in by_version.items() if version in exposed
        },
        gateway=known_length["backendRefs"][0],
    )
    # The last filter of the third rule has the weights, and those before it are about the body.
    return build_route_rules(plan, short.get("filters") or (), unknown_length["filters"][:-1])


def _get_path(rule: Rule) -> str:
    return str(rule["matches"][0]["path"]["value"])

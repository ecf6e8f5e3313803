"""What a version of the ingress controller needs in the cluster."""

import re
from collections.abc import Callable, Iterator, Set
from typing import Any

from pulumi_berth.images.third_party import get_manifest_url
from pulumi_berth.kubernetes.api_groups import GATEWAY_API, GATEWAY_GROUP

_VERSION = re.compile(r":v?(?P<major>[0-9]+)\.(?P<minor>[0-9]+)")
# Traefik 3.7 watches TLSRoute in version v1, which the standard channel has since Gateway API 1.5.
# Without it, Traefik serves no route of the Gateway API and logs no error:
# https://doc.traefik.io/traefik/v3.7/migrate/v3/
_NEEDS_TLS_ROUTES = (3, 7)
_TLS_ROUTES = "tlsroutes"


def find_controller_problems(
    image: str, groups: Set[str], get: Callable[[str], dict[str, Any]]
) -> Iterator[str]:
    """Yield what the cluster lacks for the ingress controller.

    Args:
        image: Image of the controller. Without a version in its tag, nothing is checked.
        groups: API groups of the cluster.
        get: Returns the content at a path of the cluster's API.
    """
    name, _, _ = image.partition("@")
    version = _VERSION.search(name.rpartition("/")[2])
    if version is None or GATEWAY_GROUP not in groups:
        return
    if (int(version["major"]), int(version["minor"])) < _NEEDS_TLS_ROUTES:
        return
    resources = {resource["name"] for resource in get(f"/apis/{GATEWAY_API}")["resources"]}
    if _TLS_ROUTES not in resources:
        yield (
            f"has no {_TLS_ROUTES} in {GATEWAY_API}, which {image} needs; install Gateway API: "
            f"kubectl apply --server-side -f {get_manifest_url('gateway-api')}"
        )

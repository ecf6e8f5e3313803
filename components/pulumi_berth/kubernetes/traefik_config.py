"""What Traefik is configured with: its static configuration, and its middlewares as plain data."""

from collections.abc import Mapping
from typing import Any

import pulumi

from berth_gateway.config import (
    CONTROLLER_ERRORS,
    CONTROLLER_SERVICES,
    REPLACED_STATUSES,
    UNREADABLE_BODY_STATUS,
)
from berth_protocol import headers
from pulumi_berth.kubernetes.gateway import AUTHORIZE_PORT
from pulumi_berth.kubernetes.object_names import GATEWAY
from pulumi_berth.kubernetes.ownership import OWNER

WEB, ADMIN = 8000, 9000
"""Ports of Traefik's pods: for requests, and for probes and metrics."""
GRACE_SECONDS = 30
"""Time for requests in flight when a pod ends, in seconds."""
# By default, Traefik resolves repeated slashes and dot segments before it matches a path. To the
# gateway, such a path is unknown; see `berth_protocol.paths.parse_path`.
PATH_ARGUMENT = "--entrypoints.web.http.sanitizepath=false"
_CONNECT_SECONDS = 5
# Headers of the gateway's authorization response that Traefik adds to the request for the berth.
_GATEWAY_HEADERS = (
    headers.REQUEST_ID,
    headers.CLIENT,
    headers.TOKEN,
    headers.RETURN_PREFIX + headers.REQUEST_ID,
    headers.RETURN_PREFIX + headers.RATE_LIMIT,
    headers.RETURN_PREFIX + headers.RATE_LIMIT_REMAINING,
    headers.RETURN_PREFIX + headers.RATE_LIMIT_RESET,
)
# Headers that a berth must never receive from a client. Traefik replaces the client's value of each
# header above, or removes it if the gateway sends none.
_REMOVED_HEADERS = (headers.API_KEY, headers.AUTHORIZATION, headers.SHADOW)


def build_arguments(
    namespace: str, owner_id: pulumi.Input[str], *, timeout_seconds: float
) -> list[pulumi.Input[str]]:
    """Return the arguments of the program, its static configuration.

    Args:
        namespace: Namespace of the stack, the only one that Traefik watches.
        owner_id: ID of the stack, the label of its GatewayClass.
        timeout_seconds: Time limit for a berth to start its response, in seconds.
    """
    return [
        f"--entrypoints.web.address=:{WEB}",
        f"--entrypoints.traefik.address=:{ADMIN}",
        f"--entrypoints.web.transport.lifecycle.graceTimeOut={GRACE_SECONDS}s",
        PATH_ARGUMENT,
        "--ping=true",
        "--metrics.prometheus=true",
        "--providers.providersThrottleDuration=200ms",
        "--providers.kubernetesgateway=true",
        # The share of each version; see `build_share`.
        f"--providers.http.endpoint=http://{GATEWAY}.{namespace}.svc:{AUTHORIZE_PORT}"
        f"{CONTROLLER_SERVICES}",
        "--providers.http.pollinterval=1s",
        "--providers.http.polltimeout=2s",
        f"--providers.kubernetesgateway.namespaces={namespace}",
        pulumi.Output.concat(f"--providers.kubernetesgateway.labelselector={OWNER}=", owner_id),
        "--providers.kubernetescrd=true",
        f"--providers.kubernetescrd.namespaces={namespace}",
        # Traefik does not need cluster-scoped resources.
        "--providers.kubernetescrd.disableclusterscoperesources=true",
        f"--serverstransport.forwardingtimeouts.responseheadertimeout={timeout_seconds:g}s",
        f"--serverstransport.forwardingtimeouts.dialtimeout={_CONNECT_SECONDS}s",
        "--serverstransport.maxidleconnsperhost=256",
        "--accesslog=true",
        "--accesslog.format=json",
        "--accesslog.fields.headers.defaultmode=drop",
        "--accesslog.fields.headers.names.X-Berth-Client=keep",
        "--accesslog.fields.headers.names.X-Request-Id=keep",
        "--log.format=json",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ]


def build_middlewares(
    authorize_url: pulumi.Input[str], gateway: pulumi.Input[str]
) -> Mapping[str, dict[str, Any]]:
    """Return the middlewares of an inference request by name, in the order of their execution.

    Args:
        authorize_url: URL at which the gateway authorizes a request.
        gateway: Name of the gateway's Service.
    """
    return {
        "errors": {
            "errors": {
                "status": [str(status) for status in REPLACED_STATUSES],
                "query": CONTROLLER_ERRORS + "{status}",
                "service": {"name": gateway, "port": AUTHORIZE_PORT, "nativeLB": True},
            }
        },
        "authorize": {
            "forwardAuth": {
                "address": authorize_url,
                "authResponseHeaders": list(_GATEWAY_HEADERS),
                "trustForwardHeader": False,
            }
        },
        "remove-headers": {
            "headers": {"customRequestHeaders": dict.fromkeys(_REMOVED_HEADERS, "")}
        },
        "retry": {"retry": {"attempts": 3, "initialInterval": "50ms"}},
    }


def build_body_errors(gateway: pulumi.Input[str]) -> dict[str, Any]:
    """Return the middleware of requests of unknown length, which the gateway receives.

    If Traefik cannot read a chunked body, it responds with 500
    (https://github.com/traefik/traefik/blob/v3.7.9/pkg/proxy/httputil/proxy.go), although the
    client made the mistake. The gateway itself sends no 500 to these requests; see
    `berth_protocol.headers.UNKNOWN_LENGTH`.

    Args:
        gateway: Name of the gateway's Service.
    """
    return {
        "errors": {
            "status": ["500"],
            "statusRewrites": {"500": UNREADABLE_BODY_STATUS},
            "query": CONTROLLER_ERRORS + "{status}",
            "service": {"name": gateway, "port": AUTHORIZE_PORT, "nativeLB": True},
        }
    }

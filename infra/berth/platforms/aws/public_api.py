"""The public API of an aws stack: load balancer, firewall, API Gateway, edge endpoint."""

import math
from collections.abc import Mapping

import pulumi

from berth.platforms.aws.account import AwsAccount
from berth.platforms.aws.foundation import Keys, Nodes, create_edge_logs_key
from berth.spec import ClientSpec, HostingSpec
from berth_protocol.paths import LIVE
from pulumi_berth.api_key import ClientKeys
from pulumi_berth.aws.api_gateway import (
    ApiClient,
    ApiGateway,
    ApiGatewayArgs,
    Quota,
    QuotaPeriod,
    SharedHost,
)
from pulumi_berth.aws.edge_endpoint import EdgeEndpoint, EdgeEndpointArgs, PriceClass, TlsVersion
from pulumi_berth.aws.internal_load_balancer import InternalLoadBalancer, InternalLoadBalancerArgs
from pulumi_berth.aws.logs import ApiGatewayLogs, ApiGatewayLogsArgs
from pulumi_berth.aws.network import Network
from pulumi_berth.aws.web_acl import RuleMode, WebAcl, WebAclArgs, WebAclScope
from pulumi_berth.aws.web_acl_plan import RATE_WINDOW_SECONDS
from pulumi_berth.aws_identity import STACK_TAG

# Requests of an address in 5 minutes that no stack limits by default.
_LEAST_REQUESTS_PER_IP = 2000


def create_load_balancer(
    spec: HostingSpec, account: AwsAccount, network: Network, nodes: Nodes, node_port: int
) -> InternalLoadBalancer:
    """Create the load balancer between API Gateway and the nodes of the in-cluster gateway."""
    return InternalLoadBalancer(
        "balancer",
        InternalLoadBalancerArgs(
            vpc_id=network.vpc_id,
            subnet_ids=network.private_subnet_ids,
            node_security_group_id=nodes.cluster.security_group_id,
            node_port=node_port,
            health_path=LIVE,
            autoscaling_groups={
                name: nodes.pools[name].autoscaling_group
                for name, pool in spec.node_pools.items()
                if pool.compute == "cpu"
            },
            protect=spec.protect,
        ),
        account.options(),
    )


def create_api(
    spec: HostingSpec,
    account: AwsAccount,
    keys: Keys,
    load_balancer: InternalLoadBalancer,
    client_keys: ClientKeys,
    origin_secret: pulumi.Input[str] | None,
    shared_host: SharedHost | None,
) -> ApiGateway:
    """Create the firewall, and the API with a key and a usage plan for each client.

    Args:
        origin_secret: Header value that the firewall requires. None without an edge endpoint.
        shared_host: Additional host name that the APIs of several Regions share.
    """
    logs = account.log_settings(spec.observability.log_days, keys.logs.arn)
    firewall = WebAcl(
        "firewall",
        WebAclArgs(
            stack_name=account.stack,
            scope=WebAclScope.REGIONAL,
            rule_groups=list(spec.api.waf.managed_rule_groups),
            mode=RuleMode(spec.api.waf.mode),
            requests_per_ip=get_requests_per_ip(spec, spec.api.waf.requests_per_ip),
            max_body_bytes=spec.gateway.max_body_bytes,
            logs=logs,
            origin_secret=origin_secret,
        ),
        account.options(),
    )
    # The role stays when the stack is deleted, so it does not name the stack.
    tags = {key: value for key, value in account.tags.items() if key != STACK_TAG}
    logging = ApiGatewayLogs(
        "api-logs", ApiGatewayLogsArgs(region=account.region, tags=tags), account.options()
    )
    return ApiGateway(
        "api",
        ApiGatewayArgs(
            stack_name=account.stack,
            load_balancer_arn=load_balancer.arn,
            load_balancer_host=load_balancer.dns_name,
            timeout_seconds=spec.gateway.timeout_seconds,
            clients={
                name: _api_client(client, client_keys[name])
                for name, client in spec.gateway.clients.items()
            },
            rate_per_second=spec.api.rate_limit.rate_per_second,
            burst=spec.api.rate_limit.burst,
            web_acl_arn=firewall.arn,
            logs=logs,
            host=None if spec.api.domain is None else account.host_name(spec.api.domain),
            shared_host=shared_host,
        ),
        pulumi.ResourceOptions.merge(
            account.options(), pulumi.ResourceOptions(depends_on=[logging])
        ),
    )


def create_edge(
    spec: HostingSpec,
    account: AwsAccount,
    keys: Keys,
    api: ApiGateway,
    origin_secret: pulumi.Input[str],
) -> EdgeEndpoint:
    """Create the CloudFront distribution and its firewall.

    Only the distribution knows the header value that the API's firewall requires.
    """
    cdn = spec.edge.cdn
    assert cdn is not None
    key = create_edge_logs_key(spec, account, keys)
    firewall = WebAcl(
        "edge-firewall",
        WebAclArgs(
            stack_name=account.stack,
            scope=WebAclScope.CLOUDFRONT,
            rule_groups=list(spec.api.waf.managed_rule_groups),
            mode=RuleMode(spec.api.waf.mode),
            requests_per_ip=get_requests_per_ip(spec, cdn.requests_per_ip),
            max_body_bytes=spec.gateway.max_body_bytes,
            logs=account.log_settings(spec.observability.log_days, key.arn),
        ),
        account.options(),
    )
    return EdgeEndpoint(
        "edge",
        EdgeEndpointArgs(
            stack_name=account.stack,
            origin_host=api.host,
            origin_secret=origin_secret,
            price_class=PriceClass(cdn.price_class),
            minimum_tls=TlsVersion(cdn.minimum_tls),
            web_acl_arn=firewall.arn,
            host=None if cdn.domain is None else account.host_name(cdn.domain),
        ),
        account.options(),
    )


def get_requests_per_ip(spec: HostingSpec, requests: int | None) -> int:
    """Return the allowance of an address in the time window of the firewall.

    Args:
        requests: The specification's value. By default, a client with one address can use its whole
            rate limit.
    """
    if requests is not None:
        return requests
    return max(
        _LEAST_REQUESTS_PER_IP,
        *(
            math.ceil(client.rate_per_second * RATE_WINDOW_SECONDS) + client.burst
            for client in spec.gateway.clients.values()
        ),
    )


def _api_client(client: ClientSpec, keys: Mapping[str, pulumi.Input[str]]) -> ApiClient:
    quota = client.quota
    # The specification rejects hourly quotas on aws: API Gateway has none.
    if quota is None or quota.period == "hour":
        return ApiClient(keys=keys, rate_per_second=client.rate_per_second, burst=client.burst)
    return ApiClient(
        keys=keys,
        rate_per_second=client.rate_per_second,
        burst=client.burst,
        quota=Quota(requests=quota.requests, period=QuotaPeriod(quota.period)),
    )

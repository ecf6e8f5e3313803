"""The public front door of an aws stack: balancer, firewall, API, edge endpoint."""

from collections.abc import Mapping

import pulumi

from berth.platforms.aws.account import AwsAccount
from berth.platforms.aws.foundation import Keys, Nodes, edge_logs_key
from berth.spec import ClientSpec, HostingSpec
from berth_protocol.paths import LIVE
from pulumi_berth.aws.api_gateway import ApiClient, ApiGateway, ApiGatewayArgs, Quota, SharedHost
from pulumi_berth.aws.api_gateway_logs import ApiGatewayLogs
from pulumi_berth.aws.edge_endpoint import EdgeEndpoint, EdgeEndpointArgs
from pulumi_berth.aws.internal_balancer import InternalBalancer, InternalBalancerArgs
from pulumi_berth.aws.log_group import LogSettings
from pulumi_berth.aws.network import Network
from pulumi_berth.aws.web_acl import WebAcl, WebAclArgs

# Answered by a gateway that works, without a key.


def make_balancer(
    spec: HostingSpec, account: AwsAccount, network: Network, nodes: Nodes, node_port: int
) -> InternalBalancer:
    """The way from API Gateway to the nodes that the in-cluster gateway is on."""
    return InternalBalancer(
        "balancer",
        InternalBalancerArgs(
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


def make_api(
    spec: HostingSpec,
    account: AwsAccount,
    keys: Keys,
    balancer: InternalBalancer,
    client_keys: Mapping[str, pulumi.Input[str]],
    origin_secret: pulumi.Input[str] | None,
    shared: SharedHost | None,
) -> ApiGateway:
    """Firewall -> API with a key and a plan for each client.

    Args:
        origin_secret: what the firewall asks of requests; None where there is no edge endpoint.
        shared: a further name, of APIs of several regions.
    """
    logs = LogSettings(days=spec.observability.log_days, key=keys.logs.arn)
    firewall = WebAcl(
        "firewall",
        WebAclArgs(
            scope="REGIONAL",
            rule_sets=list(spec.api.waf.managed_rule_groups),
            mode=spec.api.waf.mode,
            requests_per_ip=spec.api.waf.requests_per_ip,
            logs=logs,
            origin_secret=origin_secret,
        ),
        account.options(),
    )
    logging = ApiGatewayLogs("api-logs", account.options())
    return ApiGateway(
        "api",
        ApiGatewayArgs(
            balancer_arn=balancer.arn,
            balancer_host=balancer.dns_name,
            timeout_seconds=spec.gateway.timeout_seconds,
            clients={
                name: _client(client, client_keys[name])
                for name, client in spec.gateway.clients.items()
            },
            rate_per_second=spec.api.rate_limit.rate_per_second,
            burst=spec.api.rate_limit.burst,
            web_acl_arn=firewall.arn,
            logs=logs,
            host=None if spec.api.domain is None else account.host_name(spec.api.domain),
            shared_host=shared,
        ),
        pulumi.ResourceOptions.merge(
            account.options(), pulumi.ResourceOptions(depends_on=[logging])
        ),
    )


def make_edge(
    spec: HostingSpec,
    account: AwsAccount,
    keys: Keys,
    api: ApiGateway,
    origin_secret: pulumi.Input[str],
) -> EdgeEndpoint:
    """Firewall -> distribution, which alone knows what the API's firewall asks for."""
    cdn = spec.edge.cdn
    assert cdn is not None
    logs = LogSettings(days=spec.observability.log_days, key=edge_logs_key(spec, account, keys).arn)
    firewall = WebAcl(
        "edge-firewall",
        WebAclArgs(
            scope="CLOUDFRONT",
            rule_sets=list(spec.api.waf.managed_rule_groups),
            mode=spec.api.waf.mode,
            requests_per_ip=cdn.requests_per_ip,
            logs=logs,
        ),
        account.options(),
    )
    return EdgeEndpoint(
        "edge",
        EdgeEndpointArgs(
            origin_host=api.host,
            origin_secret=origin_secret,
            price_class=cdn.price_class,
            minimum_tls=cdn.minimum_tls,
            web_acl_arn=firewall.arn,
            host=None if cdn.domain is None else account.host_name(cdn.domain),
        ),
        account.options(),
    )


def _client(client: ClientSpec, key: pulumi.Input[str]) -> ApiClient:
    quota = client.quota
    if quota is None or quota.period == "hour":  # a rule of the specification for this platform
        return ApiClient(key=key, rate_per_second=client.rate_per_second, burst=client.burst)
    return ApiClient(
        key=key,
        rate_per_second=client.rate_per_second,
        burst=client.burst,
        quota=Quota(requests=quota.requests, period=quota.period),
    )

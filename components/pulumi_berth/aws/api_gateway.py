"""ApiGateway: the public API, and the key, rate limit and quota of each client."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import pulumi
from pulumi_aws import apigateway, wafv2

from pulumi_berth.aws.api_plan import HOST_VARIABLE, LINK_VARIABLE, STAGE, build_api_definition
from pulumi_berth.aws.custom_domain import ApiDomain, ApiDomainArgs, HostName, LatencyRouting
from pulumi_berth.aws.logs import LogSettings, create_log_group
from pulumi_berth.component_args import parse_args
from pulumi_berth.hosted_models import DEFAULT_KEY

_MIN_COMPRESSION_BYTES = 1024
# One line of JSON per request. Numbers have no quotes, so that metric filters can compare them.
_ACCESS_LOG = (
    '{"time":"$context.requestTime","request_id":"$context.requestId",'
    '"client":"$context.identity.apiKeyId","ip":"$context.identity.sourceIp",'
    '"method":"$context.httpMethod","path":"$context.path","status":$context.status,'
    '"latency":$context.responseLatency,"bytes":$context.responseLength,'
    '"error":"$context.error.message"}'
)


class QuotaPeriod(StrEnum):
    """The calendar period of a quota."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, kw_only=True)
class Quota:
    """A number of requests per calendar period."""

    requests: int
    period: QuotaPeriod


@dataclass(frozen=True, kw_only=True)
class ApiClient:
    """A client of the API.

    Attributes:
        keys: API keys by name, each at least 20 characters, secrets.
        rate_per_second: Requests per second.
        burst: Requests that can arrive at once.
        quota: Requests in a longer period. Defaults to no quota.
    """

    keys: Mapping[str, pulumi.Input[str]]
    rate_per_second: float
    burst: int
    quota: Quota | None = None


@dataclass(frozen=True, kw_only=True)
class SharedHost:
    """A host name that the APIs of several Regions share, and the routing to this API."""

    host: HostName
    routing: LatencyRouting


@dataclass(frozen=True, kw_only=True)
class ApiGatewayArgs:
    """Arguments for `ApiGateway`.

    Attributes:
        stack_name: Name of the stack. It is part of the API's name.
        load_balancer_arn: ARN of an internal network load balancer in front of the gateway.
        load_balancer_host: Host name of that load balancer.
        timeout_seconds: Timeout of the gateway, at most 29
            (https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html).
        clients: Clients by name, at most 300: AWS's quota of usage plans per account and Region.
        rate_per_second: Requests per second of all clients together.
        burst: Requests of all clients together that can arrive at once.
        web_acl_arn: ARN of a web ACL with the scope `REGIONAL`.
        logs: Settings of the access log.
        host: Host name of the API. Defaults to API Gateway's own host name.
        shared_host: Additional host name, shared with APIs in other Regions.
    """

    stack_name: str
    load_balancer_arn: pulumi.Input[str]
    load_balancer_host: pulumi.Input[str]
    timeout_seconds: float
    clients: Mapping[str, ApiClient]
    rate_per_second: float
    burst: int
    web_acl_arn: pulumi.Input[str]
    logs: LogSettings
    host: HostName | None = None
    shared_host: SharedHost | None = None


class ApiGateway(pulumi.ComponentResource):
    """A regional REST API in front of an internal load balancer.

    The account and Region need a role that lets API Gateway write logs (`ApiGatewayLogs`).

    Attributes:
        host: Host name of the API: the shared host name if there is one.
        url: URL of the API without the first path segment, `/v2`.
        api_name: Value of CloudWatch's dimension `ApiName`.
        stage: Name of the stage.
        access_log: Name of the access log's group.
    """

    host: pulumi.Output[str]
    url: pulumi.Output[str]
    api_name: pulumi.Output[str]
    stage: str
    access_log: pulumi.Output[str]

    def __init__(
        self, name: str, args: ApiGatewayArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:ApiGateway", name, None, opts)
        args = parse_args(ApiGatewayArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        link = apigateway.VpcLink(name, target_arn=args.load_balancer_arn, opts=child_opts)
        api_name = f"berth-{args.stack_name}"
        definition = build_api_definition(api_name, timeout_seconds=args.timeout_seconds)
        body = json.dumps(definition, sort_keys=True)
        api = apigateway.RestApi(
            name,
            name=api_name,
            body=body,
            endpoint_configuration=apigateway.RestApiEndpointConfigurationArgs(types="REGIONAL"),
            disable_execute_api_endpoint=args.host is not None or args.shared_host is not None,
            minimum_compression_size=str(_MIN_COMPRESSION_BYTES),
            opts=child_opts,
        )
        deployment = apigateway.Deployment(
            name,
            rest_api=api.id,
            # A stage serves a snapshot. Replace it if, and only if, the API definition changes.
            triggers={"body": hashlib.sha256(body.encode()).hexdigest()},
            opts=child_opts,
        )
        log = create_log_group(name, args.logs, child_opts)
        stage = apigateway.Stage(
            name,
            rest_api=api.id,
            deployment=deployment.id,
            stage_name=STAGE,
            variables={LINK_VARIABLE: link.id, HOST_VARIABLE: args.load_balancer_host},
            access_log_settings=apigateway.StageAccessLogSettingsArgs(
                destination_arn=log.arn, format=_ACCESS_LOG
            ),
            opts=child_opts,
        )
        _limit_all_clients(name, args, api, stage, child_opts)
        wafv2.WebAclAssociation(
            name, resource_arn=stage.arn, web_acl_arn=args.web_acl_arn, opts=child_opts
        )
        for client_name, client in args.clients.items():
            _create_client(f"{name}-{client_name}", client, api, stage, child_opts)
        self.host = _create_host(name, args, api, stage, child_opts)
        self.url = pulumi.Output.concat("https://", self.host)
        self.api_name = api.name
        self.stage = STAGE
        self.access_log = log.name
        self.register_outputs(
            {
                "host": self.host,
                "url": self.url,
                "api_name": self.api_name,
                "stage": self.stage,
                "access_log": self.access_log,
            }
        )


def _limit_all_clients(
    name: str,
    args: ApiGatewayArgs,
    api: apigateway.RestApi,
    stage: apigateway.Stage,
    opts: pulumi.ResourceOptions,
) -> None:
    """Set the rate limit of all clients together, for every method.

    The execution log stays off: it would contain requests, in a log group without a KMS key.
    """
    apigateway.MethodSettings(
        name,
        rest_api=api.id,
        stage_name=stage.stage_name,
        method_path="*/*",
        settings=apigateway.MethodSettingsSettingsArgs(
            metrics_enabled=True,
            logging_level="OFF",
            data_trace_enabled=False,
            throttling_rate_limit=args.rate_per_second,
            throttling_burst_limit=args.burst,
        ),
        opts=opts,
    )


def _create_client(
    name: str,
    client: ApiClient,
    api: apigateway.RestApi,
    stage: apigateway.Stage,
    opts: pulumi.ResourceOptions,
) -> None:
    """Create a client's usage plan and API keys. API Gateway applies the plan to each key."""
    plan = apigateway.UsagePlan(
        name,
        api_stages=[apigateway.UsagePlanApiStageArgs(api_id=api.id, stage=stage.stage_name)],
        throttle_settings=apigateway.UsagePlanThrottleSettingsArgs(
            rate_limit=client.rate_per_second, burst_limit=client.burst
        ),
        quota_settings=None
        if client.quota is None
        else apigateway.UsagePlanQuotaSettingsArgs(
            limit=client.quota.requests, period=client.quota.period.upper()
        ),
        opts=opts,
    )
    # Both resources return the key; mark it secret to encrypt it in state.
    secret_value = pulumi.ResourceOptions.merge(
        opts, pulumi.ResourceOptions(additional_secret_outputs=["value"])
    )
    for key_name, value in client.keys.items():
        resource = name if key_name == DEFAULT_KEY else f"{name}.{key_name}"
        key = apigateway.ApiKey(resource, value=pulumi.Output.secret(value), opts=secret_value)
        apigateway.UsagePlanKey(
            resource, key_id=key.id, key_type="API_KEY", usage_plan_id=plan.id, opts=secret_value
        )


def _create_host(
    name: str,
    args: ApiGatewayArgs,
    api: apigateway.RestApi,
    stage: apigateway.Stage,
    opts: pulumi.ResourceOptions,
) -> pulumi.Output[str]:
    """Create the custom domains, and return the host name of the API."""

    def create_domain(
        name: str, host: HostName, routing: LatencyRouting | None = None
    ) -> pulumi.Output[str]:
        domain = ApiDomainArgs(
            host=host, api_id=api.id, stage=stage.stage_name, path=STAGE, routing=routing
        )
        return ApiDomain(name, domain, opts).host

    host = stage.invoke_url.apply(lambda url: url.split("/")[2])
    if args.host is not None:
        host = create_domain(name, args.host)
    if args.shared_host is not None:
        host = create_domain(f"{name}-shared", args.shared_host.host, args.shared_host.routing)
    return host

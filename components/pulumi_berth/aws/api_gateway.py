"""ApiGateway: the public API, its clients, and what each of them may ask."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pulumi
from pulumi_aws import apigateway, wafv2

from pulumi_berth.aws.api_host import ApiHost, ApiHostArgs, Nearest
from pulumi_berth.aws.api_plan import HOST_VARIABLE, LINK_VARIABLE, STAGE, api_body
from pulumi_berth.aws.certificate import HostName
from pulumi_berth.aws.log_group import LogSettings, log_group

_COMPRESSED_BYTES = 1024
# One line of JSON per request; numbers stand without quotes, so that filters can reckon with them.
_ACCESS_LOG = (
    '{"time":"$context.requestTime","request_id":"$context.requestId",'
    '"client":"$context.identity.apiKeyId","ip":"$context.identity.sourceIp",'
    '"method":"$context.httpMethod","path":"$context.path","status":$context.status,'
    '"latency":$context.responseLatency,"bytes":$context.responseLength,'
    '"error":"$context.error.message"}'
)


@dataclass(frozen=True, kw_only=True)
class Quota:
    """Requests in a calendar period."""

    requests: int
    period: Literal["day", "week", "month"]


@dataclass(frozen=True, kw_only=True)
class ApiClient:
    """Who may ask.

    Attributes:
        key: at least 20 characters, a secret.
        rate_per_second: requests in the long run.
        burst: requests that may come at once.
        quota: in a longer period; None for no limit.
    """

    key: pulumi.Input[str]
    rate_per_second: float
    burst: int
    quota: Quota | None = None


@dataclass(frozen=True, kw_only=True)
class SharedHost:
    """A host name of the APIs of several regions, and how this one of them is found under it."""

    host: HostName
    nearest: Nearest


@dataclass(frozen=True, kw_only=True)
class ApiGatewayArgs:
    """What is before the API, behind it, and who asks.

    Attributes:
        balancer_arn: of an internal network load balancer before the gateway.
        balancer_host: by which the network finds it.
        timeout_seconds: that the gateway gets to answer, at most 29
            (https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html).
        clients: by name, at most 300: AWS's quota of usage plans for an account and region.
        rate_per_second, burst: of all clients together.
        web_acl_arn: of a regional web ACL.
        logs: how the access log is kept.
        host: by which clients reach it; API Gateway's own name when None.
        shared_host: a further name, which APIs of other regions have too.
    """

    balancer_arn: pulumi.Input[str]
    balancer_host: pulumi.Input[str]
    timeout_seconds: float
    clients: Mapping[str, ApiClient]
    rate_per_second: float
    burst: int
    web_acl_arn: pulumi.Input[str]
    logs: LogSettings
    host: HostName | None = None
    shared_host: SharedHost | None = None


class ApiGateway(pulumi.ComponentResource):
    """A regional REST API in front of a private balancer.

    The account and region need a role by which API Gateway writes logs (`ApiGatewayLogs`).

    Attributes:
        host: by which clients reach it; the shared one if there is one.
        url: without the first part of the paths, `/v2`.
        api_name: CloudWatch's name of the API.
        stage: its name.
        access_log: name of the log group.
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
        inside = pulumi.ResourceOptions(parent=self)
        link = apigateway.VpcLink(name, target_arn=args.balancer_arn, opts=inside)
        title = f"berth-{pulumi.get_stack()}"
        body = json.dumps(api_body(title, timeout_seconds=args.timeout_seconds), sort_keys=True)
        api = apigateway.RestApi(
            name,
            name=title,
            body=body,
            endpoint_configuration=apigateway.RestApiEndpointConfigurationArgs(types="REGIONAL"),
            disable_execute_api_endpoint=args.host is not None or args.shared_host is not None,
            minimum_compression_size=str(_COMPRESSED_BYTES),
            opts=inside,
        )
        deployment = apigateway.Deployment(
            name,
            rest_api=api.id,
            # What a stage shows is a copy, made anew when, and only when, the API is another.
            triggers={"body": hashlib.sha256(body.encode()).hexdigest()},
            opts=inside,
        )
        log = log_group(name, args.logs, inside)
        stage = apigateway.Stage(
            name,
            rest_api=api.id,
            deployment=deployment.id,
            stage_name=STAGE,
            variables={LINK_VARIABLE: link.id, HOST_VARIABLE: args.balancer_host},
            access_log_settings=apigateway.StageAccessLogSettingsArgs(
                destination_arn=log.arn, format=_ACCESS_LOG
            ),
            opts=inside,
        )
        _throttle(name, args, api, stage, inside)
        wafv2.WebAclAssociation(
            name, resource_arn=stage.arn, web_acl_arn=args.web_acl_arn, opts=inside
        )
        for client, allowed in args.clients.items():
            _client(f"{name}-{client}", allowed, api, stage, inside)
        self.host = _reached(name, args, api, stage, inside)
        self.url = pulumi.Output.concat("https://", self.host)
        self.api_name = api.name
        self.stage = STAGE
        self.access_log = log.name
        self.register_outputs({"url": self.url})


def _throttle(
    name: str,
    args: ApiGatewayArgs,
    api: apigateway.RestApi,
    stage: apigateway.Stage,
    opts: pulumi.ResourceOptions,
) -> None:
    """Of all clients together, for every method. The execution log stays off: it would have
    requests in it, in a group that nobody encrypts."""
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


def _client(
    name: str,
    client: ApiClient,
    api: apigateway.RestApi,
    stage: apigateway.Stage,
    opts: pulumi.ResourceOptions,
) -> None:
    """A client's key, and the usage plan that it is held to."""
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
    # Both answer with the key, which else stood in the state in clear.
    hidden = pulumi.ResourceOptions.merge(
        opts, pulumi.ResourceOptions(additional_secret_outputs=["value"])
    )
    key = apigateway.ApiKey(
        name,
        value=pulumi.Output.secret(client.key),
        opts=hidden,
    )
    apigateway.UsagePlanKey(
        name, key_id=key.id, key_type="API_KEY", usage_plan_id=plan.id, opts=hidden
    )


def _reached(
    name: str,
    args: ApiGatewayArgs,
    api: apigateway.RestApi,
    stage: apigateway.Stage,
    opts: pulumi.ResourceOptions,
) -> pulumi.Output[str]:
    """The host name by which clients reach it, made if it is one's own."""

    def under(name: str, host: HostName, nearest: Nearest | None = None) -> pulumi.Output[str]:
        made = ApiHostArgs(
            host=host, api_id=api.id, stage=stage.stage_name, path=STAGE, nearest=nearest
        )
        return ApiHost(name, made, opts).host

    reached = stage.invoke_url.apply(lambda url: url.split("/")[2])
    if args.host is not None:
        reached = under(name, args.host)
    if args.shared_host is not None:
        reached = under(f"{name}-shared", args.shared_host.host, args.shared_host.nearest)
    return reached

"""LocalHosting: everything that serves models on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi

from berth_protocol.model_card import digest
from pulumi_berth.api_key import ClientKeys, create_client_keys, select_newest_keys
from pulumi_berth.component_args import parse_args
from pulumi_berth.gateway_clients import BlockingArgs, JwtArgs
from pulumi_berth.gateway_config import declare_gateway_config
from pulumi_berth.hosted_models import (
    ClientArgs,
    HostedModelArgs,
    check_clients,
    check_models,
    find_model_dir,
    resolve_clients,
)
from pulumi_berth.local.berth import LocalBerth, LocalBerthArgs
from pulumi_berth.local.gateway import LocalGateway, LocalGatewayArgs
from pulumi_berth.local.supervisor import Supervisor
from pulumi_berth.serving_settings import ServingSettings
from pulumi_berth.signing.hosted_versions import check_signatures


@dataclass(frozen=True, kw_only=True)
class LocalHostingArgs:
    """Arguments for `LocalHosting`."""

    run_dir: str
    """Directory for the processes' files, which the component creates and removes. Each stack needs
    its own. A relative path starts at the working directory of the program."""
    models: Mapping[str, HostedModelArgs]
    """Models by name, as in their model cards."""
    trusted_keys: Sequence[str] | None = None
    """Public keys in PEM format. If there are any, the program fails before it declares a resource
    if none of them signed the files of a version, and a version cannot set `image` or `container`.
    Defaults to none: no signature is required."""
    clients: Mapping[str, ClientArgs] | None = None
    """Clients of the gateway by name. Defaults to one client named `default`."""
    jwt: JwtArgs | None = None
    """Issuer of JSON Web Tokens for clients with `subjects`. Defaults to none: clients have API
    keys."""
    blocking: BlockingArgs | None = None
    """When clients that keep exceeding their limits and addresses that guess keys are blocked."""
    gateway_port: int | None = None
    """TCP port on 127.0.0.1 for clients. By default, a free port is selected and kept."""
    admin_port: int | None = None
    """TCP port on 127.0.0.1 for the gateway's metrics. By default, a free port is selected and
    kept."""
    max_body_bytes: int | None = None
    """Maximum size of a request body, in bytes. Defaults to 10 MiB."""
    timeout_seconds: float | None = None
    """Time limit for a berth's response, in seconds. Defaults to 30."""
    body_memory_bytes: int | None = None
    """Memory of a gateway for all request bodies together, in bytes. Defaults to a quarter of its
    container's memory, at most 1 GiB."""


@dataclass(frozen=True, kw_only=True)
class LocalHostingParts:
    """What a local hosting stack consists of.

    Attributes:
        berths: Berth of each (model, version).
        gateway: The entry point.
        keys: API keys of each client, by name.
    """

    berths: Mapping[tuple[str, str], LocalBerth]
    gateway: LocalGateway
    keys: ClientKeys


class LocalHosting(pulumi.ComponentResource):
    """A hosting stack on this machine: a supervised process for each model version, and the gateway
    in front of them.

    It needs no container, no root and no installed service. The processes listen only on the
    loopback interface and keep running after the program ends, until the component is destroyed.
    """

    endpoint: pulumi.Output[str]
    """Base URL for clients."""
    metrics: pulumi.Output[str]
    """URL of the gateway's Prometheus metrics."""
    api_keys: pulumi.Output[dict[str, str]]
    """Newest API key of each client, a secret."""

    def __init__(
        self, name: str, args: LocalHostingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:index:LocalHosting", name, None, opts)
        args = parse_args(LocalHostingArgs, args)
        check_models(args.models, allows_containers=False, allows_datasets=False)
        check_signatures(args.models, args.trusted_keys)
        check_clients(args.clients, args.models)
        parts = declare_local_hosting(
            args,
            opts=pulumi.ResourceOptions(parent=self),
            prefix=f"{name}-",
        )
        self.endpoint = parts.gateway.endpoint
        self.metrics = parts.gateway.metrics
        newest = select_newest_keys(resolve_clients(args.clients), parts.keys)
        self.api_keys = pulumi.Output.secret(pulumi.Output.all(**newest))
        self.register_outputs(
            {"endpoint": self.endpoint, "metrics": self.metrics, "api_keys": self.api_keys}
        )


def declare_local_hosting(
    args: LocalHostingArgs, *, opts: pulumi.ResourceOptions | None = None, prefix: str = ""
) -> LocalHostingParts:
    """Declare the supervisor, a berth for each model version, the keys and the gateway.

    Args:
        prefix: Prefix of the logical resource names.
    """
    run_dir = Path(args.run_dir).resolve()
    supervisor = Supervisor(f"{prefix}supervisor", run_dir=run_dir, opts=opts)
    after_supervisor = pulumi.ResourceOptions.merge(
        opts, pulumi.ResourceOptions(depends_on=[supervisor])
    )
    berths = {
        (name, version): LocalBerth(
            f"{prefix}{name}-{version}",
            LocalBerthArgs(
                run_dir=str(run_dir),
                model=name,
                version=version,
                model_dir=str(find_model_dir(entry.directory)),
                digest=digest(find_model_dir(entry.directory)),
                serving=model.serving or ServingSettings(),
                memory=None if model.resources is None else model.resources.memory,
            ),
            after_supervisor,
        )
        for name, model in args.models.items()
        for version, entry in model.versions.items()
        if entry.directory is not None
    }
    clients = resolve_clients(args.clients)
    keys = create_client_keys(clients, opts=opts, prefix=prefix)
    gateway = LocalGateway(
        f"{prefix}gateway",
        LocalGatewayArgs(
            run_dir=str(run_dir),
            config=declare_gateway_config(
                args.models,
                clients,
                keys,
                {version: berth.url for version, berth in berths.items()},
                max_body_bytes=args.max_body_bytes,
                timeout_seconds=args.timeout_seconds,
                body_memory_bytes=args.body_memory_bytes,
                jwt=args.jwt,
                blocking=args.blocking,
                splits_traffic=True,
            ),
            berths=[berth.process for berth in berths.values()],
            gateway_port=args.gateway_port,
            admin_port=args.admin_port,
        ),
        after_supervisor,
    )
    return LocalHostingParts(berths=berths, gateway=gateway, keys=keys)

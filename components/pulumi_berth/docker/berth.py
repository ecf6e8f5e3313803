"""A berth on a Docker engine: one model version in its own container."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_docker import Container

from pulumi_berth.component_args import parse_args
from pulumi_berth.docker.container_plan import (
    BERTH_CHECK,
    HTTP_PORT,
    LIMITS,
    NO_NAME_SERVER,
    TOKEN_DIRECTORY,
    ContainerPlan,
    Mount,
    plan_limits,
    shorten_name,
)
from pulumi_berth.docker.engine import (
    COMPONENT_LABEL,
    DIGEST_LABEL,
    IMAGE_LABEL,
    MODEL_LABEL,
    PORT_LABEL,
    VERSION_LABEL,
)
from pulumi_berth.docker.engine_image import EngineImage
from pulumi_berth.docker.ready_container import Probe, ReadyContainer
from pulumi_berth.hosted_models import ResourceArgs
from pulumi_berth.own_container import OwnContainerArgs, plan_own_container
from pulumi_berth.serving_settings import ServingSettings

TOKEN_FILE = "token"  # noqa: S105 - the name of a file
_OWN_TMP_MIB = 16
"""Size of /tmp of a container of the user's own: that of all pods on kubernetes."""
_GPU_PROVIDERS = "CUDAExecutionProvider,CPUExecutionProvider"


@dataclass(frozen=True, kw_only=True)
class DockerBerthArgs:
    """Arguments for `DockerBerth`.

    Attributes:
        host: Address of the engine.
        model: Model name, as in the model card.
        version: Model version, as in the model card.
        digest: Digest of the model version, `sha256:<hex>`.
        image: Serving image, `registry/name@sha256:...`, or one of the store.
        network: Network without a route to the outside, which the gateway also has.
        token_volume: Volume with the token that inference requests must have.
        serving: Limits and session options of the serving program.
        resources: Resources of the container.
        ready_seconds: Time limit for a new container to become ready.
        labels: Labels of the stack's containers.
        alias: Another host name of the container in the network. Replicas have the same one.
        gpus: Indexes of the engine's GPUs that the berth uses. Defaults to all.
        container: Container of the user's own that runs instead of Berth's serving program. It gets
            no token. Its network should contain only the gateway.
        probe_image: ID of the image that checks such a container.
    """

    host: str
    model: str
    version: str
    digest: pulumi.Input[str]
    image: pulumi.Input[str]
    network: pulumi.Input[str]
    token_volume: pulumi.Input[str]
    serving: ServingSettings
    resources: ResourceArgs
    ready_seconds: float
    labels: Mapping[str, str]
    alias: str | None = None
    gpus: Sequence[int] = ()
    container: OwnContainerArgs | None = None
    probe_image: pulumi.Input[str] = ""


class DockerBerth(pulumi.ComponentResource):
    """One model version on a Docker engine.

    A change starts a new container next to the old one. The engine deletes the old container at the
    end of the update, after the gateway sends requests to the new one.

    Attributes:
        digest: Digest of the model version, `sha256:<hex>`.
        url: URL of the berth in the stack's network.
        container: ID of the container.
        container_name: Name of the container.
        image: Serving image.
    """

    digest: pulumi.Output[str]
    url: pulumi.Output[str]
    container: pulumi.Output[str]
    container_name: pulumi.Output[str]
    image: pulumi.Output[str]

    def __init__(
        self, name: str, args: DockerBerthArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:docker:Berth", name, None, opts)
        args = parse_args(DockerBerthArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        name = shorten_name(name)
        image = EngineImage(name, host=args.host, reference=args.image, opts=child_opts)
        plan = _plan_program(args) if args.container is None else _plan_own(args, args.container)
        container = Container(
            name,
            image=image.image_id,
            networks_advanced=[
                {"name": args.network, "aliases": [args.alias] if args.alias else None}
            ],
            dns=NO_NAME_SERVER,
            **plan.build_arguments(),
            opts=pulumi.ResourceOptions.merge(
                child_opts, pulumi.ResourceOptions(delete_before_replace=False)
            ),
        )
        ready = ReadyContainer(
            name,
            host=args.host,
            container=container.id,
            check=BERTH_CHECK if args.container is None else _plan_probe(args, args.container),
            seconds=args.ready_seconds,
            opts=child_opts,
        )
        self.digest = pulumi.Output.from_input(args.digest)
        self.url = pulumi.Output.concat("http://", ready.address, f":{_get_port(args)}")
        self.container = container.id
        self.container_name = container.name
        self.image = pulumi.Output.from_input(args.image)
        self.register_outputs({"url": self.url, "container": self.container, "image": self.image})


def _get_port(args: DockerBerthArgs) -> int:
    """Return the TCP port of the berth's server."""
    if args.container is None:
        return HTTP_PORT
    return plan_own_container(args.container, args.model, args.version).port


def _plan_program(args: DockerBerthArgs) -> ContainerPlan:
    """Return the container of Berth's serving program."""
    return ContainerPlan(
        environment={
            **args.serving.environment(),
            "BERTH_PORT": str(HTTP_PORT),
            "BERTH_TOKEN_FILE": f"{TOKEN_DIRECTORY}/{TOKEN_FILE}",
            **({"BERTH_EXECUTION_PROVIDERS": _GPU_PROVIDERS} if args.resources.gpus else {}),
            **_select_gpus(args),
        },
        mounts=[Mount(volume=args.token_volume, target=TOKEN_DIRECTORY)],
        check=BERTH_CHECK,
        **_plan_frame(args),
    )


def _plan_own(args: DockerBerthArgs, container: OwnContainerArgs) -> ContainerPlan:
    """Return a container of the user's own: no token, no setting, and no check in it."""
    plan = plan_own_container(container, args.model, args.version)
    frame = _plan_frame(args)
    frame["labels"] |= {PORT_LABEL: str(plan.port)}
    return ContainerPlan(environment=_select_gpus(args), check=None, tmp_mib=_OWN_TMP_MIB, **frame)


def _plan_frame(args: DockerBerthArgs) -> dict[str, Any]:
    """Return what is the same whatever program the container runs."""
    resources = args.resources
    limits = pulumi.Output.all(
        cpu=resources.cpu, cpu_limit=resources.cpu_limit, memory=resources.memory
    ).apply(lambda given: plan_limits(**given))
    return {
        "grace_seconds": args.serving.with_defaults()["grace_seconds"],
        "limits": {key: limits[key] for key in LIMITS},
        "gpus": resources.gpus or 0,
        "labels": {
            **args.labels,
            COMPONENT_LABEL: "berth",
            MODEL_LABEL: args.model,
            VERSION_LABEL: args.version,
            DIGEST_LABEL: args.digest,
            IMAGE_LABEL: args.image,
        },
    }


def _select_gpus(args: DockerBerthArgs) -> dict[str, str]:
    # The Docker provider gives a container all GPUs or none. CUDA uses only these:
    # https://docs.nvidia.com/cuda/cuda-c-programming-guide/#env-vars
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, args.gpus))} if args.gpus else {}


def _plan_probe(args: DockerBerthArgs, container: OwnContainerArgs) -> Probe:
    plan = plan_own_container(container, args.model, args.version)
    return Probe(
        image=args.probe_image,
        network=args.network,
        port=plan.port,
        paths=[plan.started_path, plan.ready_path],
    )

"""A berth on this machine: one model version in a supervised process."""

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from pulumi_berth.component_args import parse_args
from pulumi_berth.program_source import program_digest
from pulumi_berth.providers import BerthProvider
from pulumi_berth.serving_settings import ServingSettings


class BerthProcess(Resource, module="berth", name="BerthProcess"):
    """The serving process of one model version.

    A change of any input replaces the process: the new process is ready before the old process
    drains. A process that exited is started again on the same port.
    """

    process: pulumi.Output[str]
    port: pulumi.Output[int]
    url: pulumi.Output[str]
    running: pulumi.Output[bool]

    def __init__(
        self, name: str, inputs: dict[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        outputs = dict.fromkeys(("process", "port", "url", "running"))
        super().__init__(BerthProvider(), name, {**inputs, **outputs}, opts)


@dataclass(frozen=True, kw_only=True)
class LocalBerthArgs:
    """Arguments for `LocalBerth`.

    Attributes:
        run_dir: The stack's run directory, which `Supervisor` creates.
        model: Model name, as in the model card.
        version: Model version, as in the model card.
        model_dir: Absolute path of the directory with `model.onnx` and `model.yaml`.
        digest: Digest of the model version, `sha256:<hex>`. A change replaces the berth.
        serving: Limits and session options.
        memory: Memory that the berth plans with, as a Kubernetes quantity. A request that needs
            more is refused. Defaults to `512Mi`.
    """

    run_dir: str
    model: str
    version: str
    model_dir: str
    digest: str
    serving: ServingSettings
    memory: pulumi.Input[str] | None = None


class LocalBerth(pulumi.ComponentResource):
    """One model version that runs on this machine and listens only on the loopback interface.

    It accepts inference requests only with the stack's token, which the gateway sends.

    Attributes:
        digest: Digest of the model version, `sha256:<hex>`.
        url: Base URL of the process, `http://127.0.0.1:<port>`.
        process: Name of the process in the supervisor, unique for each instance.
        port: TCP port. A restarted process keeps its port.
    """

    digest: pulumi.Output[str]
    url: pulumi.Output[str]
    process: pulumi.Output[str]
    port: pulumi.Output[int]

    def __init__(
        self, name: str, args: LocalBerthArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:local:Berth", name, None, opts)
        args = parse_args(LocalBerthArgs, args)
        process = BerthProcess(
            name,
            {
                "run_dir": args.run_dir,
                "model": args.model,
                "version": args.version,
                "model_dir": args.model_dir,
                "digest": args.digest,
                "program_digest": program_digest("berth_serving"),
                "environment": ServingSettings.memory_environment(args.memory).apply(
                    lambda memory: {**args.serving.environment(), **memory}
                ),
            },
            pulumi.ResourceOptions(parent=self),
        )
        self.digest = pulumi.Output.from_input(args.digest)
        self.url = process.url
        self.process = process.process
        self.port = process.port
        self.register_outputs(
            {
                "digest": self.digest,
                "url": self.url,
                "process": self.process,
                "port": self.port,
            }
        )

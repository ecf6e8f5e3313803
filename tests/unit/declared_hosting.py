"""The resources that Berth declares for a cluster, with mocks instead of the engine."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime import mocks

from berth.platforms.image_settings import build_image_settings
from berth.platforms.kubernetes.hosting import (
    build_hosted_models,
    build_hosting_args,
)
from berth.spec import load_file
from pulumi_berth.api_key import create_client_keys
from pulumi_berth.images.hosting_images import HostingImages
from pulumi_berth.kubernetes.hosting import declare_hosting
from tests.repository import REPOSITORY

_STACK = """\
config:
  berth:platform: kubernetes
  berth:registry: {url: registry.example.com/berth, pull_secret: registry-login}
  berth:models:
    own:
      versions: {"1": {container: {image: "example.com/own/server@sha256:DIGEST", port: 9001}}}
      replicas: {min: 1, max: 3}
    digits:
      versions: {"1": {}, "2": {}}
      traffic: {"1": WEIGHT, "2": REST}
      replicas: {min: 1, max: 3}
    breast-cancer:
      versions: {"1": {}}
      compute: gpu
"""

OWN_DIGEST = "c" * 64
_VERSIONS = (("own", "1"), ("digits", "1"), ("digits", "2"), ("breast-cancer", "1"))

Resources = dict[tuple[str, str], dict[str, Any]]


class _Engine(mocks.Mocks):
    """An engine that records the inputs of each resource and returns them as outputs."""

    def __init__(self) -> None:
        self.resources: Resources = {}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], None]:
        raise NotImplementedError(args.token)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[Any, Any]]:
        kind = args.typ.split("/")[-1].split(":")[-1]
        self.resources[kind, args.name] = args.inputs
        outputs = {
            "ApiKey": {"key": f"key-of-{args.name}"},
            "NamespaceClaim": {"owner_id": "0123456789ab", "owner": "p/x/0123456789ab"},
        }
        return f"{args.name}-id", {**args.inputs, **outputs.get(kind, {})}


@cache
def declare(weight: int = 90, more: str = "") -> Resources:
    """Return the inputs of all resources of a stack, by kind and name. Do not change them.

    Args:
        weight: Percentage of the requests to `digits` that version 1 gets.
        more: Further lines of the stack's configuration.
    """
    engine = _Engine()
    mocks.set_mocks(engine)
    stack = _STACK.replace("DIGEST", OWN_DIGEST)
    stack = stack.replace("WEIGHT", str(weight)).replace("REST", str(100 - weight))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "Pulumi.x.yaml")
        path.write_text(stack + more)
        spec = load_file(path)

    @pulumi.runtime.test  # type: ignore[untyped-decorator]  # Pulumi does not type it.
    def run() -> pulumi.Output[Any]:
        settings = build_image_settings(spec, "registry.example.com/berth")
        args = build_hosting_args(
            spec,
            build_hosted_models(
                spec,
                REPOSITORY,
                registry="registry.example.com/berth",
                mounts={"own": [], "digits": [], "breast-cancer": []},
            ),
            settings,
            root=REPOSITORY,
            namespace="berth",
            limits_prefix="berth:x",
            has_pod_metrics=False,
            has_prometheus_operator=True,
        )
        assert args.clients is not None
        hosting = declare_hosting(
            args,
            access=None,
            images=HostingImages(
                serving=dict.fromkeys(_VERSIONS, "registry/x@sha256:0"),
                gateway="registry/gateway@sha256:0",
                valkey="registry/valkey@sha256:0",
                reports={},
            ),
            keys=create_client_keys(args.clients),
            opts=pulumi.ResourceOptions(),
        )  # fmt: skip
        return pulumi.Output.all(hosting.gateway_service)

    run()
    return engine.resources

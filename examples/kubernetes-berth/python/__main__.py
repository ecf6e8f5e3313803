"""One model version in a namespace that the program creates."""

import pulumi
from pulumi_kubernetes.core.v1 import Namespace

from pulumi_berth import (
    ImageSettings,
    KubernetesBerth,
    KubernetesBerthArgs,
    ReplicaArgs,
    ResourceArgs,
    ServingImage,
    ServingImageArgs,
)

config = pulumi.Config()
namespace = Namespace("namespace")
image = ServingImage(
    "image",
    ServingImageArgs(
        model="digits",
        version="1",
        model_dir=f"{config.require('models')}/digits/1",
        settings=ImageSettings(
            registry=config.require("registry"), plain_http=config.get_bool("plainHttp")
        ),
    ),
)
berth = KubernetesBerth(
    "berth",
    KubernetesBerthArgs(
        namespace=namespace.metadata.name,
        model="digits",
        version="1",
        image=image.reference,
        callers=[{"app": "shop"}],
        replicas=ReplicaArgs(min=1, max=3),
        resources=ResourceArgs(cpu="100m", cpu_limit="1", memory="192Mi"),
    ),
)
pulumi.export("namespace", namespace.metadata.name)
pulumi.export("url", berth.url)

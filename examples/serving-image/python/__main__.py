"""A container image with one model version."""

import pulumi

from pulumi_berth import ImageSettings, ServingImage, ServingImageArgs

config = pulumi.Config()
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
pulumi.export("reference", image.reference)

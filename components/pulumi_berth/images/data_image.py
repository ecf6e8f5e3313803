"""DataImage: a set of data as an image that brings it into a pod and checks it there.

An image, because every node can pull one: the pod needs no way out and no credentials.
"""

from dataclasses import dataclass
from typing import Literal

import pulumi

from pulumi_berth.datasets.artifact import DATA
from pulumi_berth.images import layers
from pulumi_berth.images.built_image import BuiltImage, ImageLayer, ImageRun, ImageSettings, program

FOLDER = f"/{DATA}"


@dataclass(frozen=True, kw_only=True)
class DataInImage:
    """One version of a set that an image has.

    Attributes:
        name, version: of the set.
        kind: where it is taken from: an artifact (`data`) or a bucket.
        repository: that has the artifact, `registry/name`; `bucket/prefix/version` in a bucket.
        digest: of the artifact, or of the manifest in the bucket, `sha256:<hex>`.
    """

    name: str
    version: str
    kind: Literal["data", "bucket"] = "data"
    repository: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class DataImageArgs:
    """How the stack's images are made, and the set that the image has: none for the program that
    checks what lies elsewhere."""

    settings: ImageSettings
    data: DataInImage | None = None


class DataImage(pulumi.ComponentResource):
    """The files of one version of a set, and the program that copies and checks them.

    Attributes:
        reference: `registry/name@sha256:...`.
    """

    reference: pulumi.Output[str]

    def __init__(
        self, name: str, args: DataImageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:image:DataImage", name, None, opts)
        data = args.data
        said = {"org.opencontainers.image.title": name}
        if data is not None:
            said |= {
                "org.opencontainers.image.version": data.version,
                "berth.digest": data.digest,
            }
        image = BuiltImage(
            name,
            settings=args.settings,
            repository=name,
            base=None,
            layers=[
                ImageLayer(kind="base", digest=layers.base_digest()),
                program("berth_data"),
                *(
                    [ImageLayer(kind=data.kind, name=data.repository, digest=data.digest)]
                    if data is not None
                    else []
                ),
            ],
            run=ImageRun(
                environment={"PYTHONPATH": f"/{layers.PROGRAMS}", "PYTHONDONTWRITEBYTECODE": "1"},
                entrypoint=["/usr/bin/python3", "-m", "berth_data"],
                labels=said,
            ),
            annotations=said,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.reference = image.reference
        self.register_outputs({"reference": self.reference})

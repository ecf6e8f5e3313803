"""DatasetImage: an image that copies a dataset into a Pod and verifies it there.

Every node can pull an image, so the Pod needs neither network access nor credentials.
"""

from dataclasses import dataclass

import pulumi

from pulumi_berth.component_args import parse_args
from pulumi_berth.images import layers
from pulumi_berth.images.built_image import (
    BuiltImage,
    ImageLayer,
    ImageRun,
    ImageSettings,
    LayerKind,
    program_layer,
)


@dataclass(frozen=True, kw_only=True)
class ImageDataset:
    """A version of a dataset in an image.

    Attributes:
        name: Name of the dataset.
        version: Version of the dataset.
        digest: Digest of the artifact, or of the manifest in the bucket, `sha256:<hex>`.
        repository: Repository of the artifact, `registry/name`. For a dataset in a bucket,
            `bucket/prefix/version`.
        is_in_bucket: True for a dataset in an S3 bucket. Defaults to an artifact in a registry.
    """

    name: str
    version: str
    digest: str
    repository: str
    is_in_bucket: bool | None = False


@dataclass(frozen=True, kw_only=True)
class DatasetImageArgs:
    """Arguments for `DatasetImage`.

    Attributes:
        settings: How the stack's images are built.
        dataset: Dataset in the image. If None, the image has only the program, which then verifies
            a dataset on a volume.
    """

    settings: ImageSettings
    dataset: ImageDataset | None = None


class DatasetImage(pulumi.ComponentResource):
    """One version of a dataset, and the program that copies and verifies it.

    Attributes:
        reference: `registry/name@sha256:...`.
    """

    reference: pulumi.Output[str]

    def __init__(
        self, name: str, args: DatasetImageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:images:DatasetImage", name, None, opts)
        args = parse_args(DatasetImageArgs, args)
        dataset = args.dataset
        labels = {"org.opencontainers.image.title": name}
        content: list[ImageLayer] = []
        if dataset is not None:
            labels |= {
                "org.opencontainers.image.version": dataset.version,
                "berth.digest": dataset.digest,
            }
            kind = LayerKind.BUCKET_DATASET if dataset.is_in_bucket else LayerKind.DATASET
            content = [ImageLayer(kind=kind, name=dataset.repository, digest=dataset.digest)]
        image = BuiltImage(
            name,
            settings=args.settings,
            repository=name,
            base=None,
            layers=[
                ImageLayer(kind=LayerKind.BASE, digest=layers.base_digest()),
                program_layer("berth_data"),
                *content,
            ],
            run=ImageRun(
                environment={"PYTHONPATH": f"/{layers.PROGRAMS}", "PYTHONDONTWRITEBYTECODE": "1"},
                entrypoint=["/usr/bin/python3", "-m", "berth_data"],
                labels=labels,
            ),
            annotations=labels,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.reference = image.reference
        self.register_outputs({"reference": self.reference})

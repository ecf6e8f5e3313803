"""HardenedBaseImage: what every image of a stack stands on."""

from dataclasses import dataclass
from typing import Any, Literal

import pulumi

from pulumi_berth.images import layers
from pulumi_berth.images.built_image import BuiltImage, ImageLayer, ImageRun, ImageSettings

Runtime = Literal["serving-cpu", "serving-cuda", "gateway"]

_ENVIRONMENT = {
    "PYTHONPATH": f"/{layers.LIBRARIES}:/{layers.PROGRAMS}",
    "PYTHONDONTWRITEBYTECODE": "1",  # the root is read-only, and stays as it was pushed
    "PYTHONUNBUFFERED": "1",
    "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime ships its vendor's
}
# Where the wheels of NVIDIA's libraries put what onnxruntime loads.
_CUDA_LIBRARIES = ("cu13/lib", "cudnn/lib")


@dataclass(frozen=True, kw_only=True)
class HardenedBaseImageArgs:
    """What the base is.

    Attributes:
        runtime: which libraries it has.
        settings: how the stack's images are made.
        base: an image with Python 3.11 at /usr/bin/python3, `registry/name@sha256:...`, to put
            the libraries on; when None, the recipe of this project, which needs Debian packages
            and no image.
    """

    runtime: Runtime
    settings: ImageSettings
    base: str | None = None


class HardenedBaseImage(pulumi.ComponentResource):
    """Python and the libraries of one runtime, with no shell, package manager, compiler or set-uid
    file, run by a user that is not root.

    Attributes:
        reference: `registry/name@sha256:...`.
        report: per architecture what is inside, see pulumi_berth.images.report.Report.
    """

    reference: pulumi.Output[str]
    report: pulumi.Output[dict[str, Any]]

    def __init__(
        self, name: str, args: HardenedBaseImageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:image:HardenedBaseImage", name, None, opts)
        debian = [ImageLayer(kind="base", digest=layers.base_digest())]
        libraries = ImageLayer(
            kind="runtime", name=args.runtime, digest=layers.runtime_digest(args.runtime)
        )
        image = BuiltImage(
            name,
            settings=args.settings,
            repository=f"base-{args.runtime}",
            base=args.base,
            layers=[*([] if args.base else debian), libraries],
            run=ImageRun(environment=_environment(args.runtime), entrypoint=["/usr/bin/python3"]),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.reference = image.reference
        self.report = image.report
        self.register_outputs({"reference": self.reference, "report": self.report})


def _environment(runtime: Runtime) -> dict[str, str]:
    if runtime != "serving-cuda":
        return _ENVIRONMENT
    folders = [f"/{layers.LIBRARIES}/nvidia/{folder}" for folder in _CUDA_LIBRARIES]
    return _ENVIRONMENT | {"LD_LIBRARY_PATH": ":".join(folders)}

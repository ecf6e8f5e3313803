"""DatasetMount: a dataset in a berth's pod: copied, verified, and read-only for the model."""

from dataclasses import dataclass
from typing import Any

import pulumi

from pulumi_berth.datasets import DATA

_REQUESTS = {"cpu": "100m", "memory": "64Mi"}
_LIMITS = {"cpu": "1", "memory": "256Mi"}


@dataclass(frozen=True, kw_only=True)
class DatasetMount:
    """One dataset version, mounted at `/data/<name>`."""

    name: str
    """Name of the dataset."""
    image: pulumi.Input[str]
    """Image that contains the dataset. With a claim, the image that only verifies it."""
    claim: pulumi.Input[str] | None = None
    """PersistentVolumeClaim that contains the dataset. By default, the image contains it."""
    sub_path: str | None = None
    """Directory of the dataset in the claim. Defaults to the root of the claim."""
    digest: pulumi.Input[str] | None = None
    """Expected digest of the manifest in the claim. By default, any digest is accepted."""

    @property
    def _volume_name(self) -> str:
        return f"data-{self.name}"

    def build_volume(self) -> dict[str, Any]:
        """Return the pod's volume."""
        if self.claim is None:
            return {"name": self._volume_name, "empty_dir": {}}
        source = {"claim_name": self.claim, "read_only": True}
        return {"name": self._volume_name, "persistent_volume_claim": source}

    def build_mount(self) -> dict[str, Any]:
        """Return the volume mount of the serving container."""
        sub_path = {"sub_path": self.sub_path} if self.sub_path else {}
        path = f"/data/{self.name}"
        return {"name": self._volume_name, "mount_path": path, "read_only": True, **sub_path}

    def build_init_container(self) -> dict[str, Any]:
        """Return the container that copies and verifies the dataset before the model starts."""
        path = f"/data/{self.name}"
        is_copied = self.claim is None
        return {
            "name": self._volume_name,
            "image": self.image,
            # A dataset in an image is copied to the volume; a claim's dataset is only verified.
            "args": [f"/{DATA}", path] if is_copied else [path],
            "env": [{"name": "BERTH_DATA_DIGEST", "value": self.digest or ""}],
            "resources": {"requests": _REQUESTS, "limits": _LIMITS},
            "volume_mounts": [{**self.build_mount(), "read_only": not is_copied}],
        }

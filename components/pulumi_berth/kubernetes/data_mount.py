"""DataMount: a set of data in a berth's pod: brought, checked, and read-only for the model."""

from dataclasses import dataclass
from typing import Any

import pulumi

from pulumi_berth.images.data_image import FOLDER

_ENOUGH = {"cpu": "100m", "memory": "64Mi"}
_LIMITS = {"cpu": "1", "memory": "256Mi"}


@dataclass(frozen=True, kw_only=True)
class DataMount:
    """One set, at `/data/<name>`.

    Attributes:
        name: of the set.
        image: of the set, or of the checking program alone for a claim.
        claim, folder: the PersistentVolumeClaim that has it, and where in it; None for a set that
            the image has.
        digest: that the manifest of a claim's set must have; any when None.
    """

    name: str
    image: pulumi.Input[str]
    claim: str | None = None
    folder: str = ""
    digest: str | None = None

    @property
    def _volume(self) -> str:
        return f"data-{self.name}"

    def volume(self) -> dict[str, Any]:
        """The pod's volume."""
        if self.claim is None:
            return {"name": self._volume, "empty_dir": {}}
        source = {"claim_name": self.claim, "read_only": True}
        return {"name": self._volume, "persistent_volume_claim": source}

    def mount(self) -> dict[str, Any]:
        """Where the model finds it."""
        within = {"sub_path": self.folder} if self.folder else {}
        path = f"/data/{self.name}"
        return {"name": self._volume, "mount_path": path, "read_only": True, **within}

    def init_container(self) -> dict[str, Any]:
        """What brings and checks it before the model starts."""
        place = f"/data/{self.name}"
        brought = self.claim is None
        return {
            "name": self._volume,
            "image": self.image,
            # From the image to the volume; what a claim has stays there, and is only checked.
            "args": [FOLDER, place] if brought else [place],
            "env": [{"name": "BERTH_DATA_DIGEST", "value": self.digest or ""}],
            "resources": {"requests": _ENOUGH, "limits": _LIMITS},
            "volume_mounts": [{**self.mount(), "read_only": not brought}],
        }

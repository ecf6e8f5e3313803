"""Groups of nodes of an aws stack."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from berth.spec.errors import Problem, refuse
from berth.spec.images import Architecture
from berth.spec.section import Section
from berth.spec.text import LabelKey, LabelValue, Text

# g and p are the families with NVIDIA processors; t4g, m7g and such have the g at the end.
_GPU_INSTANCE = re.compile(r"[gp][0-9]")

PoolName = Annotated[
    str,
    Text(
        r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?",
        "1 to 20 lower-case letters, digits and hyphens, a letter first, no hyphen last",
    ),
]
InstanceType = Annotated[
    str, Text(r"[a-z][a-z0-9-]{1,20}\.[a-z0-9-]{2,20}", "an EC2 instance type, such as m7i.large")
]


class TaintSpec(Section):
    """What keeps pods that do not tolerate it off a node."""

    key: LabelKey
    """The taint's key."""
    value: LabelValue = ""
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"
    """What happens to a pod that does not tolerate it."""


class NodePoolSpec(Section):
    """A managed group of alike nodes that the autoscaler sizes; the system is Bottlerocket."""

    compute: Literal["cpu", "gpu"] = "cpu"
    """The class of berths that run here; gpu nodes get the taint `nvidia.com/gpu` by themselves."""
    instance_types: list[InstanceType] = Field(min_length=1, max_length=20)
    """EC2 instance types, the preferred one first; alike in size."""
    architecture: Architecture = "amd64"
    """The processor of the instance types."""
    min: int = Field(ge=0, le=450)
    """Fewest nodes; 0 lets the pool vanish while nothing needs it."""
    desired: int | None = Field(default=None, ge=0, le=450)
    """Nodes at the start; the autoscaler's business afterwards. `min` when omitted."""
    max: int = Field(ge=1, le=450)
    """Most nodes."""
    spot: bool = False
    """Spare capacity: cheaper, and taken back at two minutes' notice."""
    disk_gib: int = Field(default=50, ge=20, le=16384)
    """Size of each node's encrypted disk for images and logs, in GiB."""
    labels: dict[LabelKey, LabelValue] = Field(default={}, max_length=50)
    """Labels of the nodes."""
    taints: list[TaintSpec] = Field(default=[], max_length=50)
    """Taints of the nodes."""

    @property
    def initial(self) -> int:
        """Nodes at the start."""
        return self.min if self.desired is None else self.desired

    @model_validator(mode="after")
    def _check(self) -> "NodePoolSpec":
        refuse(self._problems())
        return self

    def _problems(self) -> Iterator[Problem]:
        sizes = [("min", self.min), ("desired", self.desired), ("max", self.max)]
        given = [(name, size) for name, size in sizes if size is not None]
        for (low, smaller), (high, larger) in pairwise(given):
            if smaller > larger:
                yield Problem((low,), f"is above {high}, {larger}; min <= desired <= max must hold")
        for index, instance_type in enumerate(self.instance_types):
            has_gpu = _GPU_INSTANCE.match(instance_type) is not None
            if has_gpu != (self.compute == "gpu"):
                yield Problem(
                    ("instance_types", index),
                    f"does not go with compute: {self.compute}; "
                    + ("a type of the g or p families" if self.compute == "gpu" else _NO_GPU),
                )


_NO_GPU = "a type outside the g and p families, or compute: gpu"

"""A host name of one's own."""

from pydantic import model_validator

from berth.spec.errors import Problem, refusal
from berth.spec.section import Section
from berth.spec.text import Hostname


class DomainSpec(Section):
    """A host name, and the Route 53 zone in which its record and certificate are made."""

    name: Hostname
    """The host name that clients use."""
    zone: Hostname
    """The public Route 53 zone, there already, that `name` lies in."""

    @model_validator(mode="after")
    def _inside(self) -> "DomainSpec":
        if self.name != self.zone and not self.name.endswith(f".{self.zone}"):
            raise refusal(
                Problem(("name",), f"does not lie in the zone {self.zone}; give a name in it")
            )
        return self

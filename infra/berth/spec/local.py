"""What only the local platform needs."""

from typing import Annotated

from pydantic import Field, model_validator

from berth.spec.errors import Problem, refusal
from berth.spec.section import Section

Port = Annotated[int, Field(ge=1024, le=65535)]


class LocalSpec(Section):
    """This machine."""

    gateway_port: Port | None = None
    """TCP port of 127.0.0.1 that clients use; a free one, kept, when omitted."""
    admin_port: Port | None = None
    """TCP port of 127.0.0.1 for the gateway's metrics; a free one, kept, when omitted."""

    @model_validator(mode="after")
    def _distinct(self) -> "LocalSpec":
        if self.gateway_port is not None and self.gateway_port == self.admin_port:
            raise refusal(Problem(("admin_port",), "is gateway_port too; give two different ports"))
        return self

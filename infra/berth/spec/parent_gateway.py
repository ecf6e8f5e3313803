"""An existing Gateway of the cluster that receives the requests of a stack."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, model_validator

from berth.spec.errors import Problem, raise_problems
from berth.spec.fields import Cidr, KubernetesName, LabelKey, LabelValue, Section, Text

ObjectName = Annotated[
    str,
    Text(
        r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?",
        "1 to 253 lowercase letters, digits, dots and hyphens, with a letter or digit at both ends",
    ),
]
BaseUrl = Annotated[
    str,
    Text(
        r"https?:\/\/[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?",
        "http:// or https://, a host and optionally a port, without a path",
    ),
]


class ParentGatewaySpec(Section):
    """A Gateway of the Gateway API that someone else operates. Berth adds one HTTPRoute for it in
    the stack's namespace, and does not change the Gateway."""

    name: ObjectName
    """Name of the Gateway."""
    namespace: KubernetesName
    """Namespace of the Gateway."""
    section_name: ObjectName | None = None
    """Listener of the Gateway. Defaults to all listeners that admit the route."""
    url: BaseUrl | None = None
    """URL at which clients reach the listener. Defaults to the first of `hostnames`, the host name
    of the listener, or the Gateway's address, with the port of the listener."""
    plain_http: bool = False
    """If true, the listener may serve plain HTTP, with which others on the network can read API
    keys."""
    controller_namespace: KubernetesName | None = None
    """Namespace of the Pods that forward the Gateway's requests. Only they can reach Berth's
    gateway. Defaults to `namespace`, or to none with `controller_cidrs`."""
    controller_labels: dict[LabelKey, LabelValue] = Field(default={}, max_length=20)
    """Labels of those Pods. Defaults to all Pods of their namespace."""
    controller_cidrs: list[Cidr] = Field(default=[], max_length=20)
    """IPv4 ranges that forward the Gateway's requests, if they are not those of Pods, such as those
    of a cloud's load balancer."""

    @model_validator(mode="after")
    def _check(self) -> "ParentGatewaySpec":
        raise_problems(self._problems())
        return self

    def _problems(self) -> Iterator[Problem]:
        if self.url is not None and self.url.startswith("http://") and not self.plain_http:
            yield Problem(
                ("url",),
                "is not encrypted, so that others on the network can read API keys; use https://, "
                "or set plain_http to true",
            )
        if self.controller_labels and self.controller_cidrs and self.controller_namespace is None:
            yield Problem(
                ("controller_labels",),
                "requires controller_namespace next to controller_cidrs; set it or remove the "
                "labels",
                False,
            )

"""TLS on platform docker: a supplied certificate, or one that the proxy obtains with ACME."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, model_validator

from berth.spec.errors import Problem, raise_problems
from berth.spec.fields import Email, FilePath, Hostname, Section, Text
from berth.spec.kubernetes import Image
from pulumi_berth.docker.tls_plan import DEFAULT_TLS_PORT, LETS_ENCRYPT
from pulumi_berth.images.third_party import get_image

DirectoryUrl = Annotated[
    str,
    Text(
        r"https:\/\/[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?(\/[!-~]{0,1000})?",
        "an HTTPS URL without user name",
    ),
]
AnyPort = Annotated[int, Field(ge=1, le=65535)]


class AcmeSpec(Section):
    """An authority that issues and renews the certificate automatically (ACME, RFC 8555)."""

    email: Email
    """Address of the account, to which the authority can send warnings."""
    directory: DirectoryUrl = LETS_ENCRYPT
    """URL of the authority's directory. Defaults to that of Let's Encrypt, whose terms of service
    you accept with this section."""
    root_file: FilePath | None = None
    """Path of a PEM file with the root certificates by which the proxy recognizes the directory's
    server, for a private authority. Defaults to those of the proxy's image."""


class DockerTlsSpec(Section):
    """TLS for clients. A proxy in front of the gateway ends it, and accepts no plain HTTP."""

    hostnames: list[Hostname] = Field(default=[], max_length=16)
    """Host names of the certificate. The first one is the host of the endpoint. Defaults to the
    address at which the port is published."""
    certificate_file: FilePath | None = None
    """Path of a PEM file with the certificate, followed by its intermediate certificates. A
    relative path begins at the project."""
    key_file: FilePath | None = None
    """Path of a PEM file with the private key of the certificate, without a password. The state
    contains the key encrypted."""
    acme: AcmeSpec | None = None
    """Authority that issues the certificate for `hostnames`, instead of `certificate_file`. It
    connects to port 443 of each host name to validate it (TLS-ALPN-01)."""
    port: AnyPort = DEFAULT_TLS_PORT
    """TCP port for clients, instead of `docker.port`."""
    image: Image = get_image("traefik")
    """Image of Traefik, the proxy. Each engine pulls it."""

    @model_validator(mode="after")
    def _check(self) -> "DockerTlsSpec":
        raise_problems(self._problems())
        return self

    def _problems(self) -> Iterator[Problem]:
        if self.certificate_file is not None and self.acme is not None:
            yield Problem(
                ("acme",), "cannot be combined with certificate_file; remove one of them", False
            )
        elif self.certificate_file is None and self.acme is None:
            yield Problem((), "must have one of certificate_file and acme; set one of them", False)
        if (self.certificate_file is None) != (self.key_file is None):
            missing = "key_file" if self.key_file is None else "certificate_file"
            given = "certificate_file" if self.key_file is None else "key_file"
            yield Problem((given,), f"requires {missing}; set both")
        if self.acme is not None and not self.hostnames:
            yield Problem(
                ("acme",), "requires hostnames; list the names that the certificate is for", False
            )

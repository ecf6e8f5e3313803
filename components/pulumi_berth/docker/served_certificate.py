"""ServedCertificate: the proxy of a stack serves its certificate, or the update fails and says why.

A new certificate replaces no container. The resource changes with the certificate, and waits until
clients receive it.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from docker.models.containers import Container
from pulumi.dynamic import Resource

from pulumi_berth.container_commands import ISOLATED_PYTHON
from pulumi_berth.docker.engine import (
    EngineError,
    find_container,
    open_engine,
    read_last_log_lines,
    run_in_container,
)
from pulumi_berth.docker.ready_container import get_address
from pulumi_berth.docker.tls_plan import build_certificate_check
from pulumi_berth.providers import ServedCertificateProvider

INPUTS = ("host", "entry", "proxy", "hostname", "fingerprint")
"""Inputs whose change needs a new check."""
_POLL_SECONDS = 0.5
_STOP_SECONDS = 10


class ServedCertificate(Resource, module="berth", name="ServedCertificate"):
    """The certificate that clients receive from a proxy."""

    def __init__(
        self,
        name: str,
        *,
        host: str,
        entry: pulumi.Input[str],
        proxy: pulumi.Input[str],
        hostnames: Sequence[str],
        fingerprint: pulumi.Input[str],
        seconds: float,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the certificate.

        Args:
            entry: ID of a container in the proxy's network, which has Python.
            proxy: ID of the proxy's container.
            hostnames: Host names of the certificate. They are empty if clients use an address.
            fingerprint: SHA-256 (hex) of the certificate. It is empty if an authority issues it.
            seconds: Time limit.
        """
        super().__init__(
            ServedCertificateProvider(),
            name,
            {
                "host": host,
                "entry": entry,
                "proxy": proxy,
                "hostname": hostnames[0] if hostnames else "",
                "fingerprint": fingerprint,
                "seconds": seconds,
            },
            opts,
        )


def wait_for_certificate(inputs: Mapping[str, Any]) -> None:
    """Wait until the proxy serves the certificate and the gateway behind it.

    Raises:
        EngineError: If it does not in time. The message has the proxy's last log lines.
    """
    deadline = time.monotonic() + float(inputs["seconds"])
    with open_engine(inputs["host"]) as client:
        entry, proxy = (find_container(client, inputs[name]) for name in ("entry", "proxy"))
        if entry is None or proxy is None:
            raise EngineError(
                "The proxy's container does not exist any more. Run 'berth up' again."
            )
        check = build_certificate_check(
            ISOLATED_PYTHON,
            {
                "address": get_address(inputs["proxy"]),
                "hostname": inputs["hostname"],
                "fingerprint": inputs["fingerprint"],
            },
        )
        while True:
            status, output = run_in_container(entry, check)
            if status == 0:
                return
            if time.monotonic() > deadline:
                raise _explain(proxy, output, inputs)
            time.sleep(_POLL_SECONDS)


def _explain(proxy: Container, output: str, inputs: Mapping[str, Any]) -> EngineError:
    log = read_last_log_lines(proxy)
    fix = "Run 'berth up' again."
    if not inputs["fingerprint"]:
        # After a failure, the proxy asks the authority again only when it starts.
        proxy.restart(timeout=_STOP_SECONDS)
        fix = (
            f"Let {inputs['hostname']} resolve to this machine and its port 443 reach docker.tls."
            "port, and run 'berth up' again."
        )
    return EngineError(
        f"The proxy {proxy.name} did not serve its certificate within {inputs['seconds']:g} s: "
        f"{' '.join(output.split())[-200:] or 'no response'}. {fix} Its last log lines: {log}"
    )

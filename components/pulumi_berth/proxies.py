"""Proxies are for remote hosts: a request to this machine never uses one."""

from collections.abc import Mapping, MutableMapping
from ipaddress import ip_address
from urllib.parse import urlsplit

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
_EXCEPTIONS = ("no_proxy", "NO_PROXY")
# If set, gRPC reads only this variable: https://github.com/grpc/grpc/blob/v1.75.0/doc/environment_variables.md
_GRPC_EXCEPTIONS = "no_grpc_proxy"


def exclude_loopback(environment: MutableMapping[str, str]) -> None:
    """Add the loopback addresses to the hosts that are reached without a proxy, if one is set.

    Pulumi's engine, its language host and its plugins call each other over gRPC on 127.0.0.1.
    gRPC for Python sends even these calls to the proxy; Go does not.

    Args:
        environment: The environment of this process, or of one that it starts.
    """
    if not has_proxy(environment):
        return
    # Some programs read the name in lower case first and some the other, so both need all hosts.
    hosts = ",".join(filter(None, (environment.get(name) for name in _EXCEPTIONS)))
    for name in _EXCEPTIONS:
        environment[name] = _add_loopback(hosts)
    if _GRPC_EXCEPTIONS in environment:
        environment[_GRPC_EXCEPTIONS] = _add_loopback(environment[_GRPC_EXCEPTIONS])


def has_proxy(environment: Mapping[str, str]) -> bool:
    """Return whether the environment names a proxy."""
    return any(environment.get(name) or environment.get(name.upper()) for name in _PROXIES)


def is_loopback(host: str) -> bool:
    """Return whether a host, with or without a port, is this machine."""
    name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _add_loopback(hosts: str) -> str:
    known = [host.strip() for host in hosts.split(",") if host.strip()]
    return ",".join(dict.fromkeys((*known, *_LOOPBACK)))

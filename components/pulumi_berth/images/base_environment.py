"""What an image takes over from its base image: its layers, and a few environment variables.

User, entrypoint, command, volumes, ports, labels, health check, shell, stop signal and `ONBUILD`
are never taken over. docs/reference/images.md lists the variables.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from pulumi_berth.images import layers

_PYTHONPATH = f"/{layers.LIBRARIES}:/{layers.PROGRAMS}"
# Directories in which NVIDIA's wheels install the libraries that onnxruntime loads.
_CUDA_LIBRARIES = ":".join(
    f"/{layers.LIBRARIES}/nvidia/{directory}" for directory in ("cu13/lib", "cudnn/lib")
)
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

BASE_ENVIRONMENT: Mapping[str, str] = {
    "PYTHONPATH": _PYTHONPATH,
    "PYTHONDONTWRITEBYTECODE": "1",  # The root file system is read-only.
    "PYTHONUNBUFFERED": "1",
    "SSL_CERT_FILE": _CERTIFICATES,
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime sends telemetry by default.
}
"""Variables of Berth's base images."""
CUDA_ENVIRONMENT: Mapping[str, str] = {**BASE_ENVIRONMENT, "LD_LIBRARY_PATH": _CUDA_LIBRARIES}
"""Variables of Berth's base image for GPUs."""

_SAFE_VALUE = re.compile(r"[A-Za-z0-9 ._,:;=<>@/+-]{0,200}")
# Variables that select a language, a time zone or GPU features.
_INHERITED = re.compile(
    r"LANG|LANGUAGE|LC_[A-Z]+|TZ|CUDA_VERSION|NVIDIA_(VISIBLE_DEVICES|DRIVER_CAPABILITIES"
    r"|REQUIRE_CUDA|DISABLE_REQUIRE)"
)
# Variables that make the loader, Python, OpenSSL or a shell run or trust other files, send requests
# through another host, or configure Berth's programs.
_REFUSED = re.compile(
    r"LD_[A-Z0-9_]+|GLIBC_TUNABLES|GCONV_PATH|LOCPATH|MALLOC_[A-Z_]+|RESOLV_HOST_CONF|HOSTALIASES"
    r"|PYTHON(PATH|HOME|STARTUP|USERBASE|EXECUTABLE|PLATLIBDIR|INSPECT|BREAKPOINT|WARNINGS"
    r"|PYCACHEPREFIX|CASEOK|DUMPREFS\w*|PERFSUPPORT|ASYNCIODEBUG|MALLOC|SAFEPATH)"
    r"|OPENSSL_[A-Z_]+|SSL_CERT_(FILE|DIR)|SSLKEYLOGFILE|(REQUESTS|CURL)_CA_BUNDLE"
    r"|BASH_ENV|ENV|SHELLOPTS|PROMPT_COMMAND|NODE_OPTIONS|JAVA_TOOL_OPTIONS|PERL5(OPT|LIB)|RUBYOPT"
    r"|(HTTP|HTTPS|FTP|ALL|NO)_PROXY|(BERTH|GATEWAY|ORT|PULUMI)_\w+",
    re.IGNORECASE,
)
_SECRET_NAME = re.compile(
    r"passw(or)?d|passphrase|secret|token|credential|(api|access|private|signing|encryption)_?key",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_\w{30,}|\bxox[a-z]-"
    r"|\beyJ[\w-]{10,}\.eyJ|://[^/\s:@]*:[^/\s:@]+@"
)
REMOVED = "(removed: it may contain a secret)"


class BaseEnvironmentError(ValueError):
    """A variable of the base image that an image must not take over. The message names it."""


def inherit_environment(entries: Iterable[str]) -> dict[str, str]:
    """Return the variables of a base image that an image on top of it takes over.

    Others, such as PATH and HOME, are dropped: the image starts its program by its absolute path.

    Args:
        entries: Variables as `NAME=value`.

    Raises:
        BaseEnvironmentError: If a variable could run other code, send requests elsewhere,
            configure Berth's programs, or contain a secret.
    """
    inherited: dict[str, str] = {}
    for entry in entries:
        name, _, value = str(entry).partition("=")
        if CUDA_ENVIRONMENT.get(name) == value:
            inherited[name] = value
        elif _REFUSED.fullmatch(name) or is_secret(name, value):
            raise BaseEnvironmentError(name)
        elif _INHERITED.fullmatch(name) and _SAFE_VALUE.fullmatch(value):
            inherited[name] = value
    return inherited


def is_secret(name: str, value: str) -> bool:
    """Return whether a variable seems to contain a secret."""
    return bool(value) and bool(_SECRET_NAME.search(name) or _SECRET_VALUE.search(value))


def clean_history(history: Iterable[Mapping[str, object]]) -> Iterator[dict[str, object]]:
    """Return the history of a base image without commands that seem to contain a secret."""
    for entry in history:
        command = str(entry.get("created_by") or "")
        pairs = re.findall(r"([A-Za-z_][A-Za-z0-9_]*)=(\S+)", command)
        if _SECRET_VALUE.search(command) or any(is_secret(*pair) for pair in pairs):
            yield {**entry, "created_by": REMOVED}
        else:
            yield dict(entry)

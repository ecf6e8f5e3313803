"""Building blocks of the specification: the base of all sections, and constrained text types.

Each text type has a pattern and a description of the valid values, which errors and editors show.
"""

import ipaddress
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from berth.spec.errors import Problem, build_rule_error


class Section(BaseModel):
    """A part of the specification: strictly typed and immutable. Unknown keys are errors."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        # Build the validators on first use: a command that only imports Berth does not need them.
        defer_build=True,
    )


@dataclass(frozen=True)
class Text:
    """A constraint: the whole text matches `pattern`.

    The pattern uses only syntax that Python and ECMAScript (editors) interpret in the same way.

    Attributes:
        pattern: Regular expression for the whole text.
        allowed: Description of the valid values; errors print "use" before it.
    """

    pattern: str
    allowed: str

    def check(self, value: str) -> str:
        """Return `value`.

        Raises:
            PydanticCustomError: If it does not match the pattern.
        """
        if not re.fullmatch(self.pattern, value, re.ASCII):
            raise self.error()
        return value

    def error(self) -> Exception:
        """Build the error for an invalid value."""
        return build_rule_error(Problem((), f"is not valid; use {self.allowed}"))

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            **handler(schema),
            "pattern": f"^(?:{self.pattern})$",
            "patternErrorMessage": self.allowed,
        }


@dataclass(frozen=True)
class WithoutQuotes:
    """A marker for text that YAML may also contain as a number of type `kind`.

    It adds the number to the JSON schema. A separate validator converts the number to text.

    Attributes:
        kind: "integer" or "number".
    """

    kind: str

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), "type": ["string", self.kind]}


def _integer_to_text(value: Any) -> Any:
    """Convert an integer to text, because YAML reads an unquoted 2 as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _number_to_text(value: Any) -> Any:
    """Convert a number to text, because YAML reads an unquoted 2 or 0.5 as a number."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


# Names and versions

Name = Annotated[
    str,
    Text(
        r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?",
        "1 to 40 lowercase letters, digits and hyphens, starting with a letter and not ending "
        "with a hyphen",
    ),
]
KeyName = Annotated[
    str,
    Text(
        r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?",
        "1 to 40 lowercase letters, digits and hyphens, with no hyphen at the ends",
    ),
]
VersionName = Annotated[
    str,
    Text(
        r"[a-z0-9]([a-z0-9.-]{0,14}[a-z0-9])?",
        "1 to 16 lowercase letters, digits, dots and hyphens, with a letter or digit at both ends",
    ),
]
"""A version as the key of a map. `Version` is the type for values."""
Version = Annotated[VersionName, BeforeValidator(_integer_to_text), WithoutQuotes("integer")]
Digest = Annotated[str, Text(r"sha256:[0-9a-f]{64}", "sha256: and 64 hexadecimal digits")]
StackName = Annotated[
    str, Text(r"[A-Za-z0-9_.-]{1,100}", "a stack name of letters, digits, _ . and -")
]
Reason = Annotated[str, Text(r"\S.{8,398}\S", "a reason of 10 to 400 characters, on one line")]

# Paths and addresses

ProjectPath = Annotated[
    str,
    Text(
        r"(?![\/~])(?!\.\.(\/|$))(?!.*\/\.\.(\/|$))[^\\\s](.*[^\s])?",
        "a path relative to the project and inside it",
    ),
]
FilePath = Annotated[str, Text(r"\S(.*\S)?", "a file path")]
Hostname = Annotated[
    str,
    Text(
        r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}",
        "a full host name in lowercase, such as api.example.com",
    ),
]
Email = Annotated[
    str, Text(r"[^@\s]{1,64}@[A-Za-z0-9.-]{1,190}\.[A-Za-z]{2,63}", "an e-mail address")
]
Port = Annotated[int, Field(ge=1024, le=65535)]

_CIDR_PATTERN = r"[0-9]{1,3}(\.[0-9]{1,3}){3}\/[0-9]{1,2}"
_PRIVATE_RANGES = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
_ANY_RANGE = Text(_CIDR_PATTERN, "a range of IPv4 addresses, such as 203.0.113.0/24")
_PRIVATE_RANGE = Text(
    _CIDR_PATTERN, f"a range of private IPv4 addresses inside one of {', '.join(_PRIVATE_RANGES)}"
)


def _check_range(value: str) -> str:
    try:
        network = ipaddress.IPv4Network(value, strict=False)
    except ValueError:
        raise _ANY_RANGE.error() from None
    if str(network) != value:
        raise build_rule_error(
            Problem((), f"does not begin with the first address of its range; use {network}")
        )
    return value


def _check_private_range(value: str) -> str:
    network = ipaddress.IPv4Network(value)
    if not any(network.subnet_of(ipaddress.IPv4Network(block)) for block in _PRIVATE_RANGES):
        raise build_rule_error(Problem((), f"is not private; use {_PRIVATE_RANGE.allowed}"))
    return value


Cidr = Annotated[str, _ANY_RANGE, AfterValidator(_check_range)]
PrivateCidr = Annotated[
    str, _PRIVATE_RANGE, AfterValidator(_check_range), AfterValidator(_check_private_range)
]

# Kubernetes

KubernetesName = Annotated[
    str,
    Text(
        r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        "1 to 63 lowercase letters, digits and hyphens, with no hyphen at the ends",
    ),
]
Namespace = Annotated[
    str,
    Text(
        r"(?!default$)(?!kube-)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        "1 to 63 lowercase letters, digits and hyphens, with no hyphen at the ends; not default "
        "and not kube-*, which belong to the cluster itself",
    ),
]
LabelKey = Annotated[
    str,
    Text(
        r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?",
        "a Kubernetes label key: a name of up to 63 characters, optionally after a domain and /",
    ),
]
LabelValue = Annotated[
    str,
    Text(
        r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?",
        "a Kubernetes label value: up to 63 letters, digits, _ . and -",
    ),
]

_MEBIBYTE = 1024**2
_MEMORY_UNITS = {"Mi": _MEBIBYTE, "Gi": 1024 * _MEBIBYTE}
_CPU = Text(
    r"[0-9]{1,6}m|[0-9]{1,3}(\.[0-9]{1,3})?",
    'cores such as "1" or "0.5", or millicores such as "500m", from 50m to 192',
)
_MEMORY = Text(r"[0-9]{1,7}(Mi|Gi)", "an integer followed by Mi or Gi, from 64Mi to 1536Gi")


def parse_millicores(cpu: str) -> int:
    """Return a CPU quantity in millicores: 1500 for "1.5"."""
    return int(cpu[:-1]) if cpu.endswith("m") else int(Decimal(cpu) * 1000)


def parse_memory_bytes(memory: str) -> int:
    """Return a memory quantity in bytes: 536870912 for "512Mi"."""
    return int(memory[:-2]) * _MEMORY_UNITS[memory[-2:]]


def _check_cpu(value: str) -> str:
    if not 50 <= parse_millicores(value) <= 192_000:
        raise _CPU.error()
    return value


def _check_memory(value: str) -> str:
    if not 64 * _MEBIBYTE <= parse_memory_bytes(value) <= 1536 * 1024 * _MEBIBYTE:
        raise _MEMORY.error()
    return value


CpuQuantity = Annotated[
    str, _CPU, BeforeValidator(_number_to_text), AfterValidator(_check_cpu), WithoutQuotes("number")
]
MemoryQuantity = Annotated[str, _MEMORY, AfterValidator(_check_memory)]


class PodResourceSpec(Section):
    """Resources of a Pod of Berth's own programs in a cluster."""

    cpu: CpuQuantity | None = None
    """CPU cores that are reserved for the Pod."""
    cpu_limit: CpuQuantity | None = None
    """CPU cores that the Pod may use while its node has them. Defaults to `cpu`."""
    memory: MemoryQuantity | None = None
    """Memory, as both request and limit."""

    @model_validator(mode="after")
    def _check_limit(self) -> "PodResourceSpec":
        if (
            self.cpu is not None
            and self.cpu_limit is not None
            and parse_millicores(self.cpu_limit) < parse_millicores(self.cpu)
        ):
            raise build_rule_error(
                Problem(("cpu_limit",), f"is less than cpu ({self.cpu}); raise it or lower cpu")
            )
        return self


# AWS

Region = Annotated[
    str, Text(r"[a-z]{2}(-[a-z]{2,10}){1,2}-[1-9]", "an AWS Region, such as eu-central-1")
]
Account = Annotated[str, Text(r"[0-9]{12}", "an AWS account ID: 12 digits in quotes")]
RoleName = Annotated[
    str,
    Text(
        r"[A-Za-z0-9+=,.@_-]{1,64}",
        "an IAM role name without account or path: up to 64 letters, digits and +=,.@_-",
    ),
]

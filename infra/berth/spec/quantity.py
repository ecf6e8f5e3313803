"""Amounts of processor and memory, written as Kubernetes writes them."""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from berth.spec.errors import Problem, refusal
from berth.spec.text import Text, WithoutQuotes

_MEBIBYTE = 1024**2
_UNITS = {"Mi": _MEBIBYTE, "Gi": 1024 * _MEBIBYTE}

_CPU = Text(
    r"[0-9]{1,6}m|[0-9]{1,3}(\.[0-9]{1,3})?",
    'cores as "1" or "0.5", or thousandths as "500m"; 50m to 192',
)
_MEMORY = Text(r"[0-9]{1,7}(Mi|Gi)", "a whole number with Mi or Gi; 64Mi to 1536Gi")


def millicores(cpu: str) -> int:
    """Thousandths of a core: 1500 for "1.5"."""
    return int(cpu[:-1]) if cpu.endswith("m") else int(Decimal(cpu) * 1000)


def memory_bytes(memory: str) -> int:
    """Bytes: 536870912 for "512Mi"."""
    return int(memory[:-2]) * _UNITS[memory[-2:]]


def _check_cpu(value: str) -> str:
    if not 50 <= millicores(value) <= 192_000:
        raise refusal(Problem((), f"is not allowed; {_CPU.allowed}"))
    return value


def _check_memory(value: str) -> str:
    if not 64 * _MEBIBYTE <= memory_bytes(value) <= 1536 * 1024 * _MEBIBYTE:
        raise refusal(Problem((), f"is not allowed; {_MEMORY.allowed}"))
    return value


def _number_as_text(value: Any) -> Any:
    """YAML reads an unquoted 2 or 0.5 as a number."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


CpuQuantity = Annotated[
    str,
    _CPU,
    BeforeValidator(_number_as_text),
    AfterValidator(_check_cpu),
    WithoutQuotes("number"),
]
MemoryQuantity = Annotated[str, _MEMORY, AfterValidator(_check_memory)]

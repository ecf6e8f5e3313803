"""Amounts of processor and memory, written as Kubernetes writes them."""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from infra.spec.errors import Problem, refuse

_CPU = re.compile(r"(\d{1,6})m|(\d{1,3}(?:\.\d{1,3})?)", re.ASCII)
_MEMORY = re.compile(r"(\d{1,7})(Mi|Gi)", re.ASCII)
_MEBIBYTE = 1024**2
_UNITS = {"Mi": _MEBIBYTE, "Gi": 1024 * _MEBIBYTE}

CPU_RULE = 'cores as "1" or "0.5", or thousandths as "500m"; 50m to 192'
MEMORY_RULE = "a whole number with Mi or Gi; 64Mi to 1536Gi"


def millicores(cpu: str) -> int:
    """Thousandths of a core: 1500 for "1.5"."""
    match = _CPU.fullmatch(cpu)
    if match is None:
        raise ValueError(f"{cpu!r} is no amount of processor: {CPU_RULE}")
    thousandths, cores = match.groups()
    return int(thousandths) if thousandths else int(Decimal(cores) * 1000)


def memory_bytes(memory: str) -> int:
    """Bytes: 536870912 for "512Mi"."""
    match = _MEMORY.fullmatch(memory)
    if match is None:
        raise ValueError(f"{memory!r} is no amount of memory: {MEMORY_RULE}")
    return int(match[1]) * _UNITS[match[2]]


def _check_cpu(value: str) -> str:
    if not _CPU.fullmatch(value) or not 50 <= millicores(value) <= 192_000:
        refuse([Problem((), f"is not allowed; {CPU_RULE}")])
    return value


def _check_memory(value: str) -> str:
    if not _MEMORY.fullmatch(value) or not (
        64 * _MEBIBYTE <= memory_bytes(value) <= 1536 * 1024 * _MEBIBYTE
    ):
        refuse([Problem((), f"is not allowed; {MEMORY_RULE}")])
    return value


def _as_text(value: Any) -> Any:
    """YAML reads an unquoted 2 or 0.5 as a number."""
    return f"{value}" if isinstance(value, int | float) and not isinstance(value, bool) else value


CpuQuantity = Annotated[str, BeforeValidator(_as_text), AfterValidator(_check_cpu)]
MemoryQuantity = Annotated[str, AfterValidator(_check_memory)]

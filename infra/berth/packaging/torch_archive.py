"""Reads a .pt2 file, an exported program of PyTorch, without running what its maker put there.

`torch.export.load` alone would: it unpickles the sample inputs, and weights and constants that say
so; it looks operators up by any name below `torch`, evaluates the text of dimensions as Python, and
compiles guards. So the archive is written anew from the parts that are known to be data, the sample
inputs and guards left out, and a file that needs anything else is refused.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berth.packaging.errors import PackageError, first_line

if TYPE_CHECKING:
    from torch.export import ExportedProgram

# Below the archive's one folder; NAME is the program's.
_PROGRAM = re.compile(r"models/(\w+)\.json")
_DATA = re.compile(
    r"archive_format|archive_version|byteorder|\.data/\w+"
    r"|data/weights/(weight_\d+|\w+_weights_config\.json)"
    r"|data/constants/(tensor_\d+|\w+_constants_config\.json)"
)
_LEFT_OUT = re.compile(r"data/sample_inputs/\w+\.pt|extra/.*")

# Operators on tensors and on dimensions. Not `from_file`, which reads any file into a tensor.
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims)\.(?!from_file\b)\w+\.\w+"
    r"|torch\.sym_(float|int|ite|max|min|not|sqrt|sum)"
    r"|_operator\.(add|and_|eq|floordiv|ge|getitem|gt|le|lt|mod|mul|ne|neg|not_|or_|pow|sub|truediv)"
    r"|math\.(ceil|floor|trunc)"
)

# What the text of a dimension is made of; no power, since numbers could grow without end.
_DIMENSION = re.compile(
    r"(?!.*\*\*)([\s()+\-*/,<>=]|\d+|[suz]\w?\d+"
    r"|Symbol\('[suz]\w?\d+'(, (integer|nonnegative|positive)=True)*\)"
    r"|(Add|CeilDiv|CleanDiv|FloorDiv|Integer|Max|Min|Mod|Mul|PythonMod|True|False|int_oo)\b)*"
)


def read_program(path: Path) -> "ExportedProgram":
    """The program in `path`, as `torch.export.save` wrote it.

    Raises:
        PackageError: not such a file, a damaged one, or one that holds more than tensors and
            operators on them.
    """
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.partition("/")[2]: name for name in archive.namelist()}
            programs = [found[1] for name in members if (found := _PROGRAM.fullmatch(name))]
            if len(programs) != 1:
                raise PackageError(f"{path}: holds {len(programs)} exported programs, not one")
            clean = _rewrite(archive, members, programs[0])
    except PackageError as error:
        raise PackageError(f"{path}: {error}") from error
    except Exception as error:  # of a damaged archive or JSON, too many kinds to list
        raise PackageError(
            f"{path}: is no exported program of PyTorch, or a damaged one ({first_line(error)})"
        ) from error
    try:
        return torch.export.load(clean)
    except Exception as error:  # every part of the loader has exceptions of its own
        raise PackageError(
            f"{path}: PyTorch {torch.__version__} cannot read it ({first_line(error)})"
        ) from error


def _rewrite(archive: zipfile.ZipFile, members: dict[str, str], program: str) -> io.BytesIO:
    """The archive with nothing in it but data."""
    import torch

    samples = io.BytesIO()
    torch.save(((), {}), samples)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as clean:
        for member, name in members.items():
            if _LEFT_OUT.fullmatch(member):
                continue
            content = archive.read(name)
            if _PROGRAM.fullmatch(member):
                content = _clean_program(content)
            elif not _DATA.fullmatch(member):
                raise PackageError(f"holds {member}, which may be code; {_INSTEAD}")
            elif member.endswith("_config.json"):
                _check_config(member, content)
            clean.writestr(name, content)
        folder = next(iter(members.values())).partition("/")[0]
        clean.writestr(f"{folder}/data/sample_inputs/{program}.pt", samples.getvalue())
    made.seek(0)
    return made


_INSTEAD = "package a function that returns the module and real rows"


def _check_config(member: str, content: bytes) -> None:
    """Weights and constants are raw numbers, none of them a pickle."""
    for name, payload in json.loads(content)["config"].items():
        if payload["use_pickle"] is not False:
            raise PackageError(f"{member}: {name} is a pickle, which may be code; {_INSTEAD}")
        if not re.fullmatch(r"(weight|tensor)_\d+", payload["path_name"]):
            raise PackageError(f"{member}: {name} is no tensor, but code perhaps; {_INSTEAD}")


def _clean_program(content: bytes) -> bytes:
    """A program's JSON without its guards and its notes for debuggers; the rest is checked."""
    program = json.loads(content)
    program["guards_code"] = []
    for found in _dicts(program):
        if "metadata" in found:
            found["metadata"] = {}
        for key in ("target", "as_operator"):
            if isinstance(name := found.get(key), str) and not _OPERATOR.fullmatch(name):
                raise PackageError(f"has the operator {name}, which is not known; {_INSTEAD}")
        if "as_custom_obj" in found:
            raise PackageError(f"holds an object that is no tensor; {_INSTEAD}")
        _check_dimension(found.get("expr_str"))
    for name in program["range_constraints"]:
        _check_dimension(name)
    if b"__enum__" in content:
        raise PackageError(f"names a class to import; {_INSTEAD}")
    return json.dumps(program).encode()


def _check_dimension(text: object) -> None:
    if text is not None and not (isinstance(text, str) and _DIMENSION.fullmatch(text)):
        raise PackageError(f"has the dimension {text!r}, which is not known; {_INSTEAD}")


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary in JSON, outer ones first."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)

"""Reads a .pt2 file, an exported PyTorch program, without running code from the file.

`torch.export.load` by itself runs such code: it unpickles the sample inputs, and weights and
constants that request it; it looks up operators by any name below `torch`, evaluates dimensions as
Python, and compiles guards. This module therefore writes a new archive from the parts that contain
only data, without sample inputs and guards. It rejects a file that needs anything else.
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

# Paths below the archive's single top-level directory. The group is the program's name.
_PROGRAM = re.compile(r"models/(\w+)\.json")
_DATA = re.compile(
    r"archive_format|archive_version|byteorder|\.data/\w+"
    r"|data/weights/(weight_\d+|\w+_weights_config\.json)"
    r"|data/constants/(tensor_\d+|\w+_constants_config\.json)"
)
_OMITTED = re.compile(r"data/sample_inputs/\w+\.pt|extra/.*")

# Operators on tensors and dimensions, except `from_file`, which reads any file into a tensor.
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims)\.(?!from_file\b)\w+\.\w+"
    r"|torch\.sym_(float|int|ite|max|min|not|sqrt|sum)"
    r"|_operator\.(add|and_|eq|floordiv|ge|getitem|gt|le|lt|mod|mul|ne|neg|not_|or_|pow|sub|truediv)"
    r"|math\.(ceil|floor|trunc)"
)

# Valid text of a dimension. Powers are excluded, because their numbers could grow without limit.
_DIMENSION = re.compile(
    r"(?!.*\*\*)([\s()+\-*/,<>=]|\d+|[suz]\w?\d+"
    r"|Symbol\('[suz]\w?\d+'(, (integer|nonnegative|positive)=True)*\)"
    r"|(Add|CeilDiv|CleanDiv|FloorDiv|Integer|Max|Min|Mod|Mul|PythonMod|True|False|int_oo)\b)*"
)


def read_program(path: Path) -> "ExportedProgram":
    """Read the program in `path`, which `torch.export.save` wrote.

    Raises:
        PackageError: If the file is not such a program, is damaged, or contains more than tensors
            and operators on them.
    """
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.partition("/")[2]: name for name in archive.namelist()}
            programs = [match[1] for name in members if (match := _PROGRAM.fullmatch(name))]
            if len(programs) != 1:
                raise PackageError(f"contains {len(programs)} exported programs instead of one")
            clean = _rewrite(archive, members, programs[0])
    except PackageError as error:
        raise PackageError(f"{path}: {error}") from error
    except Exception as error:  # A damaged archive or JSON raises many types of errors.
        raise PackageError(
            f"{path}: not an exported PyTorch program, or damaged ({first_line(error)}). Save it "
            "with torch.export.save."
        ) from error
    try:
        return torch.export.load(clean)
    except Exception as error:  # Each part of the loader has its own exceptions.
        raise PackageError(
            f"{path}: PyTorch {torch.__version__} cannot read the file ({first_line(error)})"
        ) from error


def _rewrite(archive: zipfile.ZipFile, members: dict[str, str], program: str) -> io.BytesIO:
    """Return a copy of the archive that contains only data."""
    import torch

    samples = io.BytesIO()
    torch.save(((), {}), samples)
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as clean:
        for member, name in members.items():
            if _OMITTED.fullmatch(member):
                continue
            content = archive.read(name)
            if _PROGRAM.fullmatch(member):
                content = _clean_program(content)
            elif not _DATA.fullmatch(member):
                raise PackageError(f"contains {member}, which may be code. {_INSTEAD}")
            elif member.endswith("_config.json"):
                _check_config(member, content)
            clean.writestr(name, content)
        top = next(iter(members.values())).partition("/")[0]
        clean.writestr(f"{top}/data/sample_inputs/{program}.pt", samples.getvalue())
    result.seek(0)
    return result


_INSTEAD = "Package a function that returns the module and real rows."


def _check_config(member: str, content: bytes) -> None:
    """Check that weights and constants are raw numbers, not pickles."""
    for name, payload in json.loads(content)["config"].items():
        if payload["use_pickle"] is not False:
            raise PackageError(f"{member}: {name} is a pickle, which may be code. {_INSTEAD}")
        if not re.fullmatch(r"(weight|tensor)_\d+", payload["path_name"]):
            raise PackageError(f"{member}: {name} is not a tensor and may be code. {_INSTEAD}")


def _clean_program(content: bytes) -> bytes:
    """Check a program's JSON, and return it without guards and debugging metadata."""
    program = json.loads(content)
    program["guards_code"] = []
    for mapping in _mappings(program):
        if "metadata" in mapping:
            mapping["metadata"] = {}
        for key in ("target", "as_operator"):
            if isinstance(name := mapping.get(key), str) and not _OPERATOR.fullmatch(name):
                raise PackageError(f"contains the unknown operator {name}. {_INSTEAD}")
        if "as_custom_obj" in mapping:
            raise PackageError(f"contains an object that is not a tensor. {_INSTEAD}")
        _check_dimension(mapping.get("expr_str"))
    for name in program["range_constraints"]:
        _check_dimension(name)
    if b"__enum__" in content:
        raise PackageError(f"refers to a class to import. {_INSTEAD}")
    return json.dumps(program).encode()


def _check_dimension(text: object) -> None:
    if text is not None and not (isinstance(text, str) and _DIMENSION.fullmatch(text)):
        raise PackageError(f"contains the unknown dimension {text!r}. {_INSTEAD}")


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping in a JSON value, outer mappings first."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)

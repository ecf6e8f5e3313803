"""A document held against the specification: the typed result, or every problem in words."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from berth.spec import rules, shape
from berth.spec.document import Document
from berth.spec.errors import RULE, Path, Problem, SpecError, rendered
from berth.spec.hosting import PLATFORM_NAMES, HostingSpec, find_readers

if TYPE_CHECKING:
    from berth.platforms import Platform

_SHOWN_CHARACTERS = 80


def typed(document: Document) -> HostingSpec:
    """The specification that `document` holds.

    Raises:
        SpecError: with every problem, in the order of the file.
    """
    problems = [*document.problems, *_about_platform(document), *_unknown_sizes(document)]
    try:
        spec = HostingSpec.model_validate(document.sections)
    except ValidationError as error:
        found = error.errors(include_url=False)
        for details in found:
            problems += _problems(details)
        problems += rules.problems(_sound(document, {details["loc"][:1] for details in found}))
    else:
        problems += _get_platform(spec.platform).check_spec(document, spec)
        if not problems:
            return spec.with_aws(document.foreign_of("aws") if spec.platform == "aws" else {})
    raise SpecError(lines(document, problems))


def lines(document: Document, problems: list[Problem]) -> list[str]:
    """The problems as a person reads them, each once, in the order of the file."""
    placed = [(document.line(problem.path), problem) for problem in problems]
    placed.sort(key=lambda item: (item[0] is None, item[0] or 0))
    return list(dict.fromkeys(_line(document, line, problem) for line, problem in placed))


def _line(document: Document, line: int | None, problem: Problem) -> str:
    place = document.file if line is None else f"{document.file}:{line}"
    value = _shown(document, problem.path) if problem.show_value else ""
    return f"{place}: {rendered(problem.path)}: {value}{problem.message}"


def _shown(document: Document, path: Path) -> str:
    """The value at `path` and a space; nothing where it is, or might hold, a secret."""
    value = document.value(path)
    may_hold_key = path[0] == "gateway" and (len(path) == 1 or path[1] == "clients")
    if not isinstance(value, int | float) and (may_hold_key or path[0] in document.hidden):
        return ""
    if any(secret[: len(path)] == path for secret in document.secret):
        return ""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    text = "null" if value is None else text
    if len(text) > _SHOWN_CHARACTERS:
        text = text[: _SHOWN_CHARACTERS - 3] + "..."
    return f"{text} "


def _sound(document: Document, broken: set[tuple[int | str, ...]]) -> dict[str, Any]:
    """The sections without errors of their own, typed."""
    return {
        name: TypeAdapter[Any](field.annotation or Any).validate_python(document.sections[name])
        if name in document.sections
        else field.get_default(call_default_factory=True, validated_data={})
        for name, field in HostingSpec.model_fields.items()
        if (name,) not in broken
    }


def _problems(details: ErrorDetails) -> Iterator[Problem]:
    """One of pydantic's errors in our words."""
    path = tuple(step for step in details["loc"] if step != "[key]")
    is_name = len(path) < len(details["loc"])
    if is_name:
        names = shape.at(path[:-1]).get("propertyNames", {})
        yield Problem(path, f"is not a name for this; {shape.allowed(names)}", False)
    elif details["type"] == RULE:
        for problem in details["ctx"]["problems"]:
            yield Problem((*path, *problem.path), problem.message, problem.show_value)
    elif details["type"] == "extra_forbidden":
        yield Problem(path, _unknown_key(path), False)
    elif details["type"] == "missing":
        yield Problem(path, f"is missing; {shape.allowed(shape.at(path))}", False)
    else:
        yield Problem(path, f"is not allowed; {shape.allowed(shape.at(path))}")


def _unknown_key(path: Path) -> str:
    known = shape.keys(path[:-1])
    near = get_close_matches(str(path[-1]), known, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"unknown key; {meant}the keys here are {', '.join(known)}"


def _about_platform(document: Document) -> Iterator[Problem]:
    """Check what depends only on the platform, so that it is reported with any other problem."""
    name = document.sections.get("platform")
    if name not in PLATFORM_NAMES:
        return
    for section in document.sections:
        readers = find_readers(section)
        if name not in readers:
            yield Problem(
                (section,),
                f"is for platform {' and '.join(readers)}, and this stack's is {name}; take it out",
                False,
            )
    yield from _get_platform(name).check_document(document)


def _get_platform(name: str) -> "Platform":
    # The platforms import the specification.
    from berth.platforms import get_platform

    return get_platform(name)


def _unknown_sizes(document: Document) -> Iterator[Problem]:
    sizes = document.value(("parity", "may_differ"))
    for index, key in enumerate(sizes if isinstance(sizes, list) else ()):
        if isinstance(key, str) and not shape.at(tuple(key.split("."))):
            yield Problem(
                ("parity", "may_differ", index),
                "is not a key of the specification; one with * for names",
            )

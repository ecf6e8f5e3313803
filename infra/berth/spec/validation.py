"""Validates a document. The result is the typed specification or a list of all problems."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from berth.spec import rules, schema
from berth.spec.document import Document
from berth.spec.errors import RULE, Path, Problem, SpecError, format_path
from berth.spec.hosting import PLATFORM_NAMES, HostingSpec, find_readers

if TYPE_CHECKING:
    from berth.platforms import Platform

_MAX_SHOWN_CHARACTERS = 80


def validate_document(document: Document) -> HostingSpec:
    """Return the specification in `document`.

    Raises:
        SpecError: If there are problems. The error lists all of them, in the order of the file.
    """
    problems = [*document.problems, *_platform_problems(document), *_unknown_patterns(document)]
    aws = document.settings_of("aws") if document.sections.get("platform") == "aws" else {}
    try:
        spec = HostingSpec.model_validate(document.sections, context={"aws": aws})
    except ValidationError as error:
        errors = error.errors(include_url=False)
        for details in errors:
            problems += _to_problems(details)
        invalid = {details["loc"][:1] for details in errors}
        problems += rules.find_problems(_valid_sections(document, invalid))
    else:
        problems += _get_platform(spec.platform).check_spec(document, spec)
        if not problems:
            return spec
    raise SpecError(format_problems(document, problems))


def format_problems(document: Document, problems: list[Problem]) -> list[str]:
    """Format the problems as error lines, without duplicates and in the order of the file."""
    numbered = [(document.line(problem.path), problem) for problem in problems]
    numbered.sort(key=lambda item: (item[0] is None, item[0] or 0))
    return list(dict.fromkeys(_format(document, line, problem) for line, problem in numbered))


def _format(document: Document, line: int | None, problem: Problem) -> str:
    location = document.file if line is None else f"{document.file}:{line}"
    value = _format_value(document, problem.path) if problem.show_value else ""
    return f"{location}: {format_path(problem.path)}: {value}{problem.message}"


def _format_value(document: Document, path: Path) -> str:
    """Return the value at `path` and a space, or an empty text if it may contain a secret."""
    value = document.value(path)
    may_contain_secret = path[0] == "gateway" and (
        len(path) == 1 or path[1] in ("clients", "limits")
    )
    if not isinstance(value, int | float) and (may_contain_secret or path[0] in document.hidden):
        return ""
    if any(secret[: len(path)] == path for secret in document.secrets):
        return ""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    text = "null" if value is None else text
    if len(text) > _MAX_SHOWN_CHARACTERS:
        text = text[: _MAX_SHOWN_CHARACTERS - 3] + "..."
    return f"{text} "


def _valid_sections(document: Document, invalid: set[tuple[int | str, ...]]) -> dict[str, Any]:
    """Return the typed sections that have no problems of their own."""
    return {
        name: TypeAdapter[Any](field.annotation or Any).validate_python(document.sections[name])
        if name in document.sections
        else field.get_default(call_default_factory=True, validated_data={})
        for name, field in HostingSpec.model_fields.items()
        if (name,) not in invalid
    }


def _to_problems(details: ErrorDetails) -> Iterator[Problem]:
    """Convert one of pydantic's errors to problems with Berth's messages."""
    path = tuple(step for step in details["loc"] if step != "[key]")
    is_name = len(path) < len(details["loc"])
    if is_name:
        names = schema.schema_at(path[:-1]).get("propertyNames", {})
        yield Problem(path, f"is not a valid name; use {schema.describe(names)}", False)
    elif details["type"] == RULE:
        for problem in details["ctx"]["problems"]:
            yield Problem((*path, *problem.path), problem.message, problem.show_value)
    elif details["type"] == "extra_forbidden":
        yield Problem(path, _describe_unknown_key(path), False)
    elif details["type"] == "missing":
        expected = schema.describe(schema.schema_at(path))
        yield Problem(path, f"is missing; set it to {expected}", False)
    else:
        yield Problem(path, f"is not valid; use {schema.describe(schema.schema_at(path))}")


def _describe_unknown_key(path: Path) -> str:
    known = schema.keys_at(path[:-1])
    similar = get_close_matches(str(path[-1]), known, n=1)
    suggestion = f"did you mean {similar[0]}? Known" if similar else "known"
    return f"unknown key; {suggestion} keys: {', '.join(known)}"


def _platform_problems(document: Document) -> Iterator[Problem]:
    """Check what depends only on the platform, independently of all other problems."""
    name = document.sections.get("platform")
    if name not in PLATFORM_NAMES:
        return
    for section in document.sections:
        readers = find_readers(section)
        if name not in readers:
            platforms = f"platform{'s' if len(readers) > 1 else ''} {_join(readers)}"
            yield Problem(
                (section,),
                f"applies only to {platforms}, but this stack uses {name}; remove it",
                False,
            )
    yield from _get_platform(name).check_document(document)


def _join(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _get_platform(name: str) -> "Platform":
    # Import lazily, because the platforms import the specification.
    from berth.platforms import get_platform

    return get_platform(name)


def _unknown_patterns(document: Document) -> Iterator[Problem]:
    patterns = document.value(("parity", "may_differ"))
    for index, key in enumerate(patterns if isinstance(patterns, list) else ()):
        if isinstance(key, str) and not schema.schema_at(tuple(key.split("."))):
            yield Problem(
                ("parity", "may_differ", index),
                "is not a key of the specification; use an existing key, with * for names",
            )

"""From a stack's configuration to its specification: from the file, or through Pulumi."""

import json
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Any

import pulumi
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from infra.spec.document import NAMESPACE, Document, read_document
from infra.spec.errors import RULE, Path, Problem, SpecError, rendered
from infra.spec.hosting import HostingSpec

_SHOWN_CHARACTERS = 80


def load_file(path: FilePath) -> HostingSpec:
    """The specification in a configuration file, which is left as it is.

    A secret in it is accepted unread: its value is `infra.spec.ENCRYPTED`.

    Raises:
        SpecError: with every problem of the file.
    """
    document = read_document(path)
    document.problems += _misplaced_secrets(document)
    return _typed(document)


def load_config(stack: str) -> HostingSpec:
    """The specification of the running Pulumi program, with secrets in clear.

    Raises:
        SpecError: with every problem of the configuration.
    """
    document = Document(f"Pulumi.{stack}.yaml")
    config = {**pulumi.runtime.get_config_env(), **pulumi.runtime.config.CONFIG.get()}
    secret = set(pulumi.runtime.get_config_secret_keys_env())
    for key, text in config.items():
        namespace, _, name = key.partition(":")
        if namespace != NAMESPACE:
            document.foreign[key] = text
            continue
        if key in secret or pulumi.runtime.is_config_secret(key):
            document.hidden.add(name)
        if text != "":  # a key without a value
            document.sections[name] = _decoded(text)
    document.problems += _plain_keys(document)
    return _typed(document)


def _decoded(text: str) -> Any:
    """Pulumi hands structured values over as JSON, and scalars as they are."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _typed(document: Document) -> HostingSpec:
    problems = list(document.problems)
    try:
        spec = HostingSpec.model_validate(document.sections)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            problems += _problems(details)
    else:
        if not problems:
            return spec
    raise SpecError(_lines(document, problems))


def _lines(document: Document, problems: list[Problem]) -> list[str]:
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
    number = isinstance(value, int | float)
    may_hold_key = path[0] == "gateway" and (len(path) == 1 or path[1] == "clients")
    if not number and (may_hold_key or path[0] in document.hidden):
        return ""
    if any(secret[: len(path)] == path for secret in document.secret):
        return ""
    text = repr(value)
    if len(text) > _SHOWN_CHARACTERS:
        text = text[: _SHOWN_CHARACTERS - 3] + "..."
    return f"{text} "


def _problems(details: ErrorDetails) -> Iterator[Problem]:
    """One of pydantic's errors in our words."""
    loc, kind, context = details["loc"], details["type"], details.get("ctx", {})
    path = tuple(step for step in loc if step != "[key]")
    if kind == RULE:
        for problem in context["problems"]:
            below = Problem((*path, *problem.path), problem.message, problem.show_value)
            yield below if loc == path else Problem(below.path, _key_message(path, below), False)
    elif kind == "extra_forbidden":
        yield Problem(path, _unknown_key(path), False)
    elif kind == "missing":
        yield Problem(path, "is missing", False)
    else:
        yield Problem(path, _WORDS.get(kind, "is not allowed: {msg}").format(**context, **details))


def _key_message(path: Path, problem: Problem) -> str:
    return f"the name {str(path[-1])!r} {problem.message}"


_WORDS = {
    "model_type": "is not allowed; a map of keys",
    "dict_type": "is not allowed; a map of keys",
    "list_type": "is not allowed; a list",
    "int_type": "is not allowed; a whole number",
    "int_from_float": "is not allowed; a whole number",
    "float_type": "is not allowed; a number",
    "string_type": "is not allowed; text",
    "bool_type": "is not allowed; true or false",
    "greater_than_equal": "is too small; {ge} or more",
    "greater_than": "is too small; more than {gt}",
    "less_than_equal": "is too large; {le} or less",
    "less_than": "is too large; less than {lt}",
    "literal_error": "is not allowed; one of {expected}",
    "too_short": "has too few entries; {min_length} or more",
    "too_long": "has too many entries; {max_length} or fewer",
    "finite_number": "is not allowed; a finite number",
}


def _unknown_key(path: Path) -> str:
    known = sorted(_known_keys(path[:-1]))
    near = get_close_matches(str(path[-1]), known, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"unknown key; {meant}The keys here are: {', '.join(known)}"


def _known_keys(path: Path) -> set[str]:
    """The keys of the section at `path`."""
    section: Any = HostingSpec
    for step in path:
        section = _below(section, step)
    return set(section.model_fields)


def _below(annotation: Any, step: str | int) -> Any:
    """The type of what is under `step` of a value of type `annotation`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _section(annotation.model_fields[str(step)].annotation)
    return _section(annotation.__args__[-1])


def _section(annotation: Any) -> Any:
    """`X` for `X | None` and `Annotated[X, ...]`."""
    if hasattr(annotation, "__metadata__"):
        return _section(annotation.__origin__)
    arguments = getattr(annotation, "__args__", ())
    if type(None) in arguments:
        return _section(next(a for a in arguments if a is not type(None)))
    return annotation


def _clients(document: Document) -> Iterator[tuple[str, Path, Any]]:
    """Name, path and value of every key that a client has been given."""
    clients = document.value(("gateway", "clients"))
    for name, client in clients.items() if isinstance(clients, dict) else ():
        if isinstance(client, dict) and client.get("key") is not None:
            yield name, ("gateway", "clients", name, "key"), client["key"]


def _misplaced_secrets(document: Document) -> Iterator[Problem]:
    keys = {path: name for name, path, _ in _clients(document)}
    for path in sorted(document.secret - set(keys), key=str):
        yield Problem(path, "is a secret; only a client's key may be one", False)
    for path, name in keys.items():
        if path not in document.secret:
            yield _not_a_secret(name, path)


def _plain_keys(document: Document) -> Iterator[Problem]:
    if "gateway" not in document.hidden:
        for name, path, _ in _clients(document):
            yield _not_a_secret(name, path)


def _not_a_secret(client: str, path: Path) -> Problem:
    return Problem(
        path,
        "stands in clear; take it out, choose another, and set that with "
        f"`pulumi config set --secret --path 'berth:gateway.clients.{client}.key'`",
        False,
    )

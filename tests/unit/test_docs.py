"""The documentation: links resolve, and every command, option, key, variable and metric exists."""

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import pulumi_berth
from berth.cli.main import main
from berth_policy.rules import RULES
from tests.repository import REPOSITORY

DOCS = REPOSITORY / "docs"
TYPES = ("tutorials", "how-to", "components", "reference", "explanation", "measurements")
REGISTRY_PAGES = (DOCS / "_index.md", DOCS / "installation-configuration.md")
"""Pages in the form of the Pulumi Registry: https://github.com/pulumi/registry."""
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]
IDS = [str(page.relative_to(REPOSITORY)) for page in PAGES]

_FENCE = re.compile(r"^( *)```([a-z]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_KEY = re.compile(r"\bberth:([a-z_]+(?:\.[A-Za-z_*<>-]+)*)(?!:?\w)")
_METRIC = re.compile(r"\b(berth_[a-z_]+?)(?:_total)?[`\"]")


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_relative_links_and_anchors_resolve(page: Path) -> None:
    text = _without_code(page.read_text())
    for target in _LINK.findall(text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name} links to {target}, which does not exist"
        if anchor:
            assert anchor in _anchors(linked), f"{page.name} links to the unknown anchor {target}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_page_begins_with_its_only_main_heading(page: Path) -> None:
    headings = re.findall(r"^# .+", _without_code(page.read_text()), re.MULTILINE)
    if page in REGISTRY_PAGES:  # The Pulumi Registry shows the title of the front matter.
        front_matter = page.read_text().split("---\n")[1]
        assert yaml.safe_load(front_matter).keys() == {"title", "meta_desc", "layout"}
        assert headings == []
        return
    assert page.read_text().startswith("# ")
    assert len(headings) == 1


def test_every_page_is_in_the_directory_of_its_type_and_in_the_index() -> None:
    linked = {
        (DOCS / target).resolve() for target in _LINK.findall((DOCS / "index.md").read_text())
    }
    for page in DOCS.rglob("*.md"):
        if page.name == "index.md":
            continue
        if page in REGISTRY_PAGES:
            assert page.resolve() in linked
            continue
        assert page.parent.parent == DOCS
        assert page.parent.name in TYPES
        assert page.resolve() in linked, f"docs/index.md does not link to {page.name}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_and_options_in_console_blocks_exist(page: Path) -> None:
    text = page.read_text()
    for command in re.findall(r"`(?:\./)?berth ([a-z][^`\n]*)`", _FENCE.sub("", text)):
        _require_command(command.split(), command)
    for line in _console_lines(text):
        if not re.search(r"\bberth [a-z]", line):
            continue
        inner = re.findall(r"\$\(([^)]*)\)", line)
        for command in (re.sub(r"\$\([^)]*\)", "", line), *inner):
            words = shlex.split(command.replace("…", ""), comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words and words[0] in ("berth", "./berth"):
                _require_command(words[1:], line)


def test_command_reference_lists_every_command_and_option() -> None:
    text = (DOCS / "reference/command-line.md").read_text()
    sections = dict(re.findall(r"^### (berth [a-z -]+)\n(.*?)(?=^### |^## |\Z)", text, re.M | re.S))
    common = text.partition("## Commands")[0]
    for name, command in _commands():
        assert name in sections, f"the reference has no section for {name}"
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert f"`{option}`" in sections[name] + common, f"{name} {option} is not described"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_configuration_keys_exist(page: Path, schema: dict[str, Any]) -> None:
    text = page.read_text()
    sections = {name.removeprefix("berth:") for name in _resolved(schema, "config")}
    short = re.findall(r"`([a-z_]+(?:\.[a-z_*]+)+)`", text)
    for key in [*_KEY.findall(text), *(key for key in short if key.split(".")[0] in sections)]:
        assert _has_key(schema, f"berth:{key}".split(".")), f"{page.name}: berth:{key} is unknown"
    for block in (body for language, body in _blocks(text) if language == "yaml"):
        if "berth:" not in block:
            continue
        document = yaml.safe_load(block.replace("…", ""))
        settings = document.get("config", document)
        for exception in settings.get("berth:policy", {}).get("exceptions", ()):
            assert exception["rule"] in {rule.id for rule in RULES}
        for path in _paths(settings):
            assert _has_key(schema, path), f"{page.name}: {'.'.join(path)} is unknown"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_paths_and_modules_in_code_exist(page: Path) -> None:
    text = page.read_text()
    for path in re.findall(r"`([a-z_]+/[A-Za-z0-9_./-]*)`", text):
        root = path.split("/")[0]
        if root != "models" and (REPOSITORY / root).is_dir():
            assert (REPOSITORY / path).exists(), f"{page.name} names the unknown path {path}"
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert find_spec(module) is not None, f"{page.name} names the unknown module {module}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_python_examples_parse_and_import_existing_names(page: Path) -> None:
    for tree in (ast.parse(body) for lang, body in _blocks(page.read_text()) if lang == "python"):
        for node in ast.walk(tree):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            if module is None or not module.startswith(("berth", "pulumi_berth")):
                continue
            if module == "pulumi_berth":
                assert {alias.name for alias in node.names} <= set(pulumi_berth.__all__)  # type: ignore[attr-defined]
                continue
            found = find_spec(module)
            assert found is not None, f"{page.name} imports the unknown module {module}"
            assert found.origin is not None
            source = Path(found.origin).read_text()
            for name in (alias.name for alias in node.names):  # type: ignore[attr-defined]
                pattern = rf"^(class|def) {name}\b|^{name}\b.* = |^from .* as {name}$"
                assert re.search(pattern, source, re.MULTILINE), name


def test_every_variable_of_the_programs_is_in_the_reference(tmp_path: Path) -> None:
    from berth.operations.rollout.query_sources import TOKEN_VARIABLE, URL_VARIABLE
    from berth.signing.private_key import PASSPHRASE
    from berth_gateway.settings import read_settings
    from berth_serving.settings import Settings

    environment = _Recorder(
        BERTH_MODEL_DIR=str(tmp_path),
        GATEWAY_CONFIG=str(tmp_path / "gateway.json"),
        GATEWAY_STATE_DIR=str(tmp_path),
        GATEWAY_PORT="1",
        GATEWAY_ADMIN_PORT="2",
        GATEWAY_AUTHORIZE_PORT="3",
    )
    Settings.read(environment)
    read_settings(environment)
    text = (DOCS / "reference/environment-variables.md").read_text()
    documented = set(re.findall(r"^\| `((?:BERTH|GATEWAY)_[A-Z_]+)`", text, re.MULTILINE))
    read = {name for name in environment.read if name.startswith(("BERTH", "GATEW"))}
    # The command line reads these.
    assert documented == {*read, PASSPHRASE, URL_VARIABLE, TOKEN_VARIABLE}


def test_metrics_reference_and_programs_name_the_same_metrics() -> None:
    documented = set(_METRIC.findall((DOCS / "reference/metrics.md").read_text()))
    sources = [*REPOSITORY.glob("serving_app/**/*.py"), *REPOSITORY.glob("gateway_app/**/*.py")]
    defined = {
        name
        for source in sources
        if "prometheus_client" in (text := source.read_text())
        for name in re.findall(r"\"(berth_[a-z_]+?)(?:_total)?\"", text)
    }
    assert documented == defined


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The JSON schema of a stack's configuration file."""
    document: dict[str, Any] = yaml.safe_load(
        (DOCS / "reference/pulumi-stack.schema.json").read_text()
    )
    return document


class _Recorder(dict[str, str]):
    """An environment that remembers which variables were read."""

    def __init__(self, **values: str) -> None:
        super().__init__(**values)
        self.read: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> str:
        self.read.add(key)
        return super().__getitem__(key)


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    for indent, language, body in _FENCE.findall(text):
        lines = [line.removeprefix(indent) for line in body.splitlines()]
        yield language, "\n".join(lines)


def _console_lines(text: str) -> Iterator[str]:
    for language, body in _blocks(text):
        if language == "console":
            yield from (line[2:] for line in body.splitlines() if line.startswith("$ "))


def _without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)", _FENCE.sub("", page.read_text()), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


def _commands() -> Iterator[tuple[str, click.Command]]:
    def walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        if not isinstance(command, click.Group):
            yield name, command
            return
        context = click.Context(command)
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            assert found is not None
            yield from walk(f"{name} {each}", found)

    yield from walk("berth", main)


def _require_command(words: list[str], line: str) -> None:
    command: click.Command = main
    while isinstance(command, click.Group) and words:
        name = words.pop(0)
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"{line}: unknown command {name}"
        command = found
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for word in words:
        if word in ("|", "&&", ">"):
            return
        if re.match(r"--?[a-z]", word) and command.name != "test":
            assert word.partition("=")[0] in known, f"{line}: unknown option {word}"


def _paths(settings: Mapping[str, Any]) -> Iterator[list[str]]:
    """The path of each key of Berth in a stack's configuration."""

    def walk(value: Any, path: list[str]) -> Iterator[list[str]]:
        yield path
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from walk(inner, [*path, str(key)])
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner, [*path, "[]"])

    for key, value in settings.items():
        if key.startswith("berth:"):
            yield from walk(value, [key])


def _resolved(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """The properties of a property of the schema."""
    properties: dict[str, Any] = schema["properties"][name]["properties"]
    return properties


def _has_key(schema: dict[str, Any], path: list[str]) -> bool:
    nodes = [schema["properties"]["config"]]
    for name in path:
        nodes = [child for node in nodes for child in _children(schema, node, name)]
    return bool(nodes)


def _children(schema: dict[str, Any], node: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """The schemas of what `name` may be in `node`; a name of the user's choice matches a map."""
    if "$ref" in node:
        target: Any = schema
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        yield from _children(schema, target, name)
    for each in (*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())):
        yield from _children(schema, each, name)
    if name == "[]" and isinstance(items := node.get("items"), dict):
        yield items
    if name in node.get("properties", {}):
        yield node["properties"][name]
    elif name not in ("[]",):
        if isinstance(extra := node.get("additionalProperties"), dict):
            yield extra
        for pattern, each in node.get("patternProperties", {}).items():
            if name.startswith(("<", "*")) or re.search(pattern, name):
                yield each

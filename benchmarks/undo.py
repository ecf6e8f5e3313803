"""Measure whether the verdicts of `berth preview` on undoing a change are right.

    python -m benchmarks.undo [--platform NAME] [--changes N] [--seed S] [--json]
    python -m benchmarks.undo --results FILE...

Each round makes random changes in a project, reads the verdicts of the report, deploys the changes
and rolls them back. Then it compares each changed resource with its state
before the changes: its declared inputs in the engine's state, the identity of its key, and the
responses of all models. Addresses that every start chooses anew are left out. With `--results`, the
output of earlier runs with `--json` is summarized.
"""

import argparse
import json
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.projects import open_project
from benchmarks.runs import describe_machine, say
from benchmarks.undo_changes import choose_kinds
from berth.operations.invoke import read_example
from berth.operations.undo import Undo
from berth.spec import load_file
from berth_protocol.paths import infer_path
from tests.engine.project import Project

# Emulated AWS is not among them: it returns other values than were declared.
_PLATFORMS = ("local", "docker", "kubernetes")
_PORT = re.compile(r"(http://127\.0\.0\.1:)\d+")
# What the engine appends to the name of a new object, also in its address.
_SUFFIX = re.compile(r"-[0-9a-f]{6,8}(?=$|:\d)")
# IDs of a new container, which differ from those of the one before.
_NEW_IDS = ("container", "entry", "gateways")
# Such an ID is also a berth's address in the configuration of the gateways, and so decides about
# its checksum. The configuration itself is compared.
_ADDRESS = re.compile(r"(http://)[0-9a-f]{12}(?=:)")
_CHECKSUM = "config_sha256"
_INVALID = 2
# Characters of a value that are shown before the first difference.
_CONTEXT = 40
_OUTCOMES = ("restored", "differs", "refused")
_OUTCOME_COLUMNS = " | ".join([*_OUTCOMES, "wrong |"])
_OUTCOME_RULE = "--:|" * (len(_OUTCOMES) + 1)


@dataclass
class Round:
    """One random change, and what became of its resources.

    Attributes:
        kinds: Names of the kinds of changes.
        verdict: The verdict on the whole change.
        outcome: What the rollback did: `restored`, `refused`, or `differs` if something is not as
            before.
        wrong: Resources whose verdict was wrong, with what was found instead.
        verdicts: Number of resources by verdict.
    """

    kinds: list[str]
    verdict: str
    outcome: str = "restored"
    wrong: list[str] = field(default_factory=list)
    verdicts: dict[str, int] = field(default_factory=dict)


@dataclass
class _Snapshot:
    """What a stack is.

    Attributes:
        resources: The declared inputs of each resource by URN, without what is chosen anew.
        inputs: The same with it, such as the name of a replaced ConfigMap.
        responses: The models' responses.
    """

    resources: dict[str, Any]
    responses: dict[str, Any]
    inputs: dict[str, Any] = field(default_factory=dict, compare=False)


def _configure(config: Any) -> None:
    config["berth:gateway"]["clients"] = {
        "default": {"rate_per_second": 400, "burst": 500},
        "partner": {"rate_per_second": 10, "burst": 20},
    }


def run_round(project: Project, seed: int, before: _Snapshot) -> tuple[Round | None, _Snapshot]:
    """Change, deploy and roll back a project whose stack runs.

    Args:
        before: The state of the stack.

    Returns:
        The round, or None if a change is invalid or changes nothing, and the state after it.
    """
    values = random.Random(seed)  # noqa: S311 - the same seed must give the same changes
    kinds = choose_kinds(values)
    after = before
    with _restored(project):
        for kind in kinds:
            kind.apply(project, values)
        preview = _try_berth(project, "preview", "--json")
        if preview is None:
            return None, before
        report = json.loads(preview)
        result = Round([kind.name for kind in kinds], report["undo"]["undo"])
        if not report["resources"]:
            return None, before
        project.berth("up", "--yes", "--no-request")
        arguments = ("rollback", "--yes", "--to", str(report["undo"]["release"]))
        is_refused = _try_berth(project, *arguments) is None
        after = _read_snapshot(project, with_responses=not is_refused)
        result.outcome = _name_outcome(before, after, is_refused=is_refused)
        for entry in report["resources"]:
            verdict = Undo(entry["undo"]["undo"])
            result.verdicts[verdict.value] = result.verdicts.get(verdict.value, 0) + 1
            found = _find_contradiction(entry["urn"], verdict, before, after, is_refused=is_refused)
            if found:
                result.wrong.append(f"{entry['urn'].rpartition('$')[2]} {verdict.value}: {found}")
        if is_refused != bool(report["undo"]["obstacles"]):
            result.wrong.append(f"refused: {is_refused}, but {report['undo']['obstacles']}")
        if result.verdict in (Undo.YES, Undo.KEPT) and after.responses != before.responses:
            result.wrong.append("the models respond differently")
    if after != before:
        project.berth("up", "--yes", "--no-request")
        after = _read_snapshot(project)
    return result, after


def _name_outcome(before: _Snapshot, after: _Snapshot, *, is_refused: bool) -> str:
    if is_refused:
        return "refused"
    return "restored" if after == before else "differs"


def _find_contradiction(
    urn: str, verdict: Undo, before: _Snapshot, after: _Snapshot, *, is_refused: bool
) -> str | None:
    """Return how the state of a resource contradicts the verdict on it, or None."""
    one, other = before.resources.get(urn), after.resources.get(urn)
    match verdict:
        case Undo.YES | Undo.DOWNTIME:
            return None if one == other else f"it is not as before: {_describe(one, other)}"
        case Undo.KEPT if one is not None and other is not None and "config" in one:
            rest = _without_clients(one) == _without_clients(other)
            return None if rest else "more than the clients is not as before"
        case Undo.KEPT:
            return None if other is not None else "it is gone"
        case _ if is_refused:
            # Nothing was rolled back. A new name, such as a ConfigMap's, can be all of a change.
            is_unchanged = before.inputs.get(urn) == after.inputs.get(urn)
            return "it has not changed" if is_unchanged else None
        case _:
            return None if one != other else "it is as before"


def _describe(one: Any, other: Any, path: str = "") -> str:
    """Return the first value that differs, with its surroundings."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other}):
            if one.get(key) != other.get(key):
                return _describe(one.get(key), other.get(key), f"{path}.{key}")
    texts = [str(one), str(other)]
    equal = next((n for n, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), 0)
    start = max(equal - _CONTEXT, 0)
    shown = [text[start : start + 3 * _CONTEXT] for text in texts]
    return f"{path}: {shown[0]!r} became {shown[1]!r}"


def _without_clients(inputs: Mapping[str, Any]) -> dict[str, Any]:
    config = {key: value for key, value in inputs.get("config", {}).items() if key != "clients"}
    return {**inputs, "config": config}


def _read_snapshot(project: Project, *, with_responses: bool = True) -> _Snapshot:
    # An encrypted value differs each time that it is encrypted.
    exported = project.pulumi("stack", "export", "--show-secrets").stdout
    inputs = {
        # The ID of a key is its checksum.
        entry["urn"]: {**entry["inputs"], "id": entry["id"] if "ApiKey" in entry["type"] else ""}
        for entry in json.loads(exported)["deployment"]["resources"]
        if entry.get("custom") and not entry["type"].startswith("pulumi:providers")
    }
    return _Snapshot(
        resources={urn: _normalize(values) for urn, values in inputs.items()},
        responses=_read_responses(project) if with_responses else {},
        inputs=inputs,
    )


def _normalize(value: Any) -> Any:
    """Return the inputs without what each start of a process chooses anew."""
    if isinstance(value, Mapping):
        left_out = ("__provider", _CHECKSUM, *_NEW_IDS)
        return {key: _normalize(item) for key, item in value.items() if key not in left_out}
    if isinstance(value, list):
        return [_normalize(item) for item in value]
    if isinstance(value, str):
        return _SUFFIX.sub("", _ADDRESS.sub(r"\1", _PORT.sub(r"\1", value)))
    # The checkpoint has 90.0 where another one has 90.
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _read_responses(project: Project) -> dict[str, Any]:
    """Return the response of each exposed version to the example in its card."""
    endpoint, headers = project.json("status")["endpoint"], {"x-api-key": project.key()}
    responses = {}
    spec = load_file(project.config_file)
    for model, entry in spec.models.items():
        for version in entry.exposed_versions:
            example = read_example(project.root, project.stack, model, version, lambda: spec)
            response = httpx.post(
                f"{endpoint}{infer_path(model, version)}",
                content=example.content,
                headers={**headers, **example.headers},
                timeout=30,
            )
            responses[f"{model} {version}"] = (response.status_code, response.json())
    return responses


def _try_berth(project: Project, *arguments: str) -> str | None:
    """Return the output of a command, or None if it rejects what it was told to do."""
    process = project.start(*arguments)
    stdout, stderr = process.communicate()
    if process.returncode == 0:
        return str(stdout)
    if process.returncode == _INVALID:
        return None
    raise RuntimeError(f"{arguments}: {process.returncode}\n{stdout[-3000:]}\n{stderr[-3000:]}")


@contextmanager
def _restored(project: Project) -> Iterator[None]:
    """Restore the files of the project after the block."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        files = ("models", "infra", project.config_file.name)
        for name in files:
            _copy(project.root / name, copy / name)
        try:
            yield
        finally:
            for name in files:
                shutil.rmtree(project.root / name, ignore_errors=True)
                _copy(copy / name, project.root / name)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _run(platform: str, count: int, seed: int) -> list[Round]:
    rounds: list[Round] = []
    with open_project(platform) as project:
        project.edit(_configure)
        project.berth("up", "--yes")
        snapshot = _read_snapshot(project)
        try:
            while len(rounds) < count:
                result, snapshot = run_round(project, seed, snapshot)
                if result is not None:
                    rounds.append(result)
                    say(f"{len(rounds)}: seed {seed}: {json.dumps(asdict(result))}")
                seed += 1
        except KeyboardInterrupt:
            say("Interrupted: the result is that of the changes so far.")
    return rounds


def _format_table(rounds: list[Round]) -> str:
    resources = sum((Counter(each.verdicts) for each in rounds), Counter[str]())
    wrong = [f"{each.kinds}: {text}" for each in rounds for text in each.wrong]
    wholes = {v.value: [each for each in rounds if each.verdict == v] for v in Undo}
    kinds = {kind for each in rounds for kind in each.kinds}
    by_kind = {kind: [each for each in rounds if kind in each.kinds] for kind in sorted(kinds)}
    return "\n".join(
        [
            f"{len(rounds)} changes, {resources.total()} verdicts, {len(wrong)} wrong",
            "",
            f"| verdict on the change | resources with it | changes | {_OUTCOME_COLUMNS}",
            f"|---|--:|--:|{_OUTCOME_RULE}",
            *(
                f"| `{name}` | {resources[name]} | {len(each)} | {_count_outcomes(each)}"
                for name, each in wholes.items()
            ),
            "",
            f"| kind of change | changes with it | {_OUTCOME_COLUMNS}",
            f"|---|--:|{_OUTCOME_RULE}",
            *(
                f"| {name} | {len(each)} | {_count_outcomes(each)}"
                for name, each in by_kind.items()
            ),
            *wrong,
        ]
    )


def _count_outcomes(rounds: list[Round]) -> str:
    outcomes = Counter(each.outcome for each in rounds)
    wrong = sum(bool(each.wrong) for each in rounds)
    return " | ".join([*(str(outcomes[name]) for name in _OUTCOMES), f"{wrong} |"])


def _read_results(files: list[Path]) -> list[Round]:
    return [Round(**each) for file in files for each in json.loads(file.read_text())]


def main() -> None:
    """Print the number of verdicts by kind, and each wrong one."""
    parser = argparse.ArgumentParser(prog="benchmarks.undo")
    parser.add_argument("--platform", choices=_PLATFORMS, default="local")
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--results", nargs="+", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.results:
        print(_format_table(_read_results(arguments.results)))
        return
    rounds = _run(arguments.platform, arguments.changes, arguments.seed)
    if arguments.json:
        print(json.dumps([asdict(each) for each in rounds], indent=1))
    else:
        print(f"{describe_machine()}\n\n{_format_table(rounds)}")
    sys.exit(1 if any(each.wrong for each in rounds) else 0)


if __name__ == "__main__":
    main()

"""Random changes of a project, for `benchmarks.undo`."""

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.engine.project import Project

Config = Any
_KINDS_MAX = 3
# Changes a resource that Berth declares, as an upgrade of Berth does.
_PROGRAM = """
import pulumi


def _change(args):
    if "digits-1" not in args.name:
        return None
    props = args.props
    match args.type_.rpartition(":")[2]:
        case "BerthProcess":
            environment = pulumi.Output.from_input(props["environment"])
            changed = environment.apply(lambda values: {{**values, "BERTH_QUEUE": "{queue}"}})
            props = {{**props, "environment": changed}}
        case "Container":
            variables = pulumi.Output.from_input(props.get("envs") or [])
            changed = variables.apply(lambda values: [*values, "BERTH_QUEUE={queue}"])
            props = {{**props, "envs": changed}}
        case "Deployment":
            annotations = pulumi.Output.from_input(props["metadata"].get("annotations") or {{}})
            changed = annotations.apply(lambda values: {{**values, "undo/queue": "{queue}"}})
            props = {{**props, "metadata": {{**props["metadata"], "annotations": changed}}}}
        case _:
            return None
    return pulumi.ResourceTransformationResult(props, args.opts)


pulumi.runtime.register_stack_transformation(_change)
from berth.program import run

run()
"""


@dataclass(frozen=True)
class Kind:
    """A kind of change.

    Attributes:
        name: What the change does.
        apply: Makes the change in a project, with the values of a random generator.
    """

    name: str
    apply: Callable[[Project, random.Random], None]


def _of_config(change: Callable[[Config, random.Random], None]) -> Any:
    """Return a change of the configuration file."""

    def apply(project: Project, values: random.Random) -> None:
        project.edit(lambda config: change(config, values))

    return apply


def _digits(config: Config) -> Any:
    return config["berth:models"]["digits"]


def _move_traffic(config: Config, values: random.Random) -> None:
    if len(_digits(config)["versions"]) == 2:
        first = values.randrange(0, 101)
        _digits(config)["traffic"] = {"1": first, "2": 100 - first}


def _remove_version(config: Config, values: random.Random) -> None:
    gone = values.choice(["1", "2"])
    versions = _digits(config)["versions"]
    if len(versions) == 2:
        del versions[gone]
        _digits(config)["traffic"] = {next(iter(versions)): 100}


def _change_serving(config: Config, values: random.Random) -> None:
    model = config["berth:models"][values.choice(list(config["berth:models"]))]
    settings = {
        "threads": values.randrange(1, 5),
        "queue": values.randrange(8, 512),
        "max_batch": values.randrange(16, 2048),
        "deadline_seconds": values.randrange(5, 60),
        "grace_seconds": values.randrange(1, 20),
    }
    names = values.sample(sorted(settings), 2)
    model["serving"] = {name: settings[name] for name in names}


def _change_memory(config: Config, values: random.Random) -> None:
    resources = _digits(config).get("resources", {})
    _digits(config)["resources"] = {**resources, "memory": f"{values.randrange(256, 1024)}Mi"}


def _remove_model(config: Config, _values: random.Random) -> None:
    config["berth:models"].pop("breast-cancer", None)


def _change_failover(config: Config, _values: random.Random) -> None:
    _digits(config)["failover"] = False


def _hide_version(config: Config, _values: random.Random) -> None:
    if "2" in _digits(config)["versions"]:
        _digits(config)["versions"]["2"] = {"exposed": False}
        _digits(config)["traffic"] = (
            {"1": 100, "2": 0} if "1" in _digits(config)["versions"] else {}
        )


def _add_shadow(config: Config, _values: random.Random) -> None:
    if len(_digits(config)["versions"]) == 2:
        _digits(config)["traffic"] = {"1": 100, "2": 0}
        _digits(config)["shadow"] = "2"


def _change_limits(config: Config, values: random.Random) -> None:
    client = config["berth:gateway"]["clients"]["default"]
    client["rate_per_second"] = values.randrange(20, 500)
    client["burst"] = values.randrange(500, 900)


def _change_gateway(config: Config, values: random.Random) -> None:
    config["berth:gateway"]["timeout_seconds"] = values.randrange(31, 120)
    config["berth:gateway"]["max_body_bytes"] = values.randrange(100_000, 20_000_000)


def _add_client(config: Config, values: random.Random) -> None:
    config["berth:gateway"]["clients"][f"added-{values.randrange(100)}"] = {}


def _remove_client(config: Config, _values: random.Random) -> None:
    config["berth:gateway"]["clients"].pop("partner", None)


def _change_files(project: Project, values: random.Random) -> None:
    """Change the files of a version, without a new version."""
    card = project.root / "models" / "digits" / values.choice("12") / "model.yaml"
    card.write_text(f"# {values.random()}\n{card.read_text()}")


def _remove_directory(project: Project, _values: random.Random) -> None:
    """Remove a model with its directory, which a rollback needs."""
    project.edit(lambda config: config["berth:models"].pop("breast-cancer", None))
    shutil.rmtree(project.root / "models" / "breast-cancer", ignore_errors=True)


def _change_program(project: Project, values: random.Random) -> None:
    program = project.root / "infra" / "__main__.py"
    program.write_text(_PROGRAM.format(queue=values.randrange(600, 900)))


KINDS: Sequence[Kind] = (
    Kind("traffic", _of_config(_move_traffic)),
    Kind("version removed", _of_config(_remove_version)),
    Kind("serving settings", _of_config(_change_serving)),
    Kind("memory", _of_config(_change_memory)),
    Kind("model removed", _of_config(_remove_model)),
    Kind("failover", _of_config(_change_failover)),
    Kind("version hidden", _of_config(_hide_version)),
    Kind("shadow", _of_config(_add_shadow)),
    Kind("client limits", _of_config(_change_limits)),
    Kind("gateway limits", _of_config(_change_gateway)),
    Kind("client added", _of_config(_add_client)),
    Kind("client removed", _of_config(_remove_client)),
    Kind("model files changed", _change_files),
    Kind("model directory removed", _remove_directory),
    Kind("program changed", _change_program),
)


def choose_kinds(values: random.Random) -> list[Kind]:
    """Return one to three kinds of changes."""
    return values.sample(KINDS, values.randrange(1, _KINDS_MAX + 1))

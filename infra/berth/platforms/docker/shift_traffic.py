"""Another traffic split on Docker engines, without an update."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from berth.errors import OperationError
from berth.platforms.platform import HIDDEN
from berth.platforms.shifted_gateway import shift_gateway_config
from berth.spec.models import ModelSpec
from berth_gateway.config import convert_config, encode_config
from pulumi_berth.docker.engine import EngineError
from pulumi_berth.docker.gateway_turn import wait_for_config
from pulumi_berth.docker.volume_files import write_files

_FILES, _TURN = "VolumeFiles", "GatewayTurn"


def shift_traffic(
    resources: Sequence[Mapping[str, Any]], models: Mapping[str, ModelSpec]
) -> list[str]:
    """Write a configuration with the traffic of `models`, which the gateways of each host load.

    Args:
        resources: The resources in the state.

    Returns:
        The models whose traffic changed.

    Raises:
        OperationError: If an engine does not respond, or a gateway does not load it.
    """
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for resource in resources:
        kind = str(resource["type"]).rpartition(":")[2]
        by_kind.setdefault(kind, []).append(resource["outputs"])
    # Only one of a host's volumes has the gateways' configuration.
    planned = [
        (outputs, changed)
        for outputs in by_kind.get(_FILES, [])
        # Secret files are hidden in the state.
        if outputs["files"] != HIDDEN
        and (changed := _plan_file(outputs["files"], models)) is not None
    ]
    turns = {outputs["host"]: outputs for outputs in by_kind.get(_TURN, [])}
    if not planned:
        return []

    def write(entry: tuple[Mapping[str, Any], _PlannedFile]) -> None:
        outputs, file = entry
        write_files({**outputs, "files": {file.name: file.text}})
        if (turn := turns.get(outputs["host"])) is not None:
            digest = hashlib.sha256(file.text.encode()).hexdigest()
            wait_for_config({**turn, "config_sha256": digest})

    try:
        with ThreadPoolExecutor(len(planned)) as pool:
            list(pool.map(write, planned))
    except EngineError as error:
        raise OperationError(f"a gateway kept its traffic: {error}") from error
    shifted = {name for _, file in planned for name in file.models}
    return [name for name in models if name in shifted]


@dataclass(frozen=True, kw_only=True)
class _PlannedFile:
    name: str
    text: str
    models: list[str]


def _plan_file(files: Mapping[str, str], models: Mapping[str, ModelSpec]) -> _PlannedFile | None:
    """Return the file with the changed configuration, or None for other files."""
    for name, text in files.items():
        if name.startswith("gateway-") and name.endswith(".json"):
            config, shifted = shift_gateway_config(json.loads(text), models)
            if shifted:
                encoded = encode_config(convert_config(config)).decode()
                return _PlannedFile(name=name, text=encoded, models=shifted)
    return None

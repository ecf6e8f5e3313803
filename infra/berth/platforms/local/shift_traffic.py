"""Another traffic split on this machine, without an update."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from berth.errors import OperationError
from berth.platforms.shifted_gateway import shift_gateway_config
from berth.spec.models import ModelSpec
from pulumi_berth.local import gateway_process
from pulumi_berth.local.readiness import NotReadyError
from pulumi_berth.local.run_dir import RunDir
from pulumi_berth.local.supervisord import SupervisorError

_GATEWAY = "GatewayProcess"


def shift_traffic(
    resources: Sequence[Mapping[str, Any]], models: Mapping[str, ModelSpec]
) -> list[str]:
    """Let the running gateway load a configuration with the traffic of `models`.

    Args:
        resources: The resources in the state.

    Returns:
        The models whose traffic changed.

    Raises:
        OperationError: If the gateway does not load it.
    """
    for resource in resources:
        if str(resource["type"]).rpartition(":")[2] != _GATEWAY:
            continue
        outputs = resource["outputs"]
        config, shifted = shift_gateway_config(outputs["config"], models)
        if not shifted:
            return []
        try:
            gateway_process.reload(
                RunDir(Path(outputs["run_dir"])), {**outputs, "config": config}, outputs
            )
        except (RuntimeError, OSError, NotReadyError, SupervisorError) as error:
            raise OperationError(f"the gateway kept its traffic: {error}") from error
        return shifted
    return []

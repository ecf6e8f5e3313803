"""Requests move to another version while the gateway serves, without the engine."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from berth.errors import OperationError
from berth.platforms.local.shift_traffic import shift_traffic
from berth.spec import ModelSpec
from pulumi_berth.local import gateway_process, supervisord
from pulumi_berth.local.run_dir import RunDir
from tests.engine.project import Load, wait_for
from tests.gateway.fake_berth import FakeBerth
from tests.gateway.gateway_process import KEY, build_client, build_config, build_model

_NAME = "pulumi-python:dynamic/berth:GatewayProcess"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The outputs of a running gateway with all traffic for version 2 of digits."""
    run_dir = RunDir(tmp_path / "run")
    run_dir.create()
    run_dir.token.write_text("token")
    with ExitStack() as stack:
        berths = {v: stack.enter_context(FakeBerth(v).running()) for v in ("1", "2")}
        supervisord.start(run_dir)
        stack.callback(supervisord.stop, run_dir)
        client = build_client(rate_per_second=100_000.0, burst=100_000)
        model = build_model({v: berth.url for v, berth in berths.items()}, {"1": 0, "2": 100})
        inputs = {
            "run_dir": str(run_dir.path),
            "config": build_config(clients=[client], models={"digits": model}),
        }
        yield {**inputs, **gateway_process.start(run_dir, inputs, {})}


def create_spec(**traffic: int) -> dict[str, ModelSpec]:
    shares = {name.removeprefix("v"): percent for name, percent in traffic.items()}
    versions: dict[str, Any] = {"1": {"exposed": True}, "2": {"exposed": True}}
    return {"digits": ModelSpec.model_validate({"versions": versions, "traffic": shares})}


def test_requests_move_and_none_fails(gateway: dict[str, Any]) -> None:
    resources = [{"type": _NAME, "outputs": gateway}]
    load = Load(
        endpoint=gateway["endpoint"],
        headers={"x-api-key": KEY, "content-type": "application/json"},
        path="/v2/models/digits/infer",
        body=b"{}",
    )
    with load.running():
        wait_for(lambda: load.versions["2"] > 50)
        assert shift_traffic(resources, create_spec(v1=100, v2=0)) == ["digits"]
        before = load.versions["2"]
        wait_for(lambda: load.versions["1"] > 200)
    load.assert_no_failures()
    # Only requests that were in flight still reach the other version: one per client.
    assert load.versions["2"] - before <= 4
    # The state still has the earlier split, so the gateway differs from it until the next update.
    drift = gateway_process.find_drift(RunDir(Path(gateway["run_dir"])), gateway)
    assert drift is not None
    assert "was changed by another program" in drift
    # The function changes no model whose traffic is already the wanted one.
    assert shift_traffic(resources, create_spec(v1=0, v2=100)) == []


def test_gateway_that_ended_is_reported(gateway: dict[str, Any]) -> None:
    supervisord.stop(RunDir(Path(gateway["run_dir"])))
    with pytest.raises(OperationError, match="the gateway kept its traffic"):
        shift_traffic([{"type": _NAME, "outputs": gateway}], create_spec(v1=100, v2=0))

"""The resources of the local platform, with Pulumi's mocks instead of the engine."""

import json
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

from berth.platforms.local.deploy import deploy
from berth.spec import load_file
from berth_protocol.model_card import digest
from tests.repository import REPOSITORY


class _Engine(mocks.Mocks):
    """A mock engine that returns each provider's outputs and records the inputs."""

    def __init__(self) -> None:
        self.resources: dict[tuple[str, str], dict[str, Any]] = {}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], None]:
        raise NotImplementedError(args.token)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[Any, Any]]:
        kind = args.typ.split("/")[-1].split(":")[-1]
        self.resources[kind, args.name] = args.inputs
        outputs: dict[str, dict[str, Any]] = {
            "BerthProcess": {
                "process": f"{args.name}-abc",
                "port": 1.0,
                "url": f"http://{args.name}",
            },
            "GatewayProcess": {"endpoint": "http://gateway", "admin_listener_port": 2.0},
            "ApiKey": {"key": f"key-of-{args.name}"},
        }
        return f"{args.name}-id", {**args.inputs, **outputs.get(kind, {})}


@pytest.fixture(scope="module")
def engine() -> _Engine:
    engine = _Engine()
    mocks.set_mocks(engine)
    spec = load_file(REPOSITORY / "Pulumi.local.yaml")

    @pulumi.runtime.test  # type: ignore[untyped-decorator]
    def declare() -> pulumi.Output[Any]:
        return pulumi.Output.all(deploy(spec, stack="local", root=REPOSITORY))

    declare()
    return engine


def test_each_version_has_one_berth(engine: _Engine) -> None:
    berths = {name for kind, name in engine.resources if kind == "BerthProcess"}
    assert berths == {"digits-1", "digits-2", "breast-cancer-1"}


def test_berth_inputs_contain_digests_of_model_and_program(engine: _Engine) -> None:
    inputs = engine.resources["BerthProcess", "digits-2"]
    assert inputs["digest"] == digest(REPOSITORY / "models" / "digits" / "2")
    assert inputs["program_digest"].startswith("sha256:")


def test_gateway_inputs_contain_every_berth_and_weight(engine: _Engine) -> None:
    inputs = engine.resources["GatewayProcess", "gateway"]
    assert inputs["config"]["models"]["digits"] == {
        "versions": {"1": "http://digits-1", "2": "http://digits-2"},
        "own_containers": [],
        "exposed": ["1", "2"],
        "traffic": {"1": 90, "2": 10},
        "shares": [],
        "failover": True,
    }
    assert set(inputs["berths"]) == {"digits-1-abc", "digits-2-abc", "breast-cancer-1-abc"}


def test_gateway_inputs_contain_hashes_and_no_key(engine: _Engine) -> None:
    inputs = engine.resources["GatewayProcess", "gateway"]
    (key,) = inputs["config"]["clients"][0]["keys"]
    assert len(key["sha256"]) == 64
    assert "key-of-default" not in json.dumps(inputs, default=str)

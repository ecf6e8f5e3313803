"""Paths of the Open Inference Protocol: every built path parses to what it was built from."""

import subprocess
import sys

import pytest

from berth_protocol import paths
from berth_protocol.paths import Operation, Route, parse_path


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v2", Route(Operation.SERVER_METADATA)),
        ("/v2/health/live", Route(Operation.LIVE)),
        ("/v2/health/ready", Route(Operation.READY)),
        ("/v2/models/m", Route(Operation.MODEL_METADATA, "m")),
        ("/v2/models/m/ready", Route(Operation.MODEL_READY, "m")),
        ("/v2/models/m/infer", Route(Operation.INFER, "m")),
        ("/v2/models/m/versions/1", Route(Operation.MODEL_METADATA, "m", "1")),
        ("/v2/models/m/versions/1/ready", Route(Operation.MODEL_READY, "m", "1")),
        ("/v2/models/versions/versions/ready/infer", Route(Operation.INFER, "versions", "ready")),
    ],
)
def test_path_has_route(path: str, route: Route) -> None:
    assert parse_path(path) == route


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/v2/", "/v2/models", "/v2/models/", "/v2/models//infer", "/v2/models/m/",
        "/v2/models/m/versions", "/v2/models/m/infer/", "/v2/models/m/infer/more", "/v2/health",
        "/v2/models/m/stats", "/x/v2/models/m", "/metrics", "/v2/models/m/versions/1/..",
    ],
)  # fmt: skip
def test_unknown_path_has_no_route(path: str) -> None:
    assert parse_path(path) is None


@pytest.mark.parametrize("version", [None, "1"])
def test_built_path_parses_to_its_parts(version: str | None) -> None:
    builders = {
        paths.model_path: Operation.MODEL_METADATA,
        paths.model_ready_path: Operation.MODEL_READY,
        paths.infer_path: Operation.INFER,
    }
    for build, operation in builders.items():
        assert parse_path(build("m", version)) == Route(operation, "m", version)


def test_every_template_parses_to_its_operation() -> None:
    for template, operation in paths.PATH_TEMPLATES.items():
        route = parse_path(template.format(model="m", version="1"))
        assert route is not None
        assert route.operation is operation


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("paths", "uvicorn, numpy, yaml, msgspec"),
        ("headers", "uvicorn, numpy, yaml, msgspec"),
        ("model_card", "uvicorn, numpy, yaml, asyncio"),
        ("http_server", "numpy, yaml"),
        ("json_logs", "uvicorn, numpy, yaml"),
    ],
)
def test_module_does_not_import_more_than_it_uses(module: str, forbidden: str) -> None:
    """The command line imports some modules, and the gateway image lacks numpy and PyYAML."""
    check = (
        f"import sys, berth_protocol.{module}\n"
        f"print([name for name in {forbidden.split(', ')!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"

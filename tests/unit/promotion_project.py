"""A project with two stacks, a gateway and registries, for the tests of `berth promote`."""

import json
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from berth.operations.promotion.images import Side
from berth.operations.promotion.plan import Promotion, SourceState, plan_promotion
from berth.operations.update import Update
from berth.spec import load_file
from berth_protocol.model_card import digest
from tests.repository import REPOSITORY

SOURCE_FILE = """\
config:
  berth:platform: {platform}
  berth:models:
    digits:
      versions:
        "1": {{}}
        "2": {{}}
      traffic: {{"1": 50, "2": 50}}
      replicas: {{min: 1, max: 2}}
"""
TARGET_FILE = """\
# The production stack.
config:
  berth:platform: {platform}
  berth:models:
    # Owned by the vision team.
    digits:
      versions:
        "1": {{}}  # since May
      replicas: {{min: 3, max: 9}}  # peak load
  berth:gateway:
    clients:
      shop: {{rate_per_second: 50}}
"""


def registry_lines(url: str | None) -> str:
    """Return the lines of a configuration file that name a registry."""
    return "" if url is None else f"  berth:registry: {{url: {url}, plain_http: true}}\n"


@dataclass
class Project:
    """A project in `root` with the stacks dev and prod."""

    root: Path
    endpoint: str = "http://127.0.0.1:9"
    images: dict[str, str] = field(default_factory=dict)
    reports: dict[str, Any] = field(default_factory=dict)
    deployed_in_target: dict[str, Any] = field(default_factory=dict)

    def write(self, source: str, target: str) -> None:
        """Write the files of both stacks."""
        self.path("dev").write_text(source)
        self.path("prod").write_text(target)

    def path(self, stack: str) -> Path:
        return self.root / f"Pulumi.{stack}.yaml"

    def digest(self, version: str) -> str:
        return digest(self.root / "models" / "digits" / version)

    def config(self, stack: str) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load(self.path(stack).read_text())["config"]
        return loaded

    def outputs(self) -> dict[str, Any]:
        """Return the outputs of dev after an update with its present file."""
        entry = self.config("dev")["berth:models"]["digits"]
        return {
            "endpoint": self.endpoint,
            "api_keys": {"default": "k" * 24},
            "images": self.reports,
            "models": {
                "digits": {
                    "versions": {
                        version: {
                            "digest": self.digest(version),
                            "traffic": entry.get("traffic", {}).get(version, 0),
                            **({"image": self.images[version]} if version in self.images else {}),
                        }
                        for version in entry["versions"]
                    }
                }
            },
        }

    def state(self) -> SourceState:
        """Return what a backend records after a successful update with the present file."""
        config = self.config("dev")
        return SourceState(
            outputs=self.outputs(),
            history=[update(1, config)],
            config=config,
            secrets=frozenset(),
        )

    def plan(self, state: SourceState | None = None, **options: Any) -> Promotion:
        """Return the promotion from dev to prod."""
        state = state or self.state()
        options = {"compares_stacks": False, "sends_requests": False} | options
        return plan_promotion(
            self.root,
            Side(stack="dev", spec=load_file(self.path("dev")), outputs=state.outputs),
            Side(
                stack="prod",
                spec=load_file(self.path("prod")),
                outputs={"models": self.deployed_in_target} if self.deployed_in_target else {},
            ),
            state,
            **options,
        )


def create_project(root: Path) -> Project:
    """Create a project with the packaged versions 1 and 2 of the model digits."""
    shutil.copytree(REPOSITORY / "models" / "digits", root / "models" / "digits")
    (root / "Pulumi.yaml").write_text("name: shop\nruntime: python\nmain: infra\n")
    return Project(root)


def update(number: int, config: Mapping[str, Any], *, succeeded: bool = True) -> Update:
    """Return an update of a stack's history."""
    return Update(
        number=number,
        kind="update",
        succeeded=succeeded,
        config=config,
        secrets=frozenset(),
        commit=None,
        has_uncommitted_changes=False,
        ended="",
        changes={},
    )


def after_updates(state: SourceState, history: Sequence[Update]) -> SourceState:
    """Return the state with another history."""
    return replace(state, history=history)


@contextmanager
def serve_gateway(status: int = 200) -> Iterator[str]:
    """Serve a gateway that answers each request with a status, and return its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"outputs": []} if status == 200 else {"error": "no berth"}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write no log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""A release goes from a running stack to another: the checks, the diff, and what then serves."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from berth_protocol.model_card import digest, read_card
from tests.engine.project import Project
from tests.signed_stack import TRUSTED, Signer

_PROD = """\
# The production stack.
config:
  berth:platform: local
  berth:models:
    # Owned by the vision team.
    digits:
      versions:
        "1": {}  # since May
      serving: {max_batch: 64}
  berth:gateway:
    clients:
      shop: {rate_per_second: 50}
"""
_REFUSED = 1
_INVALID = 2


@pytest.fixture
def prod(project: Project) -> Iterator[Project]:
    """The project's other stack, which runs version 1."""
    (project.root / "Pulumi.prod.yaml").write_text(_PROD)
    prod = Project(project.root, "prod", project.environment)
    prod.berth("up", "--yes")
    yield prod
    prod.stop_processes()


def _promote(project: Project, *options: str, code: int = 0) -> Any:
    return project.json("promote", "local", "prod", *options, code=code)


def _failed(document: Any) -> dict[str, str]:
    """Return the details of the checks that failed."""
    return {
        each["check"]: each["detail"] for each in document["checks"] if each["status"] == "failed"
    }


@contextmanager
def _suspended(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_release_is_refused_until_its_checks_pass_and_then_serves(
    up: Project, prod: Project, tmp_path: Path
) -> None:
    before = prod.config_file.read_text()
    version = up.root / "models" / "digits" / "2"
    card = version / "model.yaml"

    # What the source runs is neither what its file says, nor what the project contains.
    up.edit(lambda config: config["berth:models"]["digits"].update(traffic={"1": 40, "2": 60}))
    card.write_text(card.read_text().replace("accuracy: 0.9926", "accuracy: 0.91"))
    failed = _failed(_promote(up, "--yes", code=_REFUSED))
    assert "digits.traffic.2" in failed["deployed"]
    assert "digits 2 in the project is sha256:" in failed["files"]
    up.berth("up", "--yes")
    failed = _failed(_promote(up, "--yes", code=_REFUSED))
    assert list(failed) == ["metrics"]
    assert "accuracy is worse, 0.9722 -> 0.91" in failed["metrics"]
    pid = up.berth_pid("digits", "2")
    assert pid is not None
    with _suspended(pid):
        failed = _failed(_promote(up, "--yes", "--accept-worse", code=_REFUSED))
    assert list(failed) == ["requests"]
    assert failed["requests"].startswith("digits 2: ")

    # The target requires signatures, and the versions of the release have none.
    signer = Signer.create(up, tmp_path)
    required = f"{before}  berth:require_signature: [{TRUSTED}]\n"
    prod.config_file.write_text(required)
    refused = up.berth("promote", "local", "prod", "--yes", "--accept-worse", code=_INVALID)
    assert "With the release, " in refused.stderr
    assert "models/digits/2 is not signed" in refused.stderr
    assert prod.config_file.read_text() == required
    for model, each in (("digits", "1"), ("digits", "2"), ("breast-cancer", "1")):
        up.berth("sign", model, each, "--key", str(signer.private))

    document = _promote(up, "--yes", "--accept-worse", "--pull-request")
    _check_pull_request(document, prod, required)
    prod.berth("up", "--yes")
    berth = prod.json("status")["models"]["digits"]["versions"]["2"]
    assert (berth["state"], berth["traffic"], berth["digest"]) == ("ready", 60, digest(version))
    key = prod.key("shop")
    response = httpx.post(
        f"{prod.json('status')['endpoint']}/v2/models/digits/versions/2/infer",
        json=read_card(version).example,
        headers={"x-api-key": key},
    )
    assert (response.status_code, response.json()["model_version"]) == (200, "2")
    again = _promote(up, "--dry-run", "--accept-worse")
    assert (again["changed"], again["diff"]) == (False, "")


def _check_pull_request(document: Any, prod: Project, before: str) -> None:
    """Check that the file changed as the pull request says, and no more than the release."""
    assert document["written"]
    lines = document["diff"].splitlines()
    changed = [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]
    added = {line for line in changed if line.startswith("+")}
    after = prod.config_file.read_text()
    assert set(after.splitlines()) - set(before.splitlines()) <= {line[1:] for line in added}
    assert len(changed) < 20, document["diff"]
    for kept in ("# Owned by the vision team.", "serving: {max_batch: 64}", "# since May"):
        assert kept in after
    request = document["pull_request"]
    assert request["branch"].startswith("promote-local-to-prod-")
    assert len(request["title"]) <= 72
    assert "digits" in request["title"]
    for part in ("accuracy", "0.91", "Owned by the vision team", "berth rollback -s prod"):
        assert part in request["body"], request["body"]

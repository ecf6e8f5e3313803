"""An API key is seen by its client and by nobody else."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.project import Project


@pytest.fixture(scope="module")
def up(project: Project) -> Iterator[Project]:
    project.edit(
        lambda c: c["berth:gateway"]["clients"].update(own={"rate_per_second": 10, "burst": 10})
    )
    project.berth("preview")  # makes the stack, whose key encrypts the secret
    project.pulumi(
        *("config", "set", "--secret", "--path", "berth:gateway.clients.own.key"),
        stdin="a-key-that-the-client-chose-itself",
    )
    project.berth("up", "--yes")
    yield project
    project.berth("destroy", "--yes")


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]


def test_keys_are_nowhere_in_clear(up: Project) -> None:
    up.berth("invoke", "digits", "--client", "own")
    up.berth("invoke", "digits", "--client", "default")
    keys = [up.key("own"), up.key("default")]
    assert keys[0] == "a-key-that-the-client-chose-itself"
    assert len(keys[1]) >= 32
    found = [
        (path, key) for path in _files(up.root) for key in keys if key.encode() in path.read_bytes()
    ]
    assert found == []


def test_keys_are_not_shown(up: Project) -> None:
    keys = [up.key("own"), up.key("default")]
    up.edit(lambda c: c["berth:gateway"]["clients"]["own"].update(burst=11))
    shown = [
        up.berth("preview"),
        up.berth("up", "--yes"),
        up.berth("status"),
        up.berth("status", "--json"),
        up.berth("logs", "-n", "1000"),
        up.pulumi("stack", "output"),
        up.pulumi("preview", "--diff"),
    ]
    for finished in shown:
        for key in keys:
            assert key not in finished.stdout + finished.stderr


def test_token_of_the_berths_is_only_in_its_file(up: Project) -> None:
    token = up.run_dir.token.read_bytes().strip()
    holders = [path for path in _files(up.root) if token in path.read_bytes()]
    assert holders == [up.run_dir.token]


def test_what_is_secret_is_the_owners_alone(up: Project) -> None:
    for path in (up.root / ".berth" / "passphrase", up.run_dir.token):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(up.run_dir.path.stat().st_mode) == 0o700


def test_processes_do_not_inherit_the_passphrase(up: Project) -> None:
    for process in up.marked():
        assert not [name for name in process.environ() if name.startswith("PULUMI_")]

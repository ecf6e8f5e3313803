"""API keys and tokens are visible only where they are needed."""

import stat
from pathlib import Path

import pytest

from tests.engine.project import Project

CLIENT_KEY = "a-key-that-the-client-chose-itself"


@pytest.fixture(scope="module")
def project(project: Project) -> Project:
    """The project with a client whose key is a secret in the configuration."""
    project.edit(
        lambda c: c["berth:gateway"]["clients"].update(own={"rate_per_second": 10, "burst": 10})
    )
    # The first command generates the passphrase, which encrypts the secret.
    project.berth("key", code=1)
    project.pulumi("stack", "init", "local")
    project.pulumi(
        *("config", "set", "--secret", "--path", "berth:gateway.clients.own.key"),
        stdin=CLIENT_KEY,
    )
    return project


def _list_files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]


def test_keys_are_in_no_file_in_plaintext(up: Project) -> None:
    up.berth("invoke", "digits", "--client", "own")
    up.berth("invoke", "digits", "--client", "default")
    keys = [up.key("own"), up.key("default")]
    assert keys[0] == CLIENT_KEY
    assert len(keys[1]) >= 32
    matches = [
        (path, key)
        for path in _list_files(up.root)
        for key in keys
        if key.encode() in path.read_bytes()
    ]
    assert matches == []


def test_commands_do_not_print_keys(up: Project) -> None:
    keys = [up.key("own"), up.key("default")]
    up.edit(lambda c: c["berth:gateway"]["clients"]["own"].update(burst=11))
    results = [
        up.berth("preview"),
        up.berth("up", "--yes"),
        up.berth("status"),
        up.berth("status", "--json"),
        up.berth("logs", "-n", "1000"),
        up.pulumi("stack", "output"),
        up.pulumi("preview", "--diff"),
    ]
    for result in results:
        for key in keys:
            assert key not in result.stdout + result.stderr


def test_token_of_berths_is_only_in_its_file(running: Project) -> None:
    token = running.run_dir.token.read_bytes().strip()
    files = [path for path in _list_files(running.root) if token in path.read_bytes()]
    assert files == [running.run_dir.token]


def test_secret_files_are_accessible_only_to_their_owner(running: Project) -> None:
    for path in (running.root / ".berth" / "passphrase", running.run_dir.token):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(running.run_dir.path.stat().st_mode) == 0o700


def test_processes_do_not_inherit_the_passphrase(running: Project) -> None:
    processes = running.find_processes()
    assert processes
    for process in processes:
        assert not [name for name in process.environ() if name.startswith("PULUMI_")]

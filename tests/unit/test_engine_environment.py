"""The environment of processes that run the engine."""

import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from berth.engine import Engine
from pulumi_berth.provider_host import install_python


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [key for key in os.environ if key.startswith("PULUMI_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("PATH", "/somewhere:/usr/bin:/bin")
    return Engine(tmp_path / "engine", "3.259.0")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_state_and_passphrase_are_stored_in_project(engine: Engine, tmp_path: Path) -> None:
    environment = engine.environment(tmp_path)
    assert environment["PULUMI_BACKEND_URL"] == f"file://{tmp_path}/.berth/state"
    passphrase = Path(environment["PULUMI_CONFIG_PASSPHRASE_FILE"])
    assert passphrase == tmp_path / ".berth" / "passphrase"
    assert len(passphrase.read_text()) >= 32
    assert mode(passphrase) == 0o600
    assert mode(tmp_path / ".berth") == mode(tmp_path / ".berth" / "state") == 0o700
    assert passphrase.read_text() not in "".join(environment.values())
    assert [entry.name for entry in (tmp_path / ".berth").iterdir() if entry.is_file()] == [
        "passphrase"
    ]


def test_backend_url_quotes_directory_name(engine: Engine, tmp_path: Path) -> None:
    root = tmp_path / "my project#1"
    root.mkdir()
    url = engine.environment(root)["PULUMI_BACKEND_URL"]
    assert url == f"file://{tmp_path}/my%20project%231/.berth/state"
    assert (root / ".berth" / "state").is_dir()


def test_passphrase_is_generated_once(engine: Engine, tmp_path: Path) -> None:
    first = engine.environment(tmp_path)
    text = (tmp_path / ".berth" / "passphrase").read_text()
    assert engine.environment(tmp_path) == first
    assert (tmp_path / ".berth" / "passphrase").read_text() == text


def test_simultaneous_first_runs_use_one_passphrase(engine: Engine, tmp_path: Path) -> None:
    seen: list[str] = []

    def read() -> None:
        path = engine.environment(tmp_path)["PULUMI_CONFIG_PASSPHRASE_FILE"]
        seen.append(Path(path).read_text())

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len(set(seen)) == 1


@pytest.mark.parametrize("name", ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
@pytest.mark.parametrize("value", ["mine", ""])
def test_users_passphrase_is_kept(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    environment = engine.environment(tmp_path)
    passphrases = {key: text for key, text in environment.items() if "PASSPHRASE" in key}
    assert passphrases == {name: value}
    assert not (tmp_path / ".berth" / "passphrase").exists()


def test_users_backend_is_kept(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://states")
    assert engine.environment(tmp_path)["PULUMI_BACKEND_URL"] == "s3://states"
    assert not (tmp_path / ".berth" / "state").exists()


def test_interpreter_and_engine_come_first_on_path(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/mine")
    monkeypatch.setenv("BERTH_TEST_MARK", "kept")
    environment = engine.environment(tmp_path)
    directory = str(Path(sys.executable).parent)
    assert environment["PATH"].split(":") == [
        directory,
        str(engine.directory),
        *("/somewhere", "/usr/bin", "/bin"),
    ]
    assert environment["PULUMI_PYTHON_CMD"] == str(install_python())
    assert environment["PYTHONPATH"] == "/mine"
    assert environment["BERTH_TEST_MARK"] == "kept"
    assert environment["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] == "true"
    if sys.prefix != sys.base_prefix:
        assert environment["VIRTUAL_ENV"] == sys.prefix


def test_engine_on_path_keeps_path_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "pulumi").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"/somewhere:{folder}:/bin")
    path = Engine(folder, "3.259.0").environment(tmp_path)["PATH"]
    assert path.split(":")[1:] == ["/somewhere", str(folder), "/bin"]

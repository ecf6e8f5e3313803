"""Dynamic providers in the state: only Berth's are loaded."""

import base64
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import dill  # type: ignore[import-untyped]
import pytest
from pulumi.dynamic import ResourceProvider
from pulumi.dynamic.dynamic import serialize_provider

from berth.errors import OperationError
from berth.operations.state_providers import check_providers, find_unknown_providers
from pulumi_berth import provider_host, providers
from pulumi_berth.provider_paths import (
    MODULE,
    PROVIDERS,
    ProviderPathError,
    check_pickle,
    is_known_provider,
)

_SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
           "ciphertext": "v1:abc"}  # fmt: skip


def _serialize(provider: Any) -> str:
    text: str = serialize_provider(provider)
    return text


class _Foreign(ResourceProvider):
    """A provider of another module."""


def _make_evil(path: Path) -> bytes:
    """Return a pickle that creates a file when it is loaded."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (path,)

    return pickle.dumps(Evil())


def test_list_contains_every_provider() -> None:
    defined = {
        name
        for name, value in vars(providers).items()
        if isinstance(value, type)
        and value.__module__ == MODULE
        and issubclass(value, ResourceProvider)
        and not name.startswith("_")
    }
    assert defined == set(PROVIDERS)


@pytest.mark.parametrize("name", PROVIDERS)
def test_provider_as_pulumi_serializes_it_is_known(name: str) -> None:
    text = _serialize(getattr(providers, name)())
    assert is_known_provider(text)
    assert type(dill.loads(check_pickle(base64.b64decode(text)))).__name__ == name


@pytest.mark.parametrize("name", PROVIDERS)
def test_later_protocol_is_known(name: str) -> None:
    provider = getattr(providers, name)()
    assert is_known_provider(base64.b64encode(pickle.dumps(provider, protocol=5)).decode())


def _with_attribute() -> ResourceProvider:
    provider = providers.ApiKeyProvider()
    provider.create = print  # type: ignore[method-assign, assignment]
    return provider


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        7,
        "not Base64 !",
        "A" * 100_000,
        _SECRET,
        _serialize(_Foreign()),
        _serialize(_with_attribute()),
        base64.b64encode(pickle.dumps(Path)).decode(),
        base64.b64encode(pickle.dumps(providers.ApiKeyProvider)).decode(),
        base64.b64encode(_make_evil(Path("x"))).decode(),
        _serialize(providers.ApiKeyProvider()) + "AAAA",
    ],
)
def test_other_values_are_not_known(value: object) -> None:
    assert not is_known_provider(value)


def _resource(kind: str, value: object, key: str = "inputs") -> dict[str, Any]:
    return {"urn": f"urn:{kind}", "type": kind, key: {"__provider": value}}


@pytest.mark.parametrize(
    "resource",
    [
        _resource("pulumi-python:dynamic/berth:ApiKey", "x"),
        _resource("pulumi-python:dynamic/berth:ApiKey", "x", "outputs"),
        _resource("pulumi-python:dynamic:Resource", _SECRET),
        _resource("pulumi-nodejs:dynamic:Resource", "exports.handler = ..."),
        {"urn": "urn:a", "type": "pulumi-nodejs:dynamic:Resource", "inputs": {"a": 1}},
        _resource("other:a:B", "x"),
    ],
)
def test_resource_with_another_provider_is_found(resource: dict[str, Any]) -> None:
    assert list(find_unknown_providers(iter([resource]))) == [resource["urn"]]


def test_resources_with_known_providers_and_others_are_accepted() -> None:
    known = _serialize(providers.ApiKeyProvider())
    resources = [
        _resource("pulumi-python:dynamic/berth:ApiKey", known),
        {"urn": "urn:b", "type": "aws:kms/key:Key", "inputs": {"enableKeyRotation": True}},
        {"urn": "urn:p", "type": "pulumi:providers:pulumi-python", "inputs": {}},
        None,
    ]
    assert list(find_unknown_providers(iter(resources))) == []


def _export(*resources: Any, pending: Any = ()) -> str:
    operations = [{"resource": resource, "type": "creating"} for resource in pending]
    return json.dumps(
        {"deployment": {"resources": list(resources), "pending_operations": operations}}
    )


@pytest.mark.parametrize("pending", [False, True])
def test_remote_state_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pending: bool
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://states")
    evil = _resource("pulumi-python:dynamic/berth:ApiKey", "x")
    text = _export(pending=[evil]) if pending else _export(evil)
    with pytest.raises(OperationError, match=r"names a dynamic provider outside pulumi_berth"):
        check_providers(tmp_path, "dev", lambda: text)
    check_providers(tmp_path, "dev", _export)
    check_providers(tmp_path, "dev", str)


def test_local_state_is_checked_without_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    (tmp_path / "Pulumi.yaml").write_text("name: berth\n")
    path = tmp_path / ".berth/state/.pulumi/stacks/berth/local.json"
    path.parent.mkdir(parents=True)
    resource = _resource("pulumi-python:dynamic/berth:ApiKey", "x")
    path.write_text(json.dumps({"checkpoint": {"latest": {"resources": [resource]}}}))

    def export() -> str:
        raise AssertionError("the engine was started")

    with pytest.raises(OperationError, match="Nothing was loaded or changed"):
        check_providers(tmp_path, "local", export)
    path.write_text(json.dumps({"checkpoint": {"latest": None}}))
    check_providers(tmp_path, "local", export)


def test_host_loads_only_known_providers(tmp_path: Path) -> None:
    """The host of the engine, with a module that loads a provider as Pulumi's host does."""
    target = tmp_path / "created"
    (tmp_path / "fake_host.py").write_text(
        "import base64, dill, sys\nprint(type(dill.loads(base64.b64decode(sys.argv[1]))).__name__)"
    )
    script = (
        "import runpy, sys\nfrom pulumi_berth import provider_host\n"
        "run = runpy.run_module\n"
        "runpy.run_module = lambda _, **options: run('fake_host', **options)\n"
        "provider_host.run()"
    )

    def load(data: bytes) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", script, base64.b64encode(data).decode()],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )

    known = load(base64.b64decode(_serialize(providers.ApiKeyProvider())))
    assert known.stdout.strip() == "ApiKeyProvider"
    refused = load(_make_evil(target))
    assert refused.returncode == 1
    assert "outside pulumi_berth.providers" in refused.stderr
    assert not target.exists()


def test_script_of_the_engine_runs_python_and_the_checking_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    program = provider_host.install_python()
    program.write_text("another")
    assert provider_host.install_python() == program

    def run(*arguments: str) -> str:
        return subprocess.run(
            [program, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    assert run("-c", "import sys; print(sys.executable)") == sys.executable
    module = "import sys; print(sys.orig_argv)"
    (tmp_path / "pulumi_berth").mkdir()
    (tmp_path / "pulumi_berth" / "__init__.py").touch()
    (tmp_path / "pulumi_berth" / "provider_host.py").write_text(module)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    started = run("-u", "-m", "pulumi.dynamic", "127.0.0.1:1")
    assert started == str([sys.executable, "-u", "-m", "pulumi_berth.provider_host", "127.0.0.1:1"])


@pytest.mark.slow
def test_script_of_the_engine_lists_the_same_packages_as_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arguments = ("-m", "pip", "list", "-v", "--format", "json")

    def list_packages(program: Path | str) -> list[tuple[str, str, str]]:
        packages = json.loads(
            subprocess.run(
                [program, *arguments], check=True, capture_output=True, text=True, cwd=tmp_path
            ).stdout
        )
        return sorted((each["name"], each["version"], each["location"]) for each in packages)

    packages = list_packages(provider_host.install_python())
    assert packages == list_packages(sys.executable)
    assert "pulumi_aws" in [name for name, _, _ in packages]


def test_list_of_packages_comes_from_the_interpreter_without_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__main__.py").write_text("raise SystemExit('pip runs')")
    (tmp_path / "interrupted-1.dist-info").mkdir()
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
    command: list[str | Path] = [
        provider_host.install_python(),
        "-m",
        "pip",
        "list",
        "-v",
        "--format",
        "json",
    ]
    packages = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert {"pulumi", "pulumi_aws"} <= {each["name"] for each in packages}
    assert "interrupted" not in {each["name"] for each in packages}


def test_changed_pickle_is_refused() -> None:
    with pytest.raises(ProviderPathError, match="restore an earlier version"):
        check_pickle(b"cos\nsystem\n(S'true'\ntR.")

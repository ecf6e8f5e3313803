"""The distribution: what a wheel contains and declares, built as `pip install .` builds it."""

import re
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.repository import REPOSITORY, SOURCES

PACKAGES = {
    "berth",
    "pulumi_berth",
    "berth_protocol",
    "berth_serving",
    "berth_gateway",
    "berth_data",
    "berth_policy",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel."""
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    finished = subprocess.run(
        [*command, "--quiet", "--wheel-dir", target, REPOSITORY],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    (path,) = target.glob("berth-*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode())


@pytest.mark.slow
def test_wheel_contains_only_the_berth_packages(wheel: zipfile.ZipFile) -> None:
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


@pytest.mark.slow
def test_wheel_contains_every_python_and_data_file(wheel: zipfile.ZipFile) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", *SOURCES], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    expected = {
        path.partition("/")[2] for path in tracked if path.split("/")[1] in PACKAGES
    }  # fmt: skip
    assert expected - set(wheel.namelist()) == set()
    assert len(expected) > 250


@pytest.mark.slow
@pytest.mark.usefixtures("wheel")
def test_building_a_wheel_leaves_nothing_in_the_checkout() -> None:
    """A later build would otherwise contain modules that have been removed since."""
    assert not (REPOSITORY / "build").exists()
    assert list(REPOSITORY.glob("*.egg-info")) == []


@pytest.mark.slow
@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_package_declares_its_types(wheel: zipfile.ZipFile, package: str) -> None:
    assert f"{package}/py.typed" in wheel.namelist()


@pytest.mark.slow
def test_metadata_declares_the_pinned_requirements(metadata: Message) -> None:
    pins = re.findall(r"^[a-zA-Z].*==.*$", (REPOSITORY / "requirements.txt").read_text(), re.M)
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert {_normalize(line) for line in required} == {_normalize(pin) for pin in pins}
    assert len(required) == len(pins)


def _normalize(requirement: str) -> tuple[str, str, str]:
    parsed = Requirement(requirement)
    return canonicalize_name(parsed.name), str(parsed.specifier), str(parsed.marker)


@pytest.mark.slow
def test_metadata_declares_an_extra_for_each_framework(metadata: Message) -> None:
    extras = set(metadata.get_all("Provides-Extra", []))
    assert extras == {
        *("package", "lightgbm", "xgboost", "torch", "transformers"),
        *("mlflow", "sign", "sigstore"),
    }


@pytest.mark.parametrize("lock", ["requirements", "requirements-package", "requirements-dev"])
def test_lock_file_contains_every_pin_with_hashes(lock: str) -> None:
    pins = re.findall(r"^[a-zA-Z].*==[^\s;]+", (REPOSITORY / "requirements.txt").read_text(), re.M)
    text = (REPOSITORY / f"{lock}.lock").read_text()
    locked = dict(
        re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)(?: ;[^\n]*?)? \\\n    --hash=", text, re.M)
    )
    normalized = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in locked.items()}
    for pin in pins:
        name, version = pin.split("==")
        assert normalized[re.sub(r"[-_.]+", "-", name).lower()] == version, pin


def test_no_module_computes_the_project_from_its_own_location() -> None:
    offending = [
        str(path.relative_to(REPOSITORY))
        for source in SOURCES
        for path in (REPOSITORY / source).rglob("*.py")
        if re.search(r"parents\[\d\]|__file__\)(\.resolve\(\))?\.parent\.parent", path.read_text())
    ]
    assert offending == []


@pytest.mark.slow
def test_scripts_exist(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    scripts = dict(re.findall(r"^(\S+) = (\S+)$", wheel.read(name).decode(), re.M))
    assert scripts == {
        "berth": "berth.cli.main:main",
        "pulumi-analyzer-policy-berth": "berth_policy.analyzer:main",
        "pulumi-resource-berth": "pulumi_berth.plugin:run",
    }
    for target in scripts.values():
        module = target.partition(":")[0].replace(".", "/")
        assert {f"{module}.py", f"{module}/__init__.py"} & set(wheel.namelist())

"""The `berth` script in a small project: real environments and a real pip, without a network."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.repository import REPOSITORY

COMMAND_LINE = """\
import json, os, sys
try:
    import tiny
except ImportError:
    tiny = None
print(json.dumps({
    "arguments": sys.argv[1:], "prefix": sys.prefix, "file": __file__, "directory": os.getcwd(),
    "tiny": tiny and tiny.VERSION,
}))
sys.exit(7 if "fail" in sys.argv else 0)
"""

PYPROJECT = """\
[project]
name = "small"

[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""

# Installs the package `berth` of the small project as an editable install does.
BACKEND = """\
import zipfile
from pathlib import Path

def build_editable(directory, *_):
    name = "small-1-py3-none-any.whl"
    with zipfile.ZipFile(Path(directory) / name, "w") as wheel:
        wheel.writestr("small.pth", str(Path.cwd() / "infra") + "\\n")
        info = "small-1.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: small\\nVersion: 1\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""


@dataclass
class Project:
    """A project that contains the script and a `berth` package that reports how it was run."""

    root: Path

    def tiny(self, version: int) -> str:
        """Build the package `tiny` and return the line of a lock file that installs it."""
        name = f"tiny-{version}-py3-none-any.whl"
        info = f"tiny-{version}.dist-info"
        files = {
            "tiny.py": f"VERSION = {version}\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
            f"{info}/RECORD": "",
        }
        with zipfile.ZipFile(self.root / name, "w") as wheel:
            for path, content in files.items():
                wheel.writestr(zipfile.ZipInfo(path), content)  # dated 1980: the hash is stable
        digest = hashlib.sha256((self.root / name).read_bytes()).hexdigest()
        return f"./{name} --hash=sha256:{digest}"

    def lock(self, *lines: str, names: tuple[str, ...] = ("requirements",)) -> None:
        for name in names:
            (self.root / f"{name}.lock").write_text("".join(f"{line}\n" for line in lines))

    def start(
        self, *arguments: str, command: Path | None = None, cwd: Path | None = None, **settings: str
    ) -> "subprocess.Popen[str]":
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        return subprocess.Popen(
            [command or self.root / "berth", *arguments],
            cwd=cwd or self.root,
            env=kept | {"PIP_NO_INDEX": "1"} | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self, *arguments: str, command: Path | None = None, cwd: Path | None = None, **settings: str
    ) -> "subprocess.CompletedProcess[str]":
        process = self.start(*arguments, command=command, cwd=cwd, **settings)
        stdout, stderr = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def new_project(root: Path) -> Project:
    for name in ("berth", "tools/environment.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, root / name)
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "backend.py").write_text(BACKEND)
    (root / "requirements.txt").touch()
    (root / "infra" / "berth").mkdir(parents=True)
    (root / "infra" / "berth" / "__init__.py").touch()
    (root / "infra" / "berth" / "__main__.py").write_text(COMMAND_LINE)
    project = Project(root)
    project.lock(
        project.tiny(1), names=("requirements", "requirements-package", "requirements-dev")
    )
    return project


@pytest.fixture(scope="module")
def first_runs(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Project, list["subprocess.CompletedProcess[str]"]]:
    """A project in which two first commands were started at the same time."""
    project = new_project(tmp_path_factory.mktemp("a project"))
    processes = [project.start("up", "a b", f"{n}") for n in range(2)]
    results = []
    for process in processes:
        stdout, stderr = process.communicate(timeout=120)
        results.append(subprocess.CompletedProcess("", process.returncode, stdout, stderr))
    return project, results


@pytest.fixture
def project(
    first_runs: tuple[Project, list["subprocess.CompletedProcess[str]"]],
) -> Project:
    """The same project, with its environment created and its original lock file."""
    project, _ = first_runs
    project.lock(project.tiny(1))
    return project


@pytest.mark.slow
def test_simultaneous_first_runs_create_one_environment(
    first_runs: tuple[Project, list["subprocess.CompletedProcess[str]"]],
) -> None:
    project, results = first_runs
    assert [result.returncode for result in results] == [0, 0], results
    for n, result in enumerate(results):
        assert json.loads(result.stdout) == {
            "arguments": ["up", "a b", f"{n}"],
            "prefix": str(project.root / ".venv"),
            "file": str(project.root / "infra" / "berth" / "__main__.py"),
            "directory": str(project.root),
            "tiny": 1,
        }
    progress = "".join(result.stderr for result in results)
    assert progress.count("creating a Python 3.") == 1
    assert progress.count("installing the packages of requirements.lock") == 1
    assert not (project.root / ".berth" / "environment.unfinished").exists()


@pytest.mark.slow
def test_second_run_is_silent_and_returns_the_exit_code(project: Project) -> None:
    project.run()
    result = project.run("fail")
    assert (result.returncode, result.stderr) == (7, "")


@pytest.mark.slow
def test_script_works_from_any_directory_and_through_links(
    project: Project, tmp_path: Path
) -> None:
    project.run()
    elsewhere = tmp_path / "elsewhere"
    # A package with the same name in the working directory must not be imported.
    elsewhere.mkdir()
    (elsewhere / "berth.py").write_text("print('wrong')")
    (tmp_path / "berth-relative").symlink_to(os.path.relpath(project.root / "berth", tmp_path))
    (elsewhere / "berth").symlink_to("../berth-relative")
    for command in (elsewhere / "berth", Path("berth"), Path("./berth")):
        settings = {"PATH": f"{elsewhere}:{os.environ['PATH']}"}
        result = project.run("up", command=command, cwd=elsewhere, **settings)
        report = json.loads(result.stdout)
        assert report["file"] == str(project.root / "infra" / "berth" / "__main__.py")
        assert report["directory"] == str(elsewhere)


@pytest.mark.slow
def test_changed_lock_file_installs_again(project: Project) -> None:
    project.run()
    project.lock(project.tiny(2))
    result = project.run()
    assert "installing the packages of requirements.lock" in result.stderr
    assert "creating a Python" not in result.stderr
    assert json.loads(result.stdout)["tiny"] == 2
    assert project.run().stderr == ""


@pytest.mark.slow
def test_package_and_test_commands_install_their_own_lock_files(project: Project) -> None:
    project.run()
    assert "requirements-package.lock" in project.run("package").stderr
    assert "requirements-dev.lock" in project.run("test").stderr
    # The last lock file contains the packages of the others.
    for command in ("up", "package", "test"):
        assert project.run(command).stderr == ""


@pytest.mark.slow
def test_failed_install_is_reported_and_repeated(project: Project) -> None:
    project.run()
    project.lock(f"no-such-package-at-all==1 --hash=sha256:{'0' * 64}")
    result = project.run()
    assert (result.returncode, result.stdout) == (1, "")
    assert "no-such-package-at-all==1" in result.stderr
    project.lock(project.tiny(1))
    result = project.run()
    assert json.loads(result.stdout)["tiny"] == 1
    assert "creating a Python" not in result.stderr


@pytest.mark.slow
def test_changed_package_content_is_rejected(project: Project) -> None:
    project.run()
    line = project.tiny(3)
    with zipfile.ZipFile(project.root / "tiny-3-py3-none-any.whl", "a") as wheel:
        wheel.writestr("planted.py", "")
    project.lock(line)
    result = project.run()
    assert (result.returncode, result.stdout) == (1, "")
    assert "HASHES" in result.stderr


def create_command(directory: Path, name: str, script: str) -> str:
    """Create a shell script, and return a PATH that finds it first."""
    directory.mkdir()
    file = directory / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


def read_installer(project: Project) -> str:
    """Return which program has installed the package `tiny`."""
    (file,) = (project.root / ".venv" / "lib").glob("*/site-packages/tiny-*.dist-info/INSTALLER")
    return file.read_text().strip()


@pytest.mark.slow
def test_uv_installs_the_packages_and_checks_their_hashes(project: Project, tmp_path: Path) -> None:
    uv = REPOSITORY / ".venv" / "bin" / "uv"
    if not uv.exists():
        pytest.skip("the environment was installed without uv")
    path = create_command(tmp_path / "bin", "uv", f'exec "{uv}" "$@"')
    project.run()
    project.lock(project.tiny(4))
    assert json.loads(project.run(PATH=path).stdout)["tiny"] == 4
    assert read_installer(project) == "uv"
    project.lock(project.tiny(5).replace("sha256:", "sha256:0")[:-1])
    result = project.run(PATH=path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "HASHES" in result.stderr


@pytest.mark.slow
def test_pip_installs_what_uv_cannot(project: Project, tmp_path: Path) -> None:
    project.run()
    project.lock(project.tiny(6))
    result = project.run(PATH=create_command(tmp_path / "bin", "uv", "exit 2"))
    assert json.loads(result.stdout)["tiny"] == 6
    assert read_installer(project) == "pip"


@pytest.mark.slow
def test_uv_receives_settings_of_pip(project: Project, tmp_path: Path) -> None:
    project.run()
    project.lock(project.tiny(7))
    record = tmp_path / "arguments"
    project.run(
        PATH=create_command(tmp_path / "bin", "uv", f'echo "$@" > "{record}"'),
        PIP_CONFIG_FILE=os.devnull,
        PIP_INDEX_URL="https://index.test/simple",
        PIP_EXTRA_INDEX_URL="https://one.test https://two.test",
        PIP_TRUSTED_HOST="index.test",
        PIP_CERT="/ca.pem",
    )
    expected = {
        "--index-url=https://index.test/simple",
        "--extra-index-url=https://one.test",
        "--extra-index-url=https://two.test",
        "--allow-insecure-host=index.test",
        "--cert=/ca.pem",
        "--no-index",  # Every run of these tests has PIP_NO_INDEX=1.
    }
    assert expected <= set(record.read_text().split())


@pytest.mark.slow
def test_interrupted_install_creates_the_environment_again(project: Project) -> None:
    project.run()
    with socket.create_server(("127.0.0.1", 0)) as index:
        project.lock(f"from-an-index==1 --hash=sha256:{'0' * 64}")
        url = f"http://127.0.0.1:{index.getsockname()[1]}/"
        process = project.start(PIP_NO_INDEX="0", PIP_INDEX_URL=url, no_proxy="127.0.0.1")
        index.settimeout(60)
        connection, _ = index.accept()  # pip has sent a request and receives no response
        with connection:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    project.lock(project.tiny(1))
    result = project.run()
    assert "interrupted" in result.stderr
    assert json.loads(result.stdout)["tiny"] == 1
    assert project.run().stderr == ""


@pytest.mark.parametrize("version", ["Python 3.10.2", None])
def test_missing_or_old_python_is_reported(tmp_path: Path, version: str | None) -> None:
    project = new_project(tmp_path / "project")
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("cat", "cmp", "readlink"):
        (directory / name).symlink_to(str(shutil.which(name)))
    if version:
        old = directory / "python3"
        old.write_text(f'#!/bin/sh\n[ "$1" != --version ] && exit 1\necho {version}\n')
        old.chmod(0o755)
    result = project.run("up", PATH=str(directory))
    assert (result.returncode, result.stdout) == (1, "")
    assert "Python 3.11 or newer is required" in result.stderr
    assert f"found: {version or 'no python3'}" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_python_without_venv_is_reported(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "venv.py").write_text("import sys; sys.exit('ensurepip is not available')")
    result = project.run("up", PYTHONPATH=str(broken))
    assert (result.returncode, result.stdout) == (1, "")
    assert "ensurepip is not available" in result.stderr
    assert "python3-venv" in result.stderr

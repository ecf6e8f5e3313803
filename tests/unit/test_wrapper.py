"""The `berth` script, in a small project of its own: real environments, real pip, no network."""

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

CLI = """\
import json, os, sys
try:
    import tiny
except ImportError:
    tiny = None
print(json.dumps({
    "arguments": sys.argv[1:], "prefix": sys.prefix, "file": __file__, "folder": os.getcwd(),
    "tiny": tiny and tiny.VERSION,
}))
sys.exit(7 if "fail" in sys.argv else 0)
"""


@dataclass
class Project:
    """A project with the wrapper and nothing else of Berth."""

    root: Path

    def wheel(self, version: int) -> str:
        """A package `tiny` of this version, as pip takes it; its name relative to the root."""
        name = f"tiny-{version}-py3-none-any.whl"
        info = f"tiny-{version}.dist-info"
        with zipfile.ZipFile(self.root / name, "w") as wheel:
            wheel.writestr("tiny.py", f"VERSION = {version}\n")
            wheel.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n"
            )
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
        return f"./{name}"

    def require(self, *lines: str, name: str = "requirements") -> None:
        (self.root / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))

    def start(
        self, *arguments: str, command: Path | None = None, cwd: Path | None = None, **settings: str
    ) -> "subprocess.Popen[str]":
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        return subprocess.Popen(
            [command or self.root / "berth", *arguments],
            cwd=cwd or self.root,
            env=kept | {"PIP_NO_INDEX": "1"} | settings,
            stdin=subprocess.DEVNULL,
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
    (root / "pyproject.toml").write_text("[project]\nname = 'small'\n")
    (root / "infra").mkdir()
    (root / "infra" / "__init__.py").touch()
    (root / "infra" / "cli.py").write_text(CLI)
    project = Project(root)
    project.require(project.wheel(1))
    project.require(name="requirements-package")
    project.require("-r requirements.txt", "-r requirements-package.txt", name="requirements-dev")
    return project


@pytest.fixture(scope="module")
def first_runs(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Project, list["subprocess.CompletedProcess[str]"]]:
    """A project that two first commands were started in at once."""
    project = new_project(tmp_path_factory.mktemp("a project"))
    started = [project.start("up", "a b", f"{n}") for n in range(2)]
    ended = []
    for process in started:
        stdout, stderr = process.communicate(timeout=120)
        ended.append(subprocess.CompletedProcess("", process.returncode, stdout, stderr))
    return project, ended


@pytest.fixture
def project(
    first_runs: tuple[Project, list["subprocess.CompletedProcess[str]"]],
) -> Project:
    """The same project, with its environment made and its first requirements wanted."""
    found, _ = first_runs
    found.require(found.wheel(1))
    return found


def test_first_runs_at_once_make_one_environment_and_print_only_the_result(
    first_runs: tuple[Project, list["subprocess.CompletedProcess[str]"]],
) -> None:
    project, ended = first_runs
    assert [run.returncode for run in ended] == [0, 0], ended
    for n, run in enumerate(ended):
        assert json.loads(run.stdout) == {
            "arguments": ["up", "a b", f"{n}"],
            "prefix": str(project.root / ".venv"),
            "file": str(project.root / "infra" / "cli.py"),
            "folder": str(project.root),
            "tiny": 1,
        }
    progress = "".join(run.stderr for run in ended)
    assert progress.count("making a Python 3.") == 1
    assert progress.count("installing requirements.txt") == 1
    assert not (project.root / ".berth" / "environment.unfinished").exists()


def test_a_warm_call_says_nothing_and_passes_the_exit_code_on(project: Project) -> None:
    project.run()
    ended = project.run("fail")
    assert (ended.returncode, ended.stderr) == (7, "")


def test_works_from_any_folder_and_through_links(project: Project, tmp_path: Path) -> None:
    project.run()
    elsewhere = tmp_path / "elsewhere"
    # A package of the same name in the caller's folder is not the project's.
    (elsewhere / "infra").mkdir(parents=True)
    (elsewhere / "infra" / "cli.py").write_text("print('wrong')")
    (tmp_path / "berth-relative").symlink_to(os.path.relpath(project.root / "berth", tmp_path))
    (elsewhere / "berth").symlink_to("../berth-relative")
    for command in (elsewhere / "berth", Path("berth"), Path("./berth")):
        settings = {"PATH": f"{elsewhere}:{os.environ['PATH']}"}
        ended = project.run("up", command=command, cwd=elsewhere, **settings)
        found = json.loads(ended.stdout)
        assert found["file"] == str(project.root / "infra" / "cli.py")
        assert found["folder"] == str(elsewhere)


def test_a_change_of_the_requirements_installs_again(project: Project) -> None:
    project.run()
    project.require(project.wheel(2))
    ended = project.run()
    assert "installing requirements.txt" in ended.stderr
    assert "making a Python" not in ended.stderr
    assert json.loads(ended.stdout)["tiny"] == 2
    assert project.run().stderr == ""


def test_commands_with_needs_of_their_own_install_them_then(project: Project) -> None:
    project.run()
    assert "requirements-package.txt" in project.run("package").stderr
    assert "requirements-dev.txt" in project.run("test").stderr
    # The last holds the others: nothing is left to do for them.
    for command in ("up", "package", "test"):
        assert project.run(command).stderr == ""


def test_a_failed_install_is_told_and_done_by_the_next_call(project: Project) -> None:
    project.run()
    project.require("no-such-package-at-all==1")
    ended = project.run()
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "no-such-package-at-all==1" in ended.stderr
    project.require(project.wheel(1))
    ended = project.run()
    assert json.loads(ended.stdout)["tiny"] == 1
    assert "making a Python" not in ended.stderr


def test_an_interrupted_install_is_made_anew(project: Project) -> None:
    project.run()
    with socket.create_server(("127.0.0.1", 0)) as index:
        project.require("from-an-index==1")
        url = f"http://127.0.0.1:{index.getsockname()[1]}/"
        process = project.start(PIP_NO_INDEX="0", PIP_INDEX_URL=url, no_proxy="127.0.0.1")
        index.settimeout(60)
        asking, _ = index.accept()  # pip is at work, and gets no answer
        with asking:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    project.require(project.wheel(1))
    ended = project.run()
    assert "interrupted" in ended.stderr
    assert json.loads(ended.stdout)["tiny"] == 1
    assert project.run().stderr == ""


@pytest.mark.parametrize("version", ["Python 3.10.2", None])
def test_without_a_fitting_python_it_says_what_to_install(
    tmp_path: Path, version: str | None
) -> None:
    project = new_project(tmp_path / "project")
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("cat", "cmp", "readlink"):
        (folder / name).symlink_to(str(shutil.which(name)))
    if version:
        old = folder / "python3"
        old.write_text(f'#!/bin/sh\n[ "$1" != --version ] && exit 1\necho {version}\n')
        old.chmod(0o755)
    ended = project.run("up", PATH=str(folder))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Python 3.11 or newer is needed" in ended.stderr
    assert f"found: {version or 'no python3'}" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_python_without_venv_is_told(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "venv.py").write_text("import sys; sys.exit('ensurepip is not available')")
    ended = project.run("up", PYTHONPATH=str(broken))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "ensurepip is not available" in ended.stderr
    assert "python3-venv" in ended.stderr

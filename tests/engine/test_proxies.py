"""Proxies of the environment do not stop a local stack."""

from tests.engine.project import Project


def test_commands_work_with_unreachable_proxy(new_project: Project) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        new_project.environment[name] = "http://127.0.0.1:9"
        new_project.environment[name.upper()] = "http://127.0.0.1:9"
    output = new_project.berth("up", "--yes").stdout
    assert "curl -s --noproxy '*' http://127.0.0.1:" in output
    assert new_project.json("status")["gateway"] == "ready"
    assert new_project.json("invoke", "digits")["model_name"] == "digits"
    # A rollback runs the preview and the update as two commands of the engine.
    new_project.berth("rollback", "--yes")
    new_project.berth("destroy", "--yes")

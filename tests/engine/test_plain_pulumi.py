"""A user with Pulumi and the active environment works without the `berth` command."""

from tests.engine.project import Project


def test_plain_pulumi_deploys_and_destroys(new_project: Project) -> None:
    new_project.pulumi("stack", "init", "local")
    new_project.pulumi("up", "--yes")
    endpoint = new_project.pulumi("stack", "output", "endpoint").stdout.strip()
    assert endpoint == new_project.json("status")["endpoint"]
    new_project.pulumi("preview", "--expect-no-changes")
    new_project.pulumi("refresh", "--yes", "--expect-no-changes")
    assert new_project.json("invoke", "digits")["model_name"] == "digits"
    new_project.pulumi("destroy", "--yes")
    assert new_project.find_processes() == []


def test_plain_pulumi_rejects_invalid_specification(new_project: Project) -> None:
    new_project.pulumi("stack", "init", "local")
    new_project.edit(lambda c: c["berth:models"]["digits"].update(trafic={"1": 100}))
    rejected = new_project.pulumi("up", "--yes", code=None)
    assert rejected.returncode != 0
    assert "trafic" in rejected.stdout + rejected.stderr
    assert "Traceback" not in rejected.stdout + rejected.stderr

"""Without the wrapper: somebody who has Pulumi and the environment active uses `pulumi` alone."""

from tests.engine.project import Project


def test_pulumi_alone_brings_the_stack_up_and_down(project: Project) -> None:
    project.pulumi("stack", "init", "local")
    project.pulumi("up", "--yes")
    endpoint = project.pulumi("stack", "output", "endpoint").stdout.strip()
    assert endpoint == project.json("status")["endpoint"]
    project.pulumi("preview", "--expect-no-changes")
    project.pulumi("refresh", "--yes", "--expect-no-changes")
    assert project.json("invoke", "digits")["model_name"] == "digits"
    project.pulumi("destroy", "--yes")
    assert project.marked() == []


def test_pulumi_alone_refuses_a_wrong_specification(project: Project) -> None:
    project.edit(lambda c: c["berth:models"]["digits"].update(trafic={"1": 100}))
    refused = project.pulumi("up", "--yes", code=None)
    assert refused.returncode != 0
    assert "trafic" in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stdout + refused.stderr

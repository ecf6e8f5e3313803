"""The engine's output without a terminal: each error once, and no Python traceback."""

from berth.operations.engine_output import clean_lines

_FAILED_UPDATE = """\
Updating (local):
@ updating......
 +  berth:local:Berth digits-2 creating (0s)
 +  pulumi-python:dynamic/berth:BerthProcess digits-2 creating (0s)
@ updating........
 +  pulumi-python:dynamic/berth:BerthProcess digits-2 creating (4s) error: Exception calling application: Process digits-2 exited: no such file
 +  pulumi-python:dynamic/berth:BerthProcess digits-2 **creating failed** error: Exception calling application: Process digits-2 exited: no such file
    pulumi:pulumi:Stack demo-local running error: update failed
@ updating....
    pulumi:pulumi:Stack demo-local **failed** 1 error
 +  berth:local:Berth digits-2 created
Diagnostics:
  pulumi-python:dynamic/berth:BerthProcess (digits-2):
    error: Exception calling application: Process digits-2 exited: no such file

  pulumi:pulumi:Stack (demo-local):
    error: update failed

Resources:
    + 1 created
"""  # noqa: E501
_FAILED_PROGRAM = """\
Previewing update (local):
    pulumi:pulumi:Stack demo-local  error: Program failed with an unhandled exception:
Traceback (most recent call last):
  File "/x/pulumi-language-python-exec", line 191, in <module>
    loop.run_until_complete(coro)
ValueError: the model has no card
    pulumi:pulumi:Stack demo-local **failed** 1 error
Diagnostics:
  pulumi:pulumi:Stack (demo-local):
    error: Program failed with an unhandled exception:
    Traceback (most recent call last):
      File "/x/pulumi-language-python-exec", line 191, in <module>
        loop.run_until_complete(coro)
      File "/x/infra/__main__.py", line 3, in <module>
    ValueError: the model has no card
"""


def _clean(text: str) -> str:
    return "".join(clean_lines(text.splitlines(keepends=True)))


def test_error_of_a_provider_is_shown_once_without_the_prefix_of_grpc() -> None:
    output = _clean(_FAILED_UPDATE)
    assert output.count("no such file") == 1
    assert "    error: Process digits-2 exited: no such file\n" in output
    assert output.count("update failed") == 1
    assert "BerthProcess digits-2 **creating failed**\n" in output
    assert output.endswith("Resources:\n    + 1 created\n")


def test_exception_of_a_program_is_shown_once_without_its_traceback() -> None:
    output = _clean(_FAILED_PROGRAM)
    assert output.count("the model has no card") == 1
    assert "    error: the model has no card\n" in output
    assert "Traceback" not in output
    assert "File " not in output
    assert "ValueError" not in output


def test_output_without_an_error_is_unchanged() -> None:
    text = 'Updating (local):\n ~  a:b:C error-model update [diff: ~x]\n\nOutputs:\n    e: "x"\n'
    assert _clean(text) == text

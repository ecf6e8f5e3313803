"""Commands inside containers of Berth's images, which have Python and neither a shell nor curl."""

from berth_protocol.headers import TOKEN

_PYTHON = "/usr/bin/python3"
# Without the site module and the user's environment, Python starts in about 15 ms.
ISOLATED_PYTHON = [_PYTHON, "-I", "-S", "-c"]
"""Command that runs Python code in Berth's images."""
_GET = """\
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 3)
s.sendall(f"GET {sys.argv[2]} HTTP/1.0\\r\\n\\r\\n".encode())
s.settimeout(3)
t = b""
while d := s.recv(65536):
    t += d
h, _, b = t.partition(b"\\r\\n\\r\\n")
sys.stdout.write(b.decode())
if h[9:12] != b"200":
    sys.exit(1)
"""
_EXPECT = """\
sys.exit(sys.argv[3] not in b.decode())
"""


# The token is read in the container, so that it is in no list of processes.
_GET_WITH_TOKEN = _GET.replace(
    '\\r\\n\\r\\n".encode',
    f'\\r\\n{TOKEN}: {{open(sys.argv[3]).read().strip()}}\\r\\n\\r\\n".encode',
).replace("sys.stdout.write(b.decode())", "sys.stdout.buffer.write(b)")


def build_get_with_token_command(port: int, path: str, token_file: str) -> list[str]:
    """Return a command that prints the body of a response to a request with the berth's token.

    Args:
        port: TCP port on the container's loopback interface.
        token_file: Path of the token in the container.
    """
    return [*ISOLATED_PYTHON, _GET_WITH_TOKEN, str(port), path, token_file]


def build_get_command(port: int, path: str, *, expected: str | None = None) -> list[str]:
    """Return a command that prints the body of a response, and fails unless its status is 200.

    Args:
        port: TCP port on the container's loopback interface.
        expected: Text without which in the body the command also fails. Defaults to any body.
    """
    if expected is None:
        return [*ISOLATED_PYTHON, _GET, str(port), path]
    return [*ISOLATED_PYTHON, _GET + _EXPECT, str(port), path, expected]

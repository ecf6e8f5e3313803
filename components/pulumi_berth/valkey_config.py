"""The configuration of Valkey, on every platform."""

from berth_gateway.limits.valkey_scripts import build_permissions

PORT = 6379
USER = "gateway"
# Every answered decision is in the log file, which is on disk within a second. The data of 300
# clients, the most that a stack can have, takes less than 1 MB.
_CONFIG = f"""\
port {PORT}
bind * -::*
dir {{directory}}
save ""
appendonly yes
appendfsync everysec
auto-aof-rewrite-min-size 8mb
maxmemory 96mb
maxmemory-policy noeviction
user default off
user {USER} on #{{sha256}} {build_permissions("*")}
"""


def build_config(password_sha256: str, directory: str) -> str:
    """Return the server's configuration file, which contains the password only as SHA-256.

    Args:
        password_sha256: SHA-256 of the gateways' password, as hexadecimal digits.
        directory: Directory of the data.
    """
    return _CONFIG.format(sha256=password_sha256, directory=directory)

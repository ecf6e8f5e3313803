"""Run the gateway: `python -m berth_gateway` serves until SIGTERM."""

import os
import signal
import sys

# SIGHUP requests a reload. Before the first configuration is read, it must not end the process.
signal.signal(signal.SIGHUP, signal.SIG_IGN)

from berth_gateway.server import run  # noqa: E402

sys.exit(run(os.environ))

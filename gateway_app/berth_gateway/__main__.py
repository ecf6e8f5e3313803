"""`python -m berth_gateway`: read the settings, then serve until SIGTERM."""

import os
import signal
import sys

# A reload asked for before the table was read is moot, and must not end the process.
signal.signal(signal.SIGHUP, signal.SIG_IGN)

from berth_gateway.server import run  # noqa: E402

sys.exit(run(os.environ))

"""`python -m berth_serving`: serve one model version until SIGTERM."""

import os
import sys

from berth_serving.server import run

if __name__ == "__main__":
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.exit(run(os.environ))

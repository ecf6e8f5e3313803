"""The checks of `berth preflight` on AWS: what AWS would refuse in the middle of an update.

Each check reads only. All run at the same time and end within seconds. What an account does not
let the caller read, or an emulator does not have, is reported as not checked.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError

from berth.platforms.aws.errors import REQUEST_ERRORS, flatten_error
from berth.platforms.aws.preflight_checks import CHECKS, Check, Subject
from berth.platforms.preflight import Finding, Status
from berth.platforms.stack_context import StackContext
from pulumi_berth.aws_identity import read_identity

_DEADLINE_SECONDS = 40.0


def run_checks(context: StackContext, deadline: float = _DEADLINE_SECONDS) -> list[Finding]:
    """Return what every check found.

    Args:
        deadline: Time limit for all checks together, in seconds. What takes longer is not checked.
    """
    subject = Subject(context=context, identity=read_identity(context.spec.aws))
    found: list[Finding] = []
    end = time.monotonic() + deadline
    pool = ThreadPoolExecutor(max_workers=len(CHECKS))
    futures = {name: pool.submit(_run, check, subject) for name, check in CHECKS.items()}
    for name, future in futures.items():
        try:
            found += future.result(timeout=max(0.0, end - time.monotonic()))
        except FutureTimeoutError:
            detail = f"AWS did not respond within {deadline:g} s."
            found.append(Finding(check=name, status=Status.NOT_CHECKED, detail=detail))
        except REQUEST_ERRORS as error:
            found.append(_not_checked(name, error))
    pool.shutdown(wait=False, cancel_futures=True)
    return found


def _run(check: Check, subject: Subject) -> list[Finding]:
    return list(check(subject))


def _not_checked(name: str, error: Exception) -> Finding:
    return Finding(check=name, status=Status.NOT_CHECKED, detail=f"{flatten_error(error)}.")

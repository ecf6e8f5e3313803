"""A line of a log, for a person and for a machine."""

import json


def as_text(process: str, line: str) -> str:
    """The line, with the process or pod that wrote it."""
    return f"{process}: {line}"


def as_json(process: str, line: str) -> str:
    """The same as one JSON object; a line that is none itself becomes its `message`."""
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        record = {"message": line}
    return json.dumps({"process": process, **record})

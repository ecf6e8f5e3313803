"""The format of a log line that `berth logs` prints."""

import json


def format_text(process: str, line: str) -> str:
    """Return the line with the name of the process or Pod that wrote it."""
    return f"{process}: {line}"


def format_json(process: str, line: str) -> str:
    """Return one JSON object. A line that is not a JSON object becomes its `message`."""
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        record = {"message": line}
    return json.dumps({"process": process, **record})

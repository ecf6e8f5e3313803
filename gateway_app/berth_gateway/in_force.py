"""What is in force: a table with all that is looked up in it, swapped whole on reload."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from berth_gateway.keys import clients_by_digest
from berth_gateway.table import Client, Table, TableError, parse_table
from berth_gateway.traffic import Split


@dataclass(frozen=True)
class InForce:
    """One table in force. A request keeps the one it began with.

    Attributes:
        table: clients, limits and routes.
        table_sha256: of the file's bytes, which tells a platform that its table is the one.
        clients: by name.
        owners: sha256 (hex) of a key -> its client.
        splits: model -> its traffic.
        token: what berths want as `x-berth-token`; None when they want none.
    """

    table: Table
    table_sha256: str
    clients: dict[str, Client]
    owners: dict[str, Client]
    splits: dict[str, Split]
    token: str | None


def load(table_file: Path, token_file: Path | None, before: InForce | None) -> InForce:
    """Read the files. A model whose weights are as `before` goes on where its split was.

    Raises:
        TableError: a file cannot be read, or the table cannot be used.
    """
    text = _read(table_file)
    try:
        table = parse_table(text)
    except TableError as error:
        raise TableError(f"{table_file}: {error}") from error
    splits = {name: Split(model.traffic) for name, model in table.models.items()}
    if before is not None:
        for name, split in splits.items():
            old = before.splits.get(name)
            if old is not None and old.weights == split.weights:
                splits[name] = old
    return InForce(
        table=table,
        table_sha256=hashlib.sha256(text).hexdigest(),
        clients={client.name: client for client in table.clients},
        owners=clients_by_digest(table.clients),
        splits=splits,
        token=_token(token_file) if token_file is not None else None,
    )


def _token(token_file: Path) -> str:
    token = _read(token_file).strip()
    if not token or not all(0x21 <= byte <= 0x7E for byte in token):
        raise TableError(f"{token_file}: must hold one line of printable ASCII")
    return token.decode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TableError(f"{path}: {error.strerror}") from error

"""`seaway warehouse`: asking the table, making it anew, forgetting somebody."""

import asyncio
import json
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

import duckdb
import pyarrow as pa
import typer
from acme.users.v1 import CreateUserConfirmed
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from seaway.commands.reach import reached
from seaway.contract import address_of
from seaway.errors import SeawayError

from data_warehouse.comparing import Difference, asked
from data_warehouse.forgetting import forget as forget_user
from data_warehouse.place import Place
from data_warehouse.rebuilding import Rebuilding
from data_warehouse.settings import WarehouseSettings
from data_warehouse.table import Origin, found

DIFFERENT = 1
STREAM = address_of(CreateUserConfirmed).stream
DURABLE = "data-warehouse-users"
REFUSED = (DeltaError, OSError, pa.ArrowException, duckdb.Error)

warehouse = typer.Typer(
    help="Ask the data warehouse, make it anew, or have it forget somebody.", no_args_is_help=True
)


class WarehouseError(SeawayError):
    """What was asked of the table could not be done."""


@warehouse.command()
def query(
    question: Annotated[str, typer.Argument(metavar="SQL", help='"select … from users"')],
    as_json: Annotated[bool, typer.Option("--json", help="One object per line.")] = False,
) -> None:
    """Ask the table in DuckDB's SQL. Its name is `users`; it has a row for each message."""
    try:
        names, rows = asked(_table(), question)
        if as_json:
            for row in rows:
                print(json.dumps(dict(zip(names, row, strict=True)), default=_plain))
        else:
            _print(names, [[_text(value) for value in row] for row in rows])
    except REFUSED as error:
        raise WarehouseError(str(error)) from error


@warehouse.command()
def rebuild(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compare, and leave the table as it is.")
    ] = False,
) -> None:
    """Make the table anew from the stream, say what differs, and put it in the old one's place.

    Rows of messages that the stream does not keep any more are carried over; nobody who was
    forgotten comes back. The service may go on meanwhile. Exit code 1 with --dry-run: something
    differs.
    """
    try:
        differences = asyncio.run(_rebuild(dry_run=dry_run))
    except REFUSED as error:
        raise WarehouseError(str(error)) from error
    if dry_run and any(difference.count for difference in differences):
        raise typer.Exit(DIFFERENT)


@warehouse.command()
def forget(user_id: Annotated[str, typer.Argument(help="The user's id.")]) -> None:
    """Delete everything of a user from the table and its files, and keep it from coming back.

    Conversations in which somebody else gave the user's address go, too. What the stream still
    keeps of him is not touched.
    """
    try:
        done = forget_user(_place(), user_id)
    except REFUSED as error:
        raise WarehouseError(str(error)) from error
    print(f"forgotten: {done.rows} rows of {done.conversations} conversations deleted")


async def _rebuild(*, dry_run: bool) -> Sequence[Difference]:
    async with reached() as broker:
        kept = (await broker.streams()).get(STREAM.name)
        if kept is None:
            raise WarehouseError(f"the broker has no stream {STREAM.name}")
        origin = Origin(STREAM.name, DURABLE, kept.created)
        rebuilding = Rebuilding(_place(), origin, STREAM, kept)
        _table()  # there has to be one
        try:
            watermark = await rebuilding.beside(broker)
            differences = rebuilding.differences(watermark)
            _say(rebuilding, differences)
            if not dry_run:
                version = rebuilding.swap(watermark)
                print(f"swapped: version {version}; the one before is {version - 1}")
        finally:
            rebuilding.clear()
    return differences


def _say(rebuilding: Rebuilding, differences: Sequence[Difference]) -> None:
    print(
        f"replayed {rebuilding.replayed} messages up to #{rebuilding.kept.last}, "
        f"carried over {rebuilding.carried_over} rows that the stream keeps no more"
    )
    if rebuilding.unreadable:
        print(f"{rebuilding.unreadable} messages cannot be read: see seaway dead-letters")
    for difference in differences:
        few = f": {', '.join(difference.examples)}" if difference.examples else ""
        print(f"{difference.kind:>11} {difference.count}{few}")


def _place() -> Place:
    return Place.of(WarehouseSettings.from_environment())


def _table() -> DeltaTable:
    place = _place()
    table = found(place)
    if table is None:
        raise WarehouseError(f"there is no table at {place.url}: has the service run?")
    return table


def _plain(value: Any) -> Any:
    match value:
        case datetime() | date():
            return value.isoformat()
        case Decimal():
            return int(value)
    return str(value)


def _text(value: Any) -> str:
    return "" if value is None else str(_plain(value) if isinstance(value, datetime) else value)


def _print(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    for row in [names, *rows]:
        print("  ".join(map(str.ljust, row, widths)).rstrip())

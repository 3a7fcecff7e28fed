"""``tada store``: the stores of several machines become one."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tada.cli import _options as options


@click.group()
def store() -> None:
    """Work on the folders that runs keep their results in."""


@store.command()
@click.argument("into", type=options.FOLDER)
@click.argument("others", nargs=-1, required=True, metavar="OTHER...")
def merge(into: str, others: Sequence[str]) -> None:
    """Add what the stores OTHER hold to the store INTO, which the same command as before then goes on with.

    Units that several hold count once. Merging again adds only what is new.
    """
    from tada.store import Store

    whole = Store(into)
    for other in others:
        click.echo(f"{other}: {whole.merge(other)} new units")
    click.echo(f"{into} holds {len(whole.known())} units.")


COMMANDS = (store,)

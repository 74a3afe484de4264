"""``switchboard mailbox``: connected mailboxes: sort, receipts, search."""

import typer

app = typer.Typer(no_args_is_help=True, help="Connected mailboxes: sort, receipts, search.")


@app.callback()
def _group() -> None:
    """Connected mailboxes: sort, receipts, search."""

"""``switchboard receipts``: users, payments and receipts."""

import typer

app = typer.Typer(no_args_is_help=True, help="Users, payments and receipts.")


@app.callback()
def _group() -> None:
    """Users, payments and receipts."""

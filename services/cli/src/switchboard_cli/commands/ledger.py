"""``switchboard ledger``: transactions and counterparties of an accounting system."""

import typer

app = typer.Typer(no_args_is_help=True, help="Transactions and counterparties of an accounting system.")


@app.callback()
def _group() -> None:
    """Transactions and counterparties of an accounting system."""

"""``switchboard broadcasts``: messages to many leads."""

import typer

app = typer.Typer(no_args_is_help=True, help="Messages to many leads.")


@app.callback()
def _group() -> None:
    """Messages to many leads."""

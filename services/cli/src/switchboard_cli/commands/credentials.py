"""``switchboard credentials``: the keys that seal what businesses entrust to Switchboard."""

import typer

from switchboard_cli.errors import CliError
from switchboard_cli.options import AsJson
from switchboard_cli.output import Output
from switchboard_cli.runtime import database_of_environment

app = typer.Typer(no_args_is_help=True, help="Credentials: keys that seal passwords and tokens of businesses.")


@app.callback()
def _group() -> None:
    """Credentials: keys that seal passwords and tokens of businesses."""


@app.command("new-key", epilog="Example: [bold]switchboard credentials new-key[/bold]")
def new_key(as_json: AsJson = False) -> None:
    """Print a fresh key. Put it in front of CREDENTIALS_KEYS, for api and workers alike."""
    from switchboard_core.vault.sealing import new_key as make

    key = make()
    output = Output(as_json=as_json)
    if as_json:
        output.json({"key": key})
    else:
        typer.echo(key)


@app.command("rotate", epilog="Example: [bold]switchboard credentials rotate[/bold]")
def rotate(as_json: AsJson = False) -> None:
    """Seal every secret with the newest key; afterwards the older ones can be taken out of CREDENTIALS_KEYS.

    Works on the database (DATABASE_URL), business by business; run again after a failure it goes on. Secrets that no
    key opens are left as they are and listed, and the command exits with 1.
    """
    resealed, unreadable = _reseal_all()
    output = Output(as_json=as_json)
    if as_json:
        output.json({"resealed": resealed, "unreadable": unreadable})
    else:
        output.line(f"{resealed} secrets were sealed with the newest key.")
    if unreadable:
        named = ", ".join(f"{entry['credential']} of business {entry['business']}" for entry in unreadable)
        raise CliError(
            f"None of CREDENTIALS_KEYS opens the secrets {named}: put the key that sealed them back at the end of "
            "the list and rotate again, or have those businesses connect their accounts again."
        )


def _reseal_all() -> tuple[int, list[dict[str, int]]]:
    """How many secrets were sealed anew, and which ones cannot be opened."""
    from switchboard_core import crossing
    from switchboard_core.settings import get_settings
    from switchboard_core.vault.sealing import KeysMissingError
    from switchboard_core.vault.service import reseal_all

    resealed, unreadable = 0, []
    with database_of_environment() as database:
        settings = get_settings()
        with database.crossing() as session:
            businesses = crossing.businesses(session)
        for ref in businesses:
            try:
                with database.tenant(ref.business_id) as session:
                    outcome = reseal_all(session, settings)
            except KeysMissingError as error:
                raise CliError(str(error)) from None
            resealed += outcome.changed
            unreadable += [{"business": ref.business_id, "credential": row_id} for row_id in outcome.unreadable]
    return resealed, unreadable

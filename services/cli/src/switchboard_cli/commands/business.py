"""``switchboard business``: businesses, and keys that open them. For who holds the database, not for tenants."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from switchboard_cli.errors import CliError
from switchboard_cli.options import AsJson
from switchboard_cli.output import Output
from switchboard_cli.runtime import database_of_environment, database_troubles

if TYPE_CHECKING:
    from switchboard_core.db import Database

app = typer.Typer(no_args_is_help=True, help="Businesses: the tenants of this installation.")

_EXAMPLE = (
    'Example: [bold]switchboard business create "Acme Dental" --timezone America/New_York '
    "--caller-id +14155550100[/bold]"
)


@app.callback()
def _group() -> None:
    """Businesses: the tenants of this installation."""


@app.command("create", epilog=_EXAMPLE)
def create(
    name: Annotated[str, typer.Argument(help="Shown to people.")],
    timezone: Annotated[
        str | None, typer.Option(help="IANA name, for leads whose own zone is not known. Default: UTC.")
    ] = None,
    cap: Annotated[int | None, typer.Option(help="Calls at once. Default: 3.")] = None,
    rate: Annotated[float | None, typer.Option(help="New calls a second. Default: 1.")] = None,
    caller_id: Annotated[
        list[str] | None, typer.Option(help="Number to call from, with country code; may be repeated.")
    ] = None,
    hours: Annotated[
        str | None,
        typer.Option(help="Calling hours, local time of the lead: 09:00-20:00 (the default); 00:00-00:00 is all day."),
    ] = None,
    days: Annotated[str | None, typer.Option(help="Calling days: mon,tue,wed,thu,fri. Default: every day.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a business and its first API key, which is shown this once.

    Works on the database (DATABASE_URL), not through the api: there is no key yet that could open it.
    """
    opens, closes = parse_hours(hours) if hours else (None, None)
    wanted = {
        "timezone": timezone,
        "call_cap": cap,
        "calls_per_second": rate,
        "caller_ids": caller_id or None,
        "calling_from": opens,
        "calling_until": closes,
        "calling_days": days.lower().replace(" ", "").split(",") if days else None,
    }
    with database_of_environment() as database:
        business_id, secret = create_with_key(database, name, **{key: v for key, v in wanted.items() if v is not None})
    output = Output(as_json=as_json)
    if as_json:
        output.json({"id": business_id, "name": name, "role": "owner", "api_key": secret})
        return
    output.record({"business": business_id, "api key": secret})
    output.note("The key is stored as a hash only and cannot be shown again. To use it:")
    output.note(f"export SWITCHBOARD_API_KEY={secret}")


def create_with_key(database: "Database", name: str, **settings: Any) -> tuple[int, str]:  # noqa: ANN401
    """Create a business and an owner's key.

    Args:
        database: of this process.
        name: of the business.
        settings: fields of ``BusinessCreate``.

    Returns:
        The id, and the secret of the key.

    Raises:
        CliError: a setting is wrong, the database does not answer or was not migrated.
    """
    from pydantic import ValidationError

    from switchboard_core.settings import describe
    from switchboard_core.tenancy.models import Role
    from switchboard_core.tenancy.service import create_api_key, create_business

    with database_troubles():
        try:
            business = create_business(database, name, **settings)
        except ValidationError as error:
            raise CliError(f"The business was not created. {describe(error)}.") from None
        with database.tenant(business.id) as session:
            _, secret = create_api_key(session, "first owner", Role.OWNER)
    return business.id, secret


@app.command("list", epilog="Example: [bold]switchboard business list[/bold]")
def list_all(as_json: AsJson = False) -> None:
    """Show the businesses of this installation. Works on the database (DATABASE_URL)."""
    from switchboard_core.tenancy.service import business_names

    with database_of_environment() as database, database_troubles():
        names = business_names(database)
    output = Output(as_json=as_json)
    if as_json:
        output.json([{"id": business_id, "name": name} for business_id, name in names.items()])
    else:
        output.table(("id", "name"), list(names.items()))


@app.command("new-key", epilog="Example: [bold]switchboard business new-key 42[/bold]")
def new_key(
    business: Annotated[int, typer.Argument(help="Id of the business; `switchboard business list` shows it.")],
    role: Annotated[Literal["owner", "agent", "viewer"], typer.Option(help="What the key may do.")] = "owner",
    name: Annotated[str, typer.Option(help="For people, to tell keys apart.")] = "made by the administrator",
    as_json: AsJson = False,
) -> None:
    """Make an API key of a business, which is shown this once: for one whose last owner key is lost.

    Works on the database (DATABASE_URL). Keys that exist go on working; an owner revokes them.
    """
    from switchboard_core.tenancy.models import Role
    from switchboard_core.tenancy.service import create_api_key

    with database_of_environment() as database, database_troubles():
        check_business(database, business)
        with database.tenant(business) as session:
            key, secret = create_api_key(session, name, Role(role))
            found = {"id": key.id, "name": key.name, "role": key.role, "api_key": secret}
    output = Output(as_json=as_json)
    if as_json:
        output.json(found)
        return
    output.record({"key": found["id"], "role": found["role"], "api key": secret})
    output.note("The key is stored as a hash only and cannot be shown again. To use it:")
    output.note(f"export SWITCHBOARD_API_KEY={secret}")


def check_business(database: "Database", business_id: int) -> None:
    """Do nothing where there is such a business.

    Raises:
        CliError: there is none.
    """
    from switchboard_core.tenancy.service import business_names

    if business_id not in business_names(database):
        raise CliError(f"There is no business {business_id}: `switchboard business list` shows them.")


def parse_hours(hours: str) -> tuple[str, str]:
    """Opening and closing time of ``09:00-20:00``.

    Raises:
        CliError: it is something else.
    """
    opens, dash, closes = hours.partition("-")
    if not dash or ":" not in opens or ":" not in closes:
        raise CliError(f"{hours!r} are no calling hours: give them as 09:00-20:00.", 2)
    return opens.strip(), closes.strip()

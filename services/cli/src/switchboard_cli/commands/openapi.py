"""``switchboard openapi``: write the api's description of itself."""

import importlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from switchboard_cli.errors import CliError
from switchboard_cli.options import AsJson
from switchboard_cli.output import Output

EXAMPLE = "Example: [bold]switchboard openapi --output docs/openapi.json --check[/bold]"


def write_openapi(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; left out: print it.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 when the file is not up to date.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the api's OpenAPI document. No database is needed."""
    document = json.dumps(openapi_document(), indent=2, ensure_ascii=False, sort_keys=False) + "\n"
    out = Output(as_json=as_json)
    if check:
        _check(document, output)
    elif output is None:
        typer.echo(document, nl=False)
        return
    else:
        _write(document, output)
    if as_json:
        out.json({"output": str(output), "ok": True, "written": not check})
    else:
        out.line(f"{output} is up to date." if check else f"Wrote {output}.")


def openapi_document() -> dict[str, Any]:
    """The api's OpenAPI document.

    Raises:
        CliError: the api's package is not installed.
    """
    try:
        # By name: the command line is installed without the api, too.
        api = importlib.import_module("switchboard_api.app")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("switchboard_api"):
            raise
        raise CliError("The package switchboard-api is not installed here: install it, then try again.") from None
    from switchboard_core.runtime import make_runtime
    from switchboard_core.settings import Settings

    # Nothing connects before it is used, so any address will do.
    settings = Settings(_env_file=None, database_url="postgresql+psycopg://nobody@localhost/none")
    runtime = make_runtime(settings, name="switchboard-openapi")
    try:
        document: dict[str, Any] = api.create_app(runtime).openapi()
    finally:
        runtime.close()
    return document


def _check(document: str, output: Path | None) -> None:
    if output is None:
        raise CliError("--check compares a file: name it with --output.", 2)
    try:
        found = output.read_text(encoding="utf-8")
    except OSError:
        found = None
    if found != document:
        state = "is missing" if found is None else "is not what the api says of itself"
        raise CliError(f"{output} {state}: run `switchboard openapi --output {output}`.")


def _write(document: str, output: Path) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(document, encoding="utf-8")
    except OSError as error:
        raise CliError(f"{output} could not be written: {error.strerror}.") from None

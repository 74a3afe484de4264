"""Options that many commands have, written once."""

from typing import Annotated

import typer

DEFAULT_URL = "http://127.0.0.1:8000"

Url = Annotated[
    str, typer.Option("--url", envvar="SWITCHBOARD_URL", help="Where the api is.", rich_help_panel="Connection")
]
ApiKey = Annotated[
    str,
    typer.Option(
        "--api-key",
        envvar="SWITCHBOARD_API_KEY",
        help="API key of your business.",
        show_default=False,
        show_envvar=True,
        rich_help_panel="Connection",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Show so many at most.")]

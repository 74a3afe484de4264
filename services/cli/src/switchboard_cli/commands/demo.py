"""``switchboard demo``: a whole campaign on this machine, from a CSV of leads to transcripts."""

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from switchboard_cli.errors import CliError
from switchboard_cli.options import AsJson
from switchboard_cli.output import Json, Output, clean

if TYPE_CHECKING:
    from switchboard_cli.client import ApiClient
    from switchboard_cli.demo.campaign import Moment
    from switchboard_cli.demo.stack import DemoStack
    from switchboard_cli.demo.summary import Summary
    from switchboard_cli.demo.tour import Stop

EXAMPLE = "Example: [bold]switchboard demo --keep[/bold]"
_EXAMPLE_CSV = Path("examples") / "leads.csv"


def run_demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running until Ctrl-C.")] = False,
    leads: Annotated[Path | None, typer.Option(help="CSV to import instead of examples/leads.csv.")] = None,
    calls: Annotated[int | None, typer.Option(min=1, help="Call only the first so many leads.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the api. Default: a free one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a whole campaign on this machine, with nothing but Python installed.

    PostgreSQL and Valkey come from wheels, every service runs as a process of its own in the operator's order, a
    simulator plays the carrier. Leads are imported, called, recorded and transcribed. Ctrl-C stops all of it and
    leaves nothing behind.
    """
    from switchboard_cli.commands.leads import require_file
    from switchboard_cli.stopping import stops_interrupt

    started_at = time.monotonic()
    output = Output(as_json=as_json)
    file = (leads or _example_leads()).absolute()
    require_file(file)
    try:
        with stops_interrupt(), _folders() as (folder, logs):
            _Demo(output, file, calls, keep, started_at).run(folder, logs, port)
    except KeyboardInterrupt:
        output.note("Stopped; nothing was left behind.")
        raise typer.Exit(128 + signal.SIGINT) from None


class _Demo:
    """One run of the demo."""

    def __init__(self, output: Output, file: Path, calls: int | None, keep: bool, started_at: float) -> None:
        self._output = output
        self._file = file
        self._calls = calls
        self._keep = keep
        self._started_at = started_at

    def run(self, folder: Path, logs: Path, port: int | None) -> None:
        """From the first server to the figures.

        Raises:
            CliError: something went wrong, or the figures are not what Switchboard promises.
            DevstackError: something could not be started, or ended by itself.
        """
        from switchboard_cli.client import ApiClient
        from switchboard_cli.demo import tour
        from switchboard_cli.demo.campaign import create_business
        from switchboard_cli.demo.stack import running_demo_stack

        with running_demo_stack(folder, logs, api_port=port, say=self._say_start) as stack:
            business_id, key = create_business(stack.at.database)
            with ApiClient(stack.at.api, key) as api:
                summary = self._campaign(stack, api, business_id)
                seen = list(tour.stops(api, _words_to_find(summary)))
            self._print(summary, seen, key)
            if self._keep:
                self._stay(stack, summary, key)
        if not summary.ok or not all(stop.ok for stop in seen):
            raise CliError("The demo ended, but not as it should: see the figures above.")

    def _campaign(self, stack: "DemoStack", api: "ApiClient", business_id: int) -> "Summary":
        from switchboard_cli.demo import campaign, live, speech, summary

        campaign.script_carrier(stack.at.simulator)
        imported = campaign.import_leads(api, self._file)
        run_id = campaign.start_run(api, imported["id"], self._calls)
        self._say(f"Calling {self._calls or imported['created']} leads of {self._file.name}")
        last: Moment = live.show(self._output, campaign.moments(stack, api, run_id))
        return summary.summarise(
            imported=imported,
            run=last.run,
            calls=campaign.calls_of(api, run_id),
            recordings=last.recordings,
            transcripts=speech.compared(last.recordings, speech.sentences_by_sha256()),
            carrier=campaign.carrier_report(stack.at.simulator),
            business_id=business_id,
            seconds=time.monotonic() - self._started_at,
            api_url=stack.at.api,
        )

    def _print(self, summary: "Summary", seen: "list[Stop]", key: str) -> None:
        from switchboard_cli.demo import tour
        from switchboard_cli.demo.summary import tell

        if self._output.as_json:
            kept: Json = {"api_key": key} if self._keep else {}
            self._output.json_line({**summary.as_json(), "tour": [stop.as_json() for stop in seen], **kept})
            return
        tell(self._output, summary)
        tour.tell(self._output, seen)
        if not self._keep:
            self._output.line(
                "The api describes itself at /docs (OpenAPI): run `switchboard demo --keep`, then open the address "
                "that it prints."
            )

    def _stay(self, stack: "DemoStack", summary: "Summary", key: str) -> None:
        """Leave everything running and say what to try, until Ctrl-C or until a process ends by itself."""
        for line in (
            "",
            "It is all still running. For people, signing in with the key below, and for programs (OpenAPI):",
            f"  {stack.at.api}/",
            f"  {stack.at.api}/docs",
            f"Logs: {stack.logs}",
            "To try, in another terminal:",
            f"  export SWITCHBOARD_URL={stack.at.api} SWITCHBOARD_API_KEY={key}",
            "  switchboard leads list --limit 10",
            f"  switchboard run show {summary.run['id']}",
            f'  switchboard recordings search "{_words_to_find(summary)}"',
            '  switchboard run start "Second round" --message "Hello {name}" --tag vip --retry busy=2 --watch',
            "Ctrl-C stops everything.",
        ):
            self._say(line)
        while True:
            stack.require_alive()
            time.sleep(0.5)

    def _say_start(self, what: str) -> None:
        seconds = time.monotonic() - self._started_at
        self._say(f"[{seconds:4.1f} s] starting {what}")

    def _say(self, line: str) -> None:
        if self._output.as_json:
            self._output.note(line)
        else:
            self._output.line(line)


@contextmanager
def _folders() -> Iterator[tuple[Path, Path]]:
    """Folders for data and for logs. Both are removed, but after a failure the logs are kept and named."""
    from switchboard_cli.devstack import DevstackError, temporary_folder

    with temporary_folder("switchboard-demo-") as folder:
        logs = Path(tempfile.mkdtemp(prefix="switchboard-demo-logs-")).resolve()
        try:
            yield folder, logs
        except (CliError, DevstackError) as error:
            raise CliError(_with_logs(str(error), logs)) from None
        except BaseException:
            shutil.rmtree(logs, ignore_errors=True)
            raise
        shutil.rmtree(logs, ignore_errors=True)


def _with_logs(sentence: str, logs: Path) -> str:
    if not any(logs.iterdir()):
        logs.rmdir()
        return sentence
    return f"{sentence}\nThe logs of all processes were kept in {logs}."


def _words_to_find(summary: "Summary") -> str:
    """Words that a search finds, if anything was understood at all."""
    heard = max((transcript.heard for transcript in summary.transcripts), key=len, default="call me back")
    return clean(" ".join(heard.split()[:3]))


def _example_leads() -> Path:
    """The example CSV of the checkout that this runs from.

    Raises:
        CliError: there is none.
    """
    places = (Path.cwd(), *Path(__file__).resolve().parents)
    for place in places:
        if (place / _EXAMPLE_CSV).is_file():
            return place / _EXAMPLE_CSV
    raise CliError(f"{_EXAMPLE_CSV} was not found here: name a CSV of leads with --leads.", 2)

"""The campaign in the terminal while it runs: bars, counts and the latest transcripts; plain lines elsewhere."""

import time
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import Progress, TaskID
from rich.text import Text

from switchboard_cli.demo.campaign import Moment
from switchboard_cli.output import Json, Output, clean
from switchboard_cli.watching import Sight, bars, sight_of_run

_PLAIN_EVERY_S = 3.0
_TRANSCRIPTS = 4


def show(output: Output, moments: Iterable[Moment]) -> Moment:
    """Show every moment until the last one, which is returned."""
    if output.is_terminal:
        return _show_live(output, moments)
    return _show_plain(output, moments)


def plain_line(moment: Moment) -> str:
    """A moment in one line."""
    recordings = f"recordings {moment.recordings_ended}/{len(moment.recordings)}"
    return f"{sight_of_run(moment.run).plain}  {recordings}"


def latest_transcripts(recordings: Iterable[Json], number: int = _TRANSCRIPTS) -> list[str]:
    """What was understood last, newest first."""
    heard = [recording for recording in recordings if recording["transcript"]]
    heard.sort(key=lambda recording: str(recording["finished_at"]), reverse=True)
    return [clean(recording["transcript"]) for recording in heard[:number]]


def _show_plain(output: Output, moments: Iterable[Moment]) -> Moment:
    last: Moment | None = None
    said, said_at = "", 0.0
    for last in moments:
        line = plain_line(last)
        if line != said and time.monotonic() - said_at >= _PLAIN_EVERY_S:
            _say(output, line)
            said, said_at = line, time.monotonic()
    assert last is not None
    if plain_line(last) != said:
        _say(output, plain_line(last))
    return last


def _say(output: Output, line: str) -> None:
    # With --json standard output is for the one result.
    if output.as_json:
        output.note(line)
    else:
        output.line(line)


def _show_live(output: Output, moments: Iterable[Moment]) -> Moment:
    last: Moment | None = None
    progress = bars()
    calls = progress.add_task("leads called", total=None)
    recordings = progress.add_task("recordings  ", total=None)
    with Live(progress, console=output.console, refresh_per_second=4) as live:
        for last in moments:
            sight = sight_of_run(last.run)
            progress.update(calls, completed=sight.done, total=sight.total)
            _update(progress, recordings, last)
            live.update(_screen(progress, sight, last))
    assert last is not None
    return last


def _update(progress: Progress, bar: TaskID, moment: Moment) -> None:
    progress.update(bar, completed=moment.recordings_ended, total=len(moment.recordings) or None)


def _screen(progress: Progress, sight: Sight, moment: Moment) -> RenderableType:
    lines: list[RenderableType] = [progress, sight.detail]
    lines += [
        Text(f"  “{words}”", style="italic dim", overflow="ellipsis", no_wrap=True)
        for words in latest_transcripts(moment.recordings)
    ]
    return Group(*lines)

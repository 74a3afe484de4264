"""What happened in the demo: figures first, then how they are told."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from rich.text import Text

from switchboard_cli.demo.campaign import CAP
from switchboard_cli.demo.speech import Heard
from switchboard_cli.output import Json, Output, clean, make_table

_EXCERPTS = 3
_REASONS_SHOWN = 8


@dataclass(frozen=True)
class Summary:
    """The figures of one run of the demo.

    Attributes:
        imported: the report of the import.
        run: the run at its end.
        outcomes: leads by what became of their calls.
        calls: calls placed, as the carrier counted them.
        recordings: recordings by state.
        recording_bytes: of all recordings together.
        transcripts: heard beside said.
        cap: calls at once that were allowed.
        most_at_once: calls at once, as the carrier saw it.
        placed_twice: attempts for which the carrier saw more than one call.
        seconds: from the start of the demo to here.
        api_url: of the api.
    """

    imported: Json
    run: Json
    outcomes: dict[str, int]
    calls: int
    recordings: dict[str, int]
    recording_bytes: int
    transcripts: list[Heard]
    cap: int
    most_at_once: int
    placed_twice: int
    seconds: float
    api_url: str

    @property
    def word_accuracy(self) -> float | None:
        """Share of the words said that were understood; None without a transcript."""
        said = sum(heard.words for heard in self.transcripts)
        return sum(heard.words_right for heard in self.transcripts) / said if said else None

    @property
    def ok(self) -> bool:
        """Whether all that Switchboard promises has held."""
        unfinished = {"pending", "downloading", "downloaded", "transcribing", "failed"} & set(self.recordings)
        return (
            self.run["status"] == "completed"
            and self.most_at_once <= self.cap
            and not self.placed_twice
            and not unfinished
        )

    def as_json(self) -> Json:
        """The figures for programs."""
        return {**asdict(self), "word_accuracy": self.word_accuracy, "ok": self.ok}


def summarise(
    *,
    imported: Json,
    run: Json,
    calls: list[Json],
    recordings: list[Json],
    transcripts: list[Heard],
    carrier: Json,
    business_id: int,
    seconds: float,
    api_url: str,
) -> Summary:
    """Put the figures together from what api and carrier say.

    Args:
        imported: the report of the import.
        run: the run at its end.
        calls: its call jobs with their attempts.
        recordings: its recordings.
        transcripts: heard beside said.
        carrier: the simulator's report.
        business_id: of the demo's business.
        seconds: that the demo took so far.
        api_url: of the api.
    """
    return Summary(
        imported=imported,
        run=run,
        outcomes=dict(Counter(outcome_of(call) for call in calls).most_common()),
        calls=carrier["calls"],
        recordings=dict(Counter(recording["status"] for recording in recordings)),
        recording_bytes=sum(recording["bytes"] or 0 for recording in recordings),
        transcripts=transcripts,
        cap=CAP,
        most_at_once=carrier["concurrent_max"]["business"].get(str(business_id), 0),
        placed_twice=len(carrier["attempts_called_more_than_once"]),
        seconds=round(seconds, 1),
        api_url=api_url,
    )


def outcome_of(call: Json) -> str:
    """What became of one lead, in the words of the table."""
    status: str = call["status"]
    answered_by = next((attempt["answered_by"] for attempt in reversed(call["calls"]) if attempt["answered_by"]), None)
    if status == "completed" and answered_by:
        return "answered by a machine" if answered_by.startswith(("machine", "fax")) else "answered by a person"
    if status in {"skipped", "failed"} and call["reason"]:
        return f"{status}: {clean(call['reason'])}"
    return status


def tell(output: Output, summary: Summary) -> None:
    """Print the figures for people."""
    output.line()
    _tell_import(output, summary.imported)
    _table(output, "Leads by outcome", ("outcome", "leads"), list(summary.outcomes.items()))
    _tell_recordings(output, summary)
    _tell_promises(output, summary)


def _tell_import(output: Output, imported: Json) -> None:
    output.line(
        Text.assemble(
            ("Import: ", "bold"),
            f"{imported['total']} rows, {imported['created']} leads created, {imported['duplicates']} duplicates, "
            f"{imported['rejected']} rejected, {imported['do_not_call']} do-not-call",
        )
    )
    for error in imported["errors"][:_REASONS_SHOWN]:
        output.line(
            Text(f"  line {error['line']}: {clean(error['column'] or 'row')}: {clean(error['message'])}", "dim")
        )
    if len(imported["errors"]) > _REASONS_SHOWN:
        output.line(Text(f"  and {len(imported['errors']) - _REASONS_SHOWN} more", "dim"))
    output.line()


def _tell_recordings(output: Output, summary: Summary) -> None:
    states = ", ".join(f"{number} {status}" for status, number in summary.recordings.items()) or "none"
    output.line(
        Text.assemble(
            ("Recordings: ", "bold"), f"{states}; {summary.recording_bytes / 1_000_000:.1f} MB, downloaded and hashed"
        )
    )
    if summary.word_accuracy is not None:
        output.line(
            Text.assemble(
                ("Transcripts: ", "bold"),
                f"{len(summary.transcripts)}, {summary.word_accuracy:.0%} of the words understood. For example:",
            )
        )
    for excerpt in excerpts(summary.transcripts):
        output.line(Text.assemble(("  said   ", "dim"), excerpt.said))
        output.line(Text.assemble(("  heard  ", "dim"), clean(excerpt.heard)))
        output.line()


def excerpts(transcripts: list[Heard], number: int = _EXCERPTS) -> list[Heard]:
    """Some transcripts of different sentences, the first of each."""
    by_sentence: dict[str, Heard] = {}
    for transcript in transcripts:
        by_sentence.setdefault(transcript.said, transcript)
    return list(by_sentence.values())[:number]


def _tell_promises(output: Output, summary: Summary) -> None:
    held = summary.most_at_once <= summary.cap
    output.line(
        Text.assemble(
            ("As the carrier saw it: ", "bold"),
            f"{summary.calls} calls, ",
            (f"{summary.most_at_once} at once at most (cap {summary.cap})", "green" if held else "bold red"),
            ", ",
            (f"{summary.placed_twice} placed twice", "bold red" if summary.placed_twice else "green"),
        )
    )
    status = summary.run["status"]
    output.line(
        Text.assemble(
            (f"The campaign is {status}", "green" if summary.ok else "bold red"), f", {summary.seconds:.0f} s in all."
        )
    )


def _table(output: Output, title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    if output.is_terminal:
        output.console.print(make_table(columns, rows, title=title))
        return
    output.line(f"{title}:")
    for row in rows:
        output.line(f"  {row[1]:>4}  {clean(row[0])}")
    output.line()

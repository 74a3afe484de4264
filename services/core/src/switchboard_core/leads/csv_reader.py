"""Bytes of a CSV file to rows, one at a time: encoding, line ends, delimiter, and what makes a file unreadable.

Memory stays constant however long the file is: nothing is kept but the current record.
"""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

DELIMITERS = (",", ";", "\t")


class CsvFileError(ValueError):
    """The file as a whole cannot be imported; the message says why, where and what to do. Nothing was written."""


class CsvTooLargeError(CsvFileError):
    """The file is larger than allowed."""


@dataclass(frozen=True)
class CsvLimits:
    """What a file may be at most.

    Attributes:
        max_bytes: size of the file in bytes.
        max_record_chars: length of one record in characters, all its lines together; a quotation mark that is never
            closed exceeds it soon. Below the 131,072 characters at which Python's reader gives up on a cell.
    """

    max_bytes: int = 512 * 1024 * 1024
    max_record_chars: int = 65_536


@dataclass(frozen=True)
class CsvRow:
    """A record of the file.

    Attributes:
        line: where it begins; the header is line 1.
        cells: as in the file. Bytes that are no UTF-8 are lone surrogates, see ``is_text``.
    """

    line: int
    cells: list[str]


def is_text(cell: str) -> bool:
    """Whether a cell was valid UTF-8."""
    if cell.isascii():
        return True
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True


class CsvReader:
    """Reads a CSV with a header: ``header`` first, then the rows by iteration.

    Args:
        stream: the file in pieces of any size.
        limits: see ``CsvLimits``.

    Raises:
        CsvFileError: here or while iterating: empty, too large, binary, or a quote that is never closed.
    """

    def __init__(self, stream: Iterable[bytes], limits: CsvLimits) -> None:
        self._limits = limits
        self._chars = 0
        self._begins = 1
        lines = _lines(_decoded(_checked(stream, limits.max_bytes)), limits.max_record_chars)
        first = next(lines, None)
        if first is None or not first.strip():
            msg = "The first line is empty: it has to name the columns, separated by commas, semicolons or tabs."
            raise CsvFileError(msg)
        self.delimiter = _delimiter_of(first)
        self._reader = csv.reader(self._metered(chain((first,), lines)), delimiter=self.delimiter, strict=True)
        self.header = next(self._records()).cells

    def __iter__(self) -> Iterator[CsvRow]:
        return self._records()

    def _records(self) -> Iterator[CsvRow]:
        while True:
            self._begins, self._chars = self._reader.line_num + 1, 0
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise _quoting_error(error, self._begins, self._reader.line_num) from None
            if cells:
                yield CsvRow(self._begins, cells)

    def _metered(self, lines: Iterable[str]) -> Iterator[str]:
        """Stop a record that goes on and on before it fills the memory."""
        for line in lines:
            self._chars += len(line)
            if self._chars > self._limits.max_record_chars:
                raise CsvFileError(_never_closed(self._begins))
            yield line


def _never_closed(line: int) -> str:
    return (
        f"A quoted cell that begins on line {line} is never closed: add the missing quotation mark. "
        "Nothing was imported."
    )


def _quoting_error(error: csv.Error, begins: int, noticed: int) -> CsvFileError:
    """What Python's reader complains about, in words that say where to look."""
    if "unexpected end of data" in str(error):
        return CsvFileError(_never_closed(begins))
    where = f"line {begins}" if begins == noticed else f"lines {begins} to {noticed}"
    msg = (
        f"There is text after a closing quotation mark ({where}): write a quotation mark inside a quoted cell twice, "
        'as in "the ""Rose"" inn". Nothing was imported.'
    )
    return CsvFileError(msg)


def _checked(stream: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    size = 0
    for chunk in stream:
        size += len(chunk)
        if size > max_bytes:
            msg = f"The file is larger than {_megabytes(max_bytes)}: split it into several. Nothing was imported."
            raise CsvTooLargeError(msg)
        if b"\0" in chunk:
            msg = (
                "The file holds NUL bytes, as Excel workbooks and UTF-16 files do: export it as CSV in UTF-8. "
                "Nothing was imported."
            )
            raise CsvFileError(msg)
        yield chunk


def _megabytes(size: int) -> str:
    return f"{size / 1024 / 1024:.0f} MB" if size >= 1024 * 1024 else f"{size} bytes"


def _decoded(chunks: Iterable[bytes]) -> Iterator[str]:
    """Text with ``\\n`` for every kind of line end; bytes that are no UTF-8 become lone surrogates."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="surrogateescape")
    line_ends = io.IncrementalNewlineDecoder(None, translate=True)
    for chunk in chunks:
        yield line_ends.decode(decoder.decode(chunk))
    yield line_ends.decode(decoder.decode(b"", final=True), final=True)


def _lines(pieces: Iterable[str], max_chars: int) -> Iterator[str]:
    """Lines with their ``\\n``; the last one may have none."""
    number, begun = 1, ""
    for piece in pieces:
        *whole, begun = (begun + piece).split("\n")
        for line in whole:
            _require_length(line, number, max_chars)
            yield line + "\n"
            number += 1
        _require_length(begun, number, max_chars)
    if begun:
        yield begun


def _require_length(line: str, number: int, max_chars: int) -> None:
    if len(line) > max_chars:
        msg = f"Line {number} is longer than {max_chars} characters: is this a CSV file? Nothing was imported."
        raise CsvFileError(msg)


def _delimiter_of(header: str) -> str:
    """The delimiter that splits the header into most cells; a comma when none does."""

    def cells(delimiter: str) -> int:
        try:
            return len(next(csv.reader([header], delimiter=delimiter)))
        except csv.Error:
            return 0

    return max(DELIMITERS, key=cells)

"""What a person reads in an HTML mail, as lines of text. Pure."""

import re

from lxml import etree

MAX_HTML_CHARACTERS = 512 * 1024

_WHITESPACE = re.compile(r"\s+")
_UNSEEN = frozenset({"head", "noscript", "script", "style", "template", "title"})
# What does not begin on a new line. Everything unknown does: a line too many does less harm than words run together.
_INLINE = frozenset(
    {"a", "abbr", "b", "big", "cite", "code", "del", "em", "font", "i", "ins", "kbd", "mark", "s", "small", "span"}
    | {"strike", "strong", "sub", "sup", "tt", "u", "wbr"}
)


class _Lines:
    """Gathers text while the parser walks through the document: no tree is made, so no nesting is too deep."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._unseen = 0

    def start(self, tag: str, _attributes: object) -> None:
        """A tag opens."""
        if tag in _UNSEEN:
            self._unseen += 1
        if tag not in _INLINE:
            self._pieces.append("\n")

    def end(self, tag: str) -> None:
        """A tag closes."""
        if tag in _UNSEEN:
            self._unseen -= 1
        if tag not in _INLINE:
            self._pieces.append("\n")

    def data(self, text: str) -> None:
        """Text between tags."""
        if not self._unseen:
            self._pieces.append(_WHITESPACE.sub(" ", text))

    def comment(self, _text: str) -> None:
        """A comment is for nobody."""

    def close(self) -> str:
        """All of it."""
        lines = (" ".join(line.split()) for line in "".join(self._pieces).split("\n"))
        return "\n".join(line for line in lines if line)


def html_to_text(html: str) -> str:
    """The text of an HTML document or a piece of one, however broken it is; cells and blocks are lines.

    Args:
        html: only its first ``MAX_HTML_CHARACTERS`` are read.
    """
    # libxml2 takes a null byte for the end, and surrogates cannot be encoded.
    cleaned = html[:MAX_HTML_CHARACTERS].replace("\0", " ").encode("utf-8", "replace")
    parser = etree.HTMLParser(target=_Lines(), encoding="utf-8", recover=True, no_network=True, huge_tree=False)
    try:
        parser.feed(cleaned)
        text: str = parser.close()
    except etree.LxmlError:
        return ""
    return text

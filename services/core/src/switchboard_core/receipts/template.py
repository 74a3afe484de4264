"""Templates of receipts: a small part of Jinja2, so that no template can harm who renders it.

A receipt shows one payment. So a template may write values, choose with ``if``, and format with a few filters; loops,
assignments and calls, with which a few lines could use up all time and memory, are refused when it is saved. What is
left runs in Jinja2's sandbox.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from html.parser import HTMLParser
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes
from jinja2.sandbox import SandboxedEnvironment

MAX_BODY_CHARS = 64 * 1024
MAX_SUBJECT_CHARS = 500

FILTERS = frozenset({"upper", "lower", "title", "capitalize", "trim", "default", "d", "escape", "e", "length"})
TESTS = frozenset({"defined", "undefined", "none", "sameas", "eq", "ne"})

_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.If,
    nodes.Name,
    nodes.Getattr,
    nodes.Const,
    nodes.Filter,
    nodes.Test,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.CondExpr,
    nodes.Concat,
)

_BREAKS = frozenset({"p", "br", "div", "tr", "table", "li", "ul", "ol", "hr", "h1", "h2", "h3", "h4", "h5", "h6"})
_SILENT = frozenset({"style", "script", "head", "title"})

DEFAULT_SUBJECT = "Your receipt from {{ business.name }} ({{ receipt.number }})"

DEFAULT_BODY = """\
<h1>Receipt {{ receipt.number }}</h1>
<p>Dear {{ user.name }},</p>
<p>thank you. We have received your payment.</p>
<table width="100%">
  <tr><td width="35%"><b>Amount</b></td><td width="65%"><b>{{ payment.total }}</b></td></tr>
  <tr><td>For</td><td>{{ payment.description }}</td></tr>
  <tr><td>Paid on</td><td>{{ payment.date }}</td></tr>
{%- if payment.reference %}
  <tr><td>Reference</td><td>{{ payment.reference }}</td></tr>
{%- endif %}
</table>
<p>{{ business.name }}</p>
"""


class BrokenTemplateError(ValueError):
    """A template cannot be used.

    Attributes:
        part: ``subject`` or ``body``.
        line: of the part, from 1; None where no line is at fault.
    """

    def __init__(self, part: str, line: int | None, reason: str) -> None:
        super().__init__(f"{part}, line {line}: {reason}" if line else f"{part}: {reason}")
        self.part = part
        self.line = line


@dataclass(frozen=True)
class Facts:
    """What a template can show; each attribute is one variable, with the fields of its class.

    Attributes:
        business: ``name``.
        user: ``name``, ``email``.
        payment: ``id``, ``amount``, ``currency``, ``total``, ``description``, ``reference``, ``date``.
        receipt: ``number``.
    """

    business: dict[str, str]
    user: dict[str, str]
    payment: dict[str, str | int | None]
    receipt: dict[str, str]


SAMPLE = Facts(
    business={"name": "Acme & Söhne"},
    user={"name": "Zoë Łukasiewicz", "email": "zoe@example.com"},
    payment={
        "id": 7,
        "amount": "1234.50",
        "currency": "EUR",
        "total": "1,234.50 EUR",
        "description": "Subscription, January",
        "reference": "INV-2026-0007",
        "date": "26 January 2026",
    },
    receipt={"number": "R-000007"},
)
"""What previews show."""


SAMPLES = (SAMPLE, replace(SAMPLE, payment={**SAMPLE.payment, "reference": None}))
"""A template has to work with each of these to be saved."""

_FIELDS = {name: tuple(fields) for name, fields in asdict(SAMPLE).items()}


@dataclass(frozen=True)
class Template:
    """Subject and HTML of receipts, as they were saved."""

    subject: str
    body: str

    def subject_for(self, facts: Facts) -> str:
        """The subject of a mail: one line.

        Raises:
            BrokenTemplateError: it cannot be rendered with these facts.
        """
        return " ".join(_render("subject", self.subject, facts, html=False).split())[:MAX_SUBJECT_CHARS]

    def html_for(self, facts: Facts) -> str:
        """The receipt as HTML.

        Raises:
            BrokenTemplateError: it cannot be rendered with these facts.
        """
        return _render("body", self.body, facts, html=True)


DEFAULT = Template(DEFAULT_SUBJECT, DEFAULT_BODY)


def text_of(html: str) -> str:
    """The words of HTML, for readers of plain text."""
    reader = _Words()
    reader.feed(html)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.words).splitlines())
    return "\n".join(line for line in lines if line) + "\n"


class _Words(HTMLParser):
    """Collects text; a tag that starts a line becomes a line break, a further cell of a row becomes a space."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self._silent += tag in _SILENT
        self.words.append("\n" if tag in _BREAKS else " " if tag in {"td", "th"} else "")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in _SILENT and self._silent > 0
        self.words.append("\n" if tag in _BREAKS else "")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data.replace("\n", " "))


def _render(part: str, source: str, facts: Facts, *, html: bool) -> str:
    environment = SandboxedEnvironment(autoescape=html, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.globals.clear()
    try:
        _check(part, environment.parse(source))
        return environment.from_string(source).render(asdict(facts))
    except TemplateSyntaxError as error:
        raise BrokenTemplateError(part, error.lineno, _sentence(error)) from None
    except BrokenTemplateError:
        raise
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise BrokenTemplateError(part, _line_of(error), _sentence(error)) from None
    except RecursionError:
        raise BrokenTemplateError(part, None, "It is nested too deeply.") from None


def _check(part: str, tree: nodes.Template) -> None:
    """Refuse what a receipt does not need."""
    for node in _walk(tree):
        if isinstance(node, nodes.Filter) and node.name not in FILTERS:
            known = ", ".join(sorted(FILTERS))
            raise BrokenTemplateError(part, node.lineno, f"There is no filter {node.name!r} here; there are {known}.")
        if isinstance(node, nodes.Test) and node.name not in TESTS:
            known = ", ".join(sorted(TESTS))
            raise BrokenTemplateError(part, node.lineno, f"There is no test {node.name!r} here; there are {known}.")
        if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
            known = ", ".join(_FIELDS.get(node.node.name, ()))
            if known and node.attr not in _FIELDS[node.node.name]:
                reason = f"There is no {node.node.name}.{node.attr}; {node.node.name} has {known}."
                raise BrokenTemplateError(part, node.lineno, reason)
        if isinstance(node, nodes.Name) and node.name not in _FIELDS:
            raise BrokenTemplateError(part, node.lineno, f"There is no {node.name!r}; there are {', '.join(_FIELDS)}.")
        if not isinstance(node, _ALLOWED):
            what = type(node).__name__.lower()
            reason = f"{what!r} is not possible here: write values, choose with if, and use filters."
            raise BrokenTemplateError(part, node.lineno, reason)


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for child in node.iter_child_nodes():
        yield from _walk(child)


def _line_of(error: BaseException) -> int | None:
    """The template's line in the traceback: Jinja2 rewrites it to name the template."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _sentence(error: BaseException) -> str:
    message: Any = getattr(error, "message", None) or str(error) or type(error).__name__
    text = str(message).strip().splitlines()[0][:300].rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."

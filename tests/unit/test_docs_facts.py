"""Facts that pages state and code decides: routes, transitions, log lines, commands."""

import re
from typing import Any

import pytest
import typer

from docs_pages import PAGES, ROOT, blocks, in_code, prose, read, section, table_rows
from kubectl_switchboard.main import commands as plugin
from switchboard_api.app import create_app
from switchboard_cli.main import app as cli
from switchboard_core.calls.states import TRANSITIONS, AttemptState, CallEvent
from switchboard_core.runtime import make_runtime
from switchboard_core.settings import Settings

SOURCES = sorted([*ROOT.glob("services/*/src/**/*.py"), *ROOT.glob("operator/src/**/*.py")])
# Source text with strings that span lines joined, so that a sentence is found however it is wrapped.
SOURCE = re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text(encoding="utf-8") for path in SOURCES))
# Names of settings, routes, states and commands are checked elsewhere or are not log lines.
NOT_WORDS = re.compile(
    r"^(\.|curl|helm |kubectl |pg_|switchboard |GET |POST |PATCH |file://|[A-Z_]+(=\S*)?$|[a-z_.]+$|\{|CONFIG )"
)


def routes() -> set[str]:
    settings = Settings(_env_file=None, database_url="postgresql+psycopg://nobody@localhost/none")
    runtime = make_runtime(settings, name="docs-test")
    try:
        paths = create_app(runtime).openapi()["paths"]
    finally:
        runtime.close()
    return {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


def test_the_api_page_lists_the_routes_that_exist() -> None:
    listed = {row[0].strip("`") for row in table_rows(section("api.md", "Routes"))}
    assert listed == routes()


def test_the_concepts_page_has_the_table_that_moves_an_attempt() -> None:
    rows = {row[0].strip("`"): row[1:] for row in table_rows(section("concepts.md", "Attempts and their states"))}
    states = list(TRANSITIONS)
    expected = {
        event.value: [TRANSITIONS[state].get(event, AttemptState.DIALING).value for state in states]
        for event in CallEvent
    }
    names = {state.value for state in AttemptState}
    shown = {event: [cell if cell in names else "dialing" for cell in cells] for event, cells in rows.items()}
    assert shown == expected


def quoted_words() -> list[str]:
    symptoms = [row[0] for row in table_rows(read("troubleshooting.md"))]
    return sorted({words for symptom in symptoms for words in in_code(symptom) if not NOT_WORDS.match(words)})


@pytest.mark.parametrize("words", quoted_words())
def test_the_words_of_a_symptom_occur_in_the_code(words: str) -> None:
    for part in filter(None, (part.strip() for part in words.split("…"))):
        assert part in SOURCE, f"troubleshooting.md quotes {part!r}, which no code says"


def commands(app: typer.Typer, program: str) -> dict[str, set[str]]:
    """Every command of a program with its options."""
    found: dict[str, set[str]] = {}

    def walk(command: Any, name: str) -> None:
        found[name] = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
        for child, sub in getattr(command, "commands", {}).items():
            walk(sub, f"{name} {child}")

    walk(typer.main.get_command(app), program)
    return found


def shown_commands() -> list[str]:
    """Each use of ``switchboard`` or its plugin in a block or between backticks, from its name on."""
    scripts = [block.content for page in PAGES for block in blocks(page) if block.language == "bash"]
    lines = [line for script in scripts for line in script.splitlines()]
    lines += [words for page in PAGES for words in in_code(prose(page))]
    # A chart, an object or a container may be called switchboard too.
    lines = [re.sub(r"^kubectl exec .* -- ", "", line.strip()) for line in lines]
    lines = [line for line in lines if not re.match(r"(helm|docker|kubectl (?!switchboard ))", line)]
    uses = (re.search(r"(?:^|[\s/=])((?:kubectl )?switchboard(?: .*)?)$", line) for line in lines)
    return sorted({use[1] for use in uses if use and " " in use[1].removeprefix("kubectl ")})


@pytest.mark.parametrize("use", shown_commands())
def test_a_command_that_a_page_shows_exists(use: str) -> None:
    program, app = ("kubectl switchboard", plugin) if use.startswith("kubectl ") else ("switchboard", cli)
    known = commands(app, program)
    words = [word for word in re.sub(r'"[^"]*"', "TEXT", use).split() if word not in {"\\", "…"}]
    name, words = program, words[len(program.split()) :]
    while words and f"{name} {words[0]}" in known:
        name = f"{name} {words.pop(0)}"
    assert name != program or words[0].startswith(("-", "<")), f"there is no command in {use!r}"
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known[name]


def test_make_targets_that_pages_show_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    use = re.compile(r"(?:^|`)make ([a-z][a-z0-9-]*)", re.MULTILINE)
    assert {target for page in PAGES for target in use.findall(read(page))} <= targets

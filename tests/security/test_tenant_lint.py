"""The lint rule against queries outside a tenant's transaction, tried with what it has to catch."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from docs_pages import ROOT

RULE = ROOT / ".ci" / "tenants.py"
LISTED = "switchboard_core/calls/pump.py"


def load_rule() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tenants_rule", RULE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


rule = load_rule()


def lines(source: str, module: str = LISTED) -> list[int]:
    """Lines of a module that the rule objects to."""
    return [finding.line for finding in rule.check(source, module)]


def run_on(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, RULE, folder], capture_output=True, text=True, check=False, timeout=60)


def plant(folder: Path, source: str) -> Path:
    """A tree of services with one module."""
    module = folder / "worker" / "src" / "switchboard_worker" / "tasks" / "planted.py"
    module.parent.mkdir(parents=True)
    module.write_text(source, encoding="utf-8")
    return folder


def test_the_services_keep_to_it() -> None:
    found, modules = rule.check_tree(ROOT / "services")
    assert [str(finding) for finding in found] == []
    assert modules > 150


def test_a_planted_query_fails_the_command_with_its_place(tmp_path: Path) -> None:
    source = (
        "def leads(database):\n    with database.crossing() as session:\n        return session.scalars(select(Lead))\n"
    )
    result = run_on(plant(tmp_path, source))
    assert result.returncode == 1
    assert result.stderr.startswith("switchboard_worker/tasks/planted.py:2: crossing() opens")


def test_a_clean_tree_passes_and_an_empty_one_does_not(tmp_path: Path) -> None:
    source = (
        "def leads(database):\n    with database.tenant(1) as session:\n        return session.scalars(select(Lead))\n"
    )
    assert run_on(plant(tmp_path, source)).returncode == 0
    assert run_on(tmp_path / "worker" / "src" / "switchboard_worker").returncode == 1


@pytest.mark.parametrize(
    "use",
    [
        "session.scalars(select(Lead))",
        "session.execute(text('SELECT * FROM leads'))",
        "read(session)",
        "other.crossing_of(session, 1)",
        "session.get(Lead, 1)",
        "crossing.run(1, session)",
        "[session]",
    ],
)
def test_a_crossing_session_goes_nowhere_but_to_crossing(use: str) -> None:
    source = f"with database.crossing() as session:\n    ref = crossing.run(session, 1)\n    {use}\n"
    assert lines(source) == [3]


@pytest.mark.parametrize(
    "source",
    [
        "with database.crossing() as session:\n    ref = crossing.run(session, 1)\n",
        "with d.crossing() as s:\n    ref = crossing.run(s, 1)\n    set_tenant(s, ref.id)\n    s.scalar(query)\n",
        "with d.crossing() as s:\n    crossing.businesses(s)\n    with d.tenant(1) as s:\n        s.scalar(query)\n",
    ],
)
def test_what_crosses_as_it_should_is_left_alone(source: str) -> None:
    assert lines(source) == []


def test_before_its_tenant_is_set_a_session_asks_nothing() -> None:
    source = "with d.crossing() as s:\n    s.scalar(query)\n    set_tenant(s, 1)\n    s.scalar(query)\n"
    assert lines(source) == [2]


@pytest.mark.parametrize("source", ["session = database.crossing()\n", "stack.enter_context(database.crossing())\n"])
def test_a_crossing_that_cannot_be_followed_is_refused(source: str) -> None:
    assert lines(source) == [1]


@pytest.mark.parametrize(
    "call",
    [
        "create_engine(url)",
        "sqlalchemy.create_engine(url)",
        "sessionmaker(engine)",
        "Session(engine)",
        "psycopg.connect(url)",
        "runtime.database.engine.connect()",
        "self._engine.begin()",
    ],
)
def test_a_connection_of_one_s_own_is_refused(call: str) -> None:
    assert lines(f"made = {call}\n") == [1]


@pytest.mark.parametrize(
    "sql", ["SELECT set_config('app.business_id', '7', true)", "SET row_security = off", "SET ROLE owner"]
)
def test_switching_the_tenant_by_hand_is_refused(sql: str) -> None:
    assert lines(f'"""Words about app.business_id."""\nstatement = "{sql}"\n') == [2]


@pytest.mark.parametrize("module", sorted(rule.CROSSING))
def test_a_module_that_no_longer_crosses_is_struck_from_the_list(module: str) -> None:
    paths = list((ROOT / "services").glob(f"*/src/{module}"))
    assert paths, f"{module} is listed and does not exist"
    source = paths[0].read_text(encoding="utf-8")
    assert ".crossing()" in source
    for call in rule.CROSSING[module]:
        with_less = dict(rule.CROSSING) | {module: rule.CROSSING[module] - {call}}
        assert rule.check(source, module, with_less), f"nothing needs {call}"

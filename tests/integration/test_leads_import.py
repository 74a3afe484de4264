"""CSV import against the real database: every row is accounted for, or nothing was written."""

import random
import threading
import tracemalloc
from collections.abc import Iterator
from itertools import chain

import pytest
from sqlalchemy import func, select, text, update
from structlog.testing import capture_logs

from integration.leads_support import LeadsBench, fresh_leads_bench
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.leads import do_not_call
from switchboard_core.leads.csv_import import ImportRunningError, import_csv
from switchboard_core.leads.csv_reader import CsvFileError, CsvLimits, CsvTooLargeError
from switchboard_core.leads.models import DoNotCall, Lead, LeadImport, LeadImportError
from switchboard_core.leads.service import import_errors

ADA, BEN, CLEO = "+14155550101", "+442079460102", "+61491570156"


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[LeadsBench]:
    with fresh_leads_bench(postgres, migrated_template, valkey) as made:
        yield made


@pytest.fixture
def bench(shared: LeadsBench) -> LeadsBench:
    return shared.for_another_business()


def nothing_was_written(bench: LeadsBench) -> bool:
    return not any(bench.count(model) for model in (Lead, LeadImport, LeadImportError, DoNotCall))


def test_every_row_is_accounted_for(bench: LeadsBench) -> None:
    bench.load(f"phone,name\n{ADA},Ada\n")
    report = bench.load(
        "phone;name;email;timezone;tags;do_not_call;attr_plan\n"
        f"{ADA};Ada Moreno;ada@example.com;;spring|vip;no;pro\n"
        f"{BEN};Ben Okafor;;;;yes;\n"
        f"{BEN};Ben again;;;;;\n"
        "letters;Cy;;;;;\n"
        f"{CLEO};Cleo;not-an-address;Mars/Base;;;\n"
        "\n"
        f"{CLEO};Cleo Tran;;Australia/Perth;;;\n"
    )
    assert (report.total, report.created, report.updated) == (6, 2, 1)
    assert (report.duplicates, report.rejected, report.do_not_call) == (1, 2, 1)
    assert [(error.line, error.column) for error in report.errors] == [(5, "phone"), (6, "email"), (6, "timezone")]
    ada, ben, cleo = (bench.lead(phone) for phone in (ADA, BEN, CLEO))
    assert (ada.name, ada.email, ada.tags, ada.attributes) == (
        "Ada Moreno",
        "ada@example.com",
        ["spring", "vip"],
        {"plan": "pro"},
    )
    assert (ben.name, ben.timezone) == ("Ben Okafor", "Europe/London")
    assert cleo.timezone == "Australia/Perth"
    assert {lead.import_id for lead in (ada, ben, cleo)} == {report.id}


def test_empty_cells_change_nothing_about_a_known_lead(bench: LeadsBench) -> None:
    bench.load(
        f"phone,name,email,timezone,tags,attr_plan,attr_seats\n{ADA},Ada,ada@example.com,Europe/Rome,vip,pro,3\n"
    )
    report = bench.load(f"phone,name,email,timezone,tags,attr_plan,attr_seats\n{ADA},,,,,free,\n")
    ada = bench.lead(ADA)
    assert (report.created, report.updated) == (0, 1)
    assert (ada.name, ada.email, ada.timezone, ada.tags) == ("Ada", "ada@example.com", "Europe/Rome", ["vip"])
    assert ada.attributes == {"plan": "free", "seats": "3"}


def test_a_deleted_lead_is_created_anew(bench: LeadsBench) -> None:
    bench.load(f"phone,name\n{ADA},Ada\n")
    with bench.session() as session:
        session.execute(update(Lead).values(deleted_at=func.now()))
    report = bench.load(f"phone\n{ADA}\n")
    assert report.created == 1
    assert bench.lead(ADA).name is None


def test_two_spellings_of_one_number_are_duplicates_and_the_first_counts(bench: LeadsBench) -> None:
    report = bench.load("phone,name\n(415) 555-0101,first\n+1 415 555 0101,second\n", default_region="US")
    assert (report.created, report.duplicates) == (1, 1)
    assert bench.lead(ADA).name == "first"


def test_do_not_call_holds_in_whichever_row_it_stands(bench: LeadsBench) -> None:
    report = bench.load(f"phone,email,do_not_call\n{ADA},,no\n{ADA},,yes\n{BEN},wrong,yes\n{CLEO},,\n")
    assert report.do_not_call == 2
    with bench.session() as session:
        assert do_not_call.listed(session, [ADA, BEN, CLEO]) == {ADA, BEN}


def test_the_business_of_another_tenant_is_left_alone(bench: LeadsBench) -> None:
    bench.load(f"phone,name,do_not_call\n{ADA},Ada,yes\n")
    rival = bench.another_business()
    with bench.session(rival) as session:
        report = import_csv(session, [f"phone,name\n{ADA},Theirs\n".encode()], filename="x", default_timezone="UTC")
        assert not do_not_call.is_listed(session, ADA)
    assert (report.created, report.updated) == (1, 0)
    assert bench.lead(ADA).name == "Ada"


def test_characters_that_copy_treats_specially_arrive_as_they_are(bench: LeadsBench) -> None:
    name = 'back\\slash \\N, "quoted"\tand tab 🙂'
    quoted = name.replace('"', '""')
    bench.load(f'phone,name,attr_note\n{ADA},"{quoted}","{quoted}"\n')
    ada = bench.lead(ADA)
    assert (ada.name, ada.attributes) == (name, {"note": name})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"name,email\nAda,ada@example.com\n",
        b"phone,shoe size\n+14155550101,38\n",
        b'phone,name\n+14155550101,Ada\n+442079460102,"Ben\n',
        b'phone,name\n+14155550101,Ada\n+442079460102,"Ben"jamin\n',
        b"phone,name\n+14155550101,Ada\n+442079460102,B\0en\n",
    ],
    ids=["empty", "no phone", "unknown column", "open quote", "text after quote", "binary"],
)
def test_a_malformed_file_writes_nothing(bench: LeadsBench, content: bytes) -> None:
    with pytest.raises(CsvFileError):
        bench.load(content)
    assert nothing_was_written(bench)


def test_a_refused_file_leaves_the_callers_transaction_usable(bench: LeadsBench) -> None:
    with bench.session() as session:
        with pytest.raises(CsvFileError):
            import_csv(session, [b'phone\n"+1'], filename="x", default_timezone="UTC")
        assert import_csv(session, [f"phone\n{ADA}\n".encode()], filename="y", default_timezone="UTC").created == 1
    assert bench.count(Lead) == 1


def test_a_file_that_is_too_large_writes_nothing(bench: LeadsBench) -> None:
    rows = (f"+1415{5_000_000 + index}\n".encode() for index in range(100_000))
    with pytest.raises(CsvTooLargeError, match="larger than 10000 bytes"):
        bench.load(chain([b"phone\n"], rows), limits=CsvLimits(max_bytes=10_000))
    assert nothing_was_written(bench)


def test_wrong_bytes_reject_their_row_alone(bench: LeadsBench) -> None:
    report = bench.load(f"phone,name\n{ADA},Ada\n{BEN},".encode() + b"M\xfcller\n" + f"{CLEO},Cleo\n".encode())
    assert (report.created, report.rejected) == (2, 1)
    assert (report.errors[0].line, report.errors[0].column) == (3, "name")
    assert "UTF-8" in report.errors[0].message


def test_the_report_shows_a_hundred_errors_and_the_rest_page_by_page(bench: LeadsBench) -> None:
    report = bench.load("phone\n" + "wrong\n" * 250)
    assert (report.rejected, len(report.errors)) == (250, 100)
    with bench.session() as session:
        first = import_errors(session, report.id, limit=200)
        rest = import_errors(session, report.id, after_id=first[-1].id, limit=200)
    assert [error.line for error in (*first, *rest)] == list(range(2, 252))


def test_another_import_of_the_business_has_to_wait(bench: LeadsBench) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        yield b"phone\n"
        begun.set()
        assert go_on.wait(20)
        yield f"{ADA}\n".encode()

    first = threading.Thread(target=bench.load, args=(slow(),))
    first.start()
    try:
        assert begun.wait(20)
        with pytest.raises(ImportRunningError):
            bench.load(f"phone\n{BEN}\n")
    finally:
        go_on.set()
        first.join(20)
    assert bench.load(f"phone\n{BEN}\n").created == 1


def test_the_session_has_its_ordinary_limits_after_an_import(bench: LeadsBench) -> None:
    with bench.session() as session:
        limits = text("SELECT current_setting('statement_timeout') || current_setting('work_mem')")
        before = session.scalar(limits)
        import_csv(session, [b"phone\n"], filename="x", default_timezone="UTC")
        assert session.scalar(limits) == before


def test_the_log_has_counts_and_no_numbers(bench: LeadsBench) -> None:
    with capture_logs() as logs:
        bench.load(f"phone,name\n{ADA},Ada\nwrong,Ben\n")
    (line,) = [entry for entry in logs if entry["event"] == "leads imported"]
    assert (line["created"], line["rejected"]) == (1, 1)
    assert not any(digits in str(logs) for digits in (ADA, ADA[1:], "5550101"))


def test_counts_equal_rows_for_any_mixture(bench: LeadsBench) -> None:
    rng = random.Random(11)
    numbers = [f"+1415555{index:04d}" for index in range(100, 160)]
    for _ in range(4):
        rows = [
            rng.choice([*numbers, "12", "letters", ""]) + "," + rng.choice(["", "yes", "no", "?"]) for _ in range(80)
        ]
        known = bench.count(Lead)
        report = bench.load("phone,do_not_call\n" + "\n".join(rows) + "\n")
        assert report.total == report.created + report.updated + report.duplicates + report.rejected == 80
        assert bench.count(Lead) == known + report.created
        assert bench.count(Lead, Lead.import_id == report.id) == report.created + report.updated
        lines = select(func.count(LeadImportError.line.distinct())).where(LeadImportError.import_id == report.id)
        with bench.session() as session:
            assert session.scalar(lines) == report.rejected


@pytest.mark.slow
def test_memory_stays_constant_over_a_hundred_thousand_rows(bench: LeadsBench) -> None:
    def rows(number: int) -> Iterator[bytes]:
        yield b"phone,name,attr_note\n"
        for start in range(0, number, 500):
            lines = (f"+1415{2_000_000 + index % 20_000},Lead {index},a note\n" for index in range(start, start + 500))
            yield "".join(lines).encode()

    bench.load(rows(500))  # compiled patterns and metadata are not the file's
    tracemalloc.start()
    try:
        report = bench.load(rows(100_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (report.total, report.duplicates) == (100_000, 80_000)
    assert peak < 4 * 1024 * 1024, f"{peak / 1024 / 1024:.1f} MB"

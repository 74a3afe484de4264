"""Finding leads, and the do-not-call list."""

from collections.abc import Iterator

import pytest
from sqlalchemy import select, text

from integration.leads_support import LeadsBench, fresh_leads_bench
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.leads import do_not_call
from switchboard_core.leads.filters import LeadConditions, LeadFilter, LeadQuery
from switchboard_core.leads.models import Lead
from switchboard_core.leads.service import count, list_leads, select_ids_after

ADA, BEN, CLEO, DAN = "+14155550101", "+442079460102", "+61491570156", "+493023125004"
CONTENT = (
    "phone,name,timezone,tags,do_not_call\n"
    f"{ADA},Ada Moreno,America/Los_Angeles,spring|vip,\n"
    f"{BEN},Ben 100% Okafor,Europe/London,vip,yes\n"
    f"{CLEO},Cleo Tran,Australia/Sydney,,\n"
)


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[LeadsBench]:
    with fresh_leads_bench(postgres, migrated_template, valkey) as made:
        yield made


@pytest.fixture
def bench(shared: LeadsBench) -> LeadsBench:
    made = shared.for_another_business()
    made.load(CONTENT)
    made.load(f"phone,name\n{DAN},Dan\n")
    return made


@pytest.mark.parametrize(
    ("conditions", "phones"),
    [
        (LeadQuery(), [ADA, BEN, CLEO, DAN]),
        (LeadFilter(all=True), [ADA, BEN, CLEO, DAN]),
        (LeadQuery(tags=["spring", "nothing"]), [ADA]),
        (LeadQuery(tags=["vip"]), [ADA, BEN]),
        (LeadQuery(tags=["vi"]), []),
        (LeadQuery(timezone="europe/london"), [BEN]),
        (LeadQuery(do_not_call=True), [BEN]),
        (LeadQuery(do_not_call=False), [ADA, CLEO, DAN]),
        (LeadQuery(search="mor"), [ADA]),
        (LeadQuery(search="100%"), [BEN]),
        (LeadQuery(search="_o"), []),
        (LeadQuery(search="0102"), [BEN]),
        (LeadQuery(search="57 01-56"), [CLEO]),
        (LeadQuery(tags=["vip"], do_not_call=False), [ADA]),
    ],
    ids=str,
)
def test_conditions_select_the_leads_that_meet_them_all(
    bench: LeadsBench, conditions: LeadConditions, phones: list[str]
) -> None:
    with bench.session() as session:
        found = list_leads(session, conditions)
        assert [lead.phone for lead in found] == phones
        assert count(session, conditions) == len(phones)


def test_an_import_selects_the_leads_that_were_in_it(bench: LeadsBench) -> None:
    report = bench.load(f"phone\n{ADA}\n{DAN}\n")
    with bench.session() as session:
        assert [lead.phone for lead in list_leads(session, LeadQuery(import_id=report.id))] == [ADA, DAN]


def test_the_list_says_who_must_not_be_called(bench: LeadsBench) -> None:
    with bench.session() as session:
        marked = {lead.phone: lead.do_not_call for lead in list_leads(session, LeadQuery())}
    assert marked == {ADA: False, BEN: True, CLEO: False, DAN: False}


def test_ids_come_in_pages_by_the_last_one_seen(bench: LeadsBench) -> None:
    everybody = LeadFilter(all=True)
    with bench.session() as session:
        first = select_ids_after(session, everybody, 0, 3)
        rest = select_ids_after(session, everybody, first[-1], 3)
        assert select_ids_after(session, everybody, 0, 10, up_to_id=first[1]) == list(first[:2])
    assert [*first, *rest] == sorted({*first, *rest})
    assert (len(first), len(rest)) == (3, 1)


def test_nobody_sees_leads_of_another_business(bench: LeadsBench) -> None:
    with bench.session(bench.another_business()) as session:
        assert list_leads(session, LeadQuery()) == []
        assert do_not_call.listed(session, [ADA, BEN]) == set()


def test_the_hash_is_the_same_in_python_and_in_sql(bench: LeadsBench) -> None:
    written = do_not_call.PHONE_HASH_SQL.format(business_id=":business_id", phone=":phone")
    with bench.session() as session:
        by_hand = session.scalar(text(f"SELECT {written}"), {"business_id": bench.business_id, "phone": ADA})
        by_column = session.scalar(
            select(do_not_call.phone_hash_of(Lead.business_id, Lead.phone)).where(Lead.phone == ADA)
        )
    expected = do_not_call.phone_hash(bench.business_id, ADA)
    assert bytes(by_hand or b"") == bytes(by_column or b"") == expected


def test_a_number_is_put_on_the_list_once_and_taken_off(bench: LeadsBench) -> None:
    with bench.session() as session:
        entry, same = do_not_call.add(session, [CLEO]), do_not_call.add(session, [CLEO, CLEO], reason="again")
        assert [item.reason for item in (*entry, *same)] == ["requested", "requested"]
        assert do_not_call.is_listed(session, CLEO)
        assert do_not_call.remove(session, entry[0].phone_hash)
        assert not do_not_call.is_listed(session, CLEO)
        assert not do_not_call.remove(session, entry[0].phone_hash)


def test_the_list_comes_in_pages(bench: LeadsBench) -> None:
    with bench.session() as session:
        do_not_call.add(session, [ADA, CLEO, DAN])
        first = do_not_call.entries(session, limit=3)
        rest = do_not_call.entries(session, after=first[-1].phone_hash, limit=3)
    hashes = [bytes(entry.phone_hash) for entry in (*first, *rest)]
    assert len(hashes) == 4
    assert hashes == sorted(set(hashes))


def test_asking_about_nobody_asks_the_database_nothing(bench: LeadsBench) -> None:
    with bench.session() as session:
        assert do_not_call.listed(session, []) == set()
        assert do_not_call.add(session, []) == []

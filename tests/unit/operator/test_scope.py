"""What an operator with few rights watches, and when it makes room for one that watches more."""

import asyncio

import pytest

from switchboard_operator.api import Api
from switchboard_operator.scope import Scope, await_scope, leave_for_another
from unit.operator.fake_api import FakeApi

SCOPE = Scope(namespaces=("calls",), left_out=("other",), keda=False)


def scope_of(api: FakeApi, *namespaces: str) -> Scope | None:
    async def run() -> Scope | None:
        return await asyncio.wait_for(await_scope(Api(api), namespaces, asyncio.Event()), 5)

    return asyncio.run(run())


def leaves(api: FakeApi, scope: Scope) -> bool:
    """Whether it leaves before it has asked ten times."""

    async def run() -> bool:
        stop, enough = asyncio.Event(), asyncio.Event()
        asked = iter(range(10))
        api.look = lambda _verb, _path: enough.set() if next(asked, None) is None else None
        task = asyncio.create_task(leave_for_another(Api(api), scope, stop, every_s=0.001))
        await asyncio.wait({task, asyncio.create_task(enough.wait())}, return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        return stop.is_set()

    return asyncio.run(run())


def test_a_namespace_without_rights_is_left_out() -> None:
    api = FakeApi()
    api.forbidden.add("other")

    assert scope_of(api, "calls", "other") == SCOPE


def test_an_operator_for_all_namespaces_asks_for_none() -> None:
    api = FakeApi()
    api.install_keda()

    assert scope_of(api) == Scope(namespaces=(), left_out=(), keda=True)
    assert not [path for _, path in api.requests if "/namespaces/" in path]


@pytest.mark.parametrize("missing", ["definition", "rights"])
def test_it_waits_for_what_is_missing_and_says_so(missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    api = FakeApi()
    served = dict(api.served)
    if missing == "definition":
        api.served.clear()
    else:
        api.forbidden.add("calls")

    def come(_verb: str, _path: str) -> None:
        if len(api.requests) > 2:
            api.served |= served
            api.forbidden.clear()

    api.look = come
    assert scope_of(api, "calls") == Scope(namespaces=("calls",), left_out=(), keda=False)
    assert capsys.readouterr().out.count("waiting for the API server") == 1


def test_a_process_that_is_asked_to_go_waits_no_longer() -> None:
    async def run() -> Scope | None:
        stop = asyncio.Event()
        stop.set()
        return await await_scope(Api(FakeApi()), ("calls",), stop)

    assert asyncio.run(run()) is None


def test_it_leaves_when_a_namespace_may_be_watched() -> None:
    assert leaves(FakeApi(), SCOPE)


def test_it_leaves_when_keda_was_installed() -> None:
    api = FakeApi()
    api.forbidden.add("other")
    api.install_keda()

    assert leaves(api, SCOPE)


def test_it_leaves_when_a_watched_namespace_may_not_be_read_any_more() -> None:
    """kopf would go on without a single watch, and nobody would notice."""
    api = FakeApi()
    api.forbidden |= {"other", "calls"}

    assert leaves(api, SCOPE)


def test_it_stays_as_long_as_there_is_nothing_more() -> None:
    api = FakeApi()
    api.forbidden.add("other")

    assert not leaves(api, SCOPE)

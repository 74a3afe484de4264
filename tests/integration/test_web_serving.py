"""The pages for people as the api serves them: what may be kept, what may run, and what they never shadow."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from docs_pages import ROOT
from integration.api_support import assert_problem, running_api
from switchboard_api import web
from switchboard_api.app import ROUTERS
from switchboard_core.jobs.catalog import CATALOG

SOURCE = ROOT / "services" / "api" / "web"
BUILT = web.BUILT
ASSET = "assets/index-abc123.js"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pages lie for these tests."""
    built = tmp_path_factory.mktemp("pages") / "web_dist"
    built.mkdir()
    (built / "assets").mkdir()
    (built / "index.html").write_text("<!doctype html><title>Switchboard</title>", encoding="utf-8")
    (built / ASSET).write_text("export {};" * 500, encoding="utf-8")
    return built


@pytest.fixture(scope="module")
def client(built: Path) -> Iterator[httpx.Client]:
    """A client of an api that has neither database nor Redis: for its pages it needs none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "BUILT", built)
        with running_api() as api:
            yield api.client()


@pytest.mark.parametrize("path", [path.replace("{id:int}", "17") for path in web.PAGES])
def test_every_page_is_the_application_and_is_asked_for_again(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["cache-control"] == "no-cache"
    assert client.head(path).status_code == 200


def test_a_page_may_load_and_connect_to_nothing_but_its_own_server(client: httpx.Client) -> None:
    headers = client.get("/").headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"


def test_an_asset_is_kept_for_ever_and_travels_compressed(client: httpx.Client) -> None:
    answer = client.get(f"/{ASSET}", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/tasks/x", "/campaigns/3/more", "/index.html", "/api/x", "/ws/x", "/webhooks/x"])
def test_what_is_no_page_stays_a_problem(client: httpx.Client, path: str) -> None:
    assert_problem(client.get(path), 404)


@pytest.mark.parametrize("path", ["/assets/missing.js", "/assets/%2e%2e/index.html", "/assets/"])
def test_nothing_beside_the_assets_is_served_as_one(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"


def test_where_nothing_was_built_a_page_says_how(client: httpx.Client, built: Path) -> None:
    built.rename(built.with_name("elsewhere"))
    try:
        answer = client.get("/tasks")
        assert answer.status_code == 503
        assert "make web" in answer.text
        assert client.get(f"/{ASSET}").status_code == 404
    finally:
        built.with_name("elsewhere").rename(built)


def test_pages_shadow_no_route_of_the_api() -> None:
    taken = {getattr(route, "path", "").split("/")[1] for router in ROUTERS for route in router.routes}
    own = {path.split("/")[1] for path in (*web.PAGES, web.ASSETS)}
    assert own.isdisjoint(taken | {"api", "ws", "webhooks", "metrics", "docs", "sort", "voice", "u"} - {""})


def test_the_api_and_the_application_list_the_same_pages() -> None:
    listed = re.search(r"PATHS = \[([^\]]*)\]", (SOURCE / "src/router/routes.ts").read_text(encoding="utf-8"))
    assert listed
    assert re.findall(r'"([^"]+)"', listed[1]) == [path.replace("{id:int}", "{id}") for path in web.PAGES]


def test_every_type_of_task_has_a_name_for_people() -> None:
    names = (SOURCE / "src/tasks/names.ts").read_text(encoding="utf-8").partition("TASK_TYPES")[2].partition("};")[0]
    assert set(re.findall(r"^  (\w+):", names, flags=re.MULTILINE)) == set(CATALOG)


def test_the_document_that_was_built_names_files_only_and_they_are_there() -> None:
    if not (BUILT / "index.html").exists():
        pytest.skip("not built: make web")
    document = (BUILT / "index.html").read_text(encoding="utf-8")
    named = re.findall(r'(?:src|href)="([^"]+)"', document)
    assert named
    assert [name for name in named if not (BUILT / name.lstrip("/")).is_file()] == []
    # The policy would refuse them.
    assert not re.search(r"<style|style=|<script>| on\w+=", document)

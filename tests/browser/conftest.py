"""A real Chromium in front of the real services: simulator, worker and api as processes."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright

from browser import chromium
from browser.office import Office
from docs_pages import ROOT
from stack import Stack, running_stack
from switchboard_api.web import BUILT
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey

WIDTH, HEIGHT = 1200, 760
IMAGES = ROOT / "docs" / "images"

expect.set_options(timeout=20_000)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--update-screenshots`` writes the pictures of the docs."""
    parser.addoption("--update-screenshots", action="store_true", help="write docs/images/")


@pytest.fixture(scope="session")
def program() -> chromium.Chromium:
    """The browser's program; `make browser` has fetched it and built the pages."""
    assert (BUILT / "index.html").exists(), "the pages are not built: run `make browser`"
    return chromium.ensure()


@pytest.fixture(scope="session")
def chrome(program: chromium.Chromium) -> Iterator[Browser]:
    """A running browser. Its sandbox is on wherever the system lets it be: root's programs have none."""
    with sync_playwright() as playwright:

        def launch(*, sandbox: bool) -> Browser:
            return playwright.chromium.launch(
                executable_path=program.executable,
                env={**os.environ, **program.env},
                chromium_sandbox=sandbox,
                args=["--font-render-hinting=none", "--force-color-profile=srgb"],
            )

        try:
            browser = launch(sandbox=os.geteuid() != 0)
        except Error as error:
            if "No usable sandbox" not in str(error):
                raise
            browser = launch(sandbox=False)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def stack(
    stack_folder: Path,
    postgres: EmbeddedPostgres,
    migrated_template: str,
    valkey: EmbeddedValkey,
) -> Iterator[Stack]:
    """The services, with calls slow enough to be watched; each test has a business of its own."""
    name = "browser"
    urls = postgres.create_database(name, template=migrated_template)
    # Nobody is called a second time, so a campaign ends in seconds; and some calls fail, so that there are errors.
    simulator = {"SIMULATOR_TALK_SECONDS": "0.5", "SIMULATOR_MIX": '{"answer": 90, "fail": 10}'}
    try:
        with running_stack(stack_folder / name, urls, valkey.url, recorders=0, simulator=simulator) as stack:
            yield stack
    finally:
        postgres.drop_database(name)


@pytest.fixture
def context(chrome: Browser, stack: Stack) -> Iterator[BrowserContext]:
    """Windows of one person, who has been nowhere before."""
    with chrome.new_context(
        base_url=stack.api_url,
        viewport={"width": WIDTH, "height": HEIGHT},
        locale="en-GB",
        timezone_id="Europe/Rome",
        reduced_motion="reduce",
    ) as context:
        yield context


@pytest.fixture
def office(context: BrowserContext, stack: Stack) -> Iterator[Office]:
    """A business with a key, and its person in front of a browser."""
    with Office.opened(stack, context) as office:
        yield office


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Callable[[Page, str], None]:
    """Takes a picture for the docs, where that was asked for."""
    wanted = request.config.getoption("--update-screenshots")

    def take(page: Page, name: str) -> None:
        if wanted:
            IMAGES.mkdir(exist_ok=True)
            page.screenshot(path=IMAGES / f"{name}.png")

    return take

"""Who sits in front of the browser in these tests, and what is on the screen."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from playwright.sync_api import BrowserContext, Locator, Page, expect

from browser.journal import Journal
from stack import Stack

MESSAGE = "Hello {name}, your plan renews next week."


@dataclass
class Office:
    """A business with its key, and one open page.

    Attributes:
        stack: the services.
        business_id: whose they are.
        key: of an owner.
        page: the browser's.
        journal: of that page's console.
        api: what the page is compared with.
    """

    stack: Stack
    business_id: int
    key: str
    page: Page
    journal: Journal
    api: httpx.Client

    @classmethod
    @contextmanager
    def opened(cls, stack: Stack, context: BrowserContext) -> "Iterator[Office]":
        """A new business, and an empty page."""
        business_id, key = stack.business("Acme Dental", call_cap=3, calls_per_second=200)
        page = context.new_page()
        with stack.client(key) as api:
            yield cls(stack, business_id, key, page, Journal.of(page), api)

    def add_leads(self, number: int) -> None:
        """Leads with numbers of their own."""
        first = 4155551000 + 1000 * (self.business_id % 1000)
        self.stack.add_leads(self.business_id, [f"+1{first + index}" for index in range(number)])

    def sign_in(self) -> None:
        """Paste the key, as a person does."""
        self.page.goto("/")
        self.page.get_by_label("API key").fill(self.key)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_text("Acme Dental")).to_be_visible()

    def hurry(self) -> None:
        """Call many at once from now on: what the test was slow for has been seen."""
        self.api.patch("/api/business", json={"call_cap": 20}).raise_for_status()

    def start_campaign(self, name: str = "Spring renewal") -> int:
        """Fill in the form; returns the run's id once its page is there."""
        page = self.page
        page.get_by_role("link", name="Campaigns", exact=True).click()
        page.get_by_role("link", name="New campaign").click()
        page.get_by_label("Name").fill(name)
        page.get_by_label("Message").fill(MESSAGE)
        page.get_by_label("Every lead").check()
        page.get_by_role("button", name="Start calling").click()
        expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
        found = re.search(r"/campaigns/(\d+)$", page.url)
        assert found, page.url
        return int(found[1])

    def run(self, run_id: int) -> dict[str, Any]:
        """A run as the api tells it."""
        view: dict[str, Any] = self.api.get(f"/api/outbound_calls/runs/{run_id}").raise_for_status().json()
        return view

    def figure(self, name: str) -> Locator:
        """A number on the campaign's page."""
        row = self.page.locator("dl.figures > div", has=self.page.locator("dt", has_text=re.compile(f"^{name}$")))
        return row.locator("dd")

    def state(self, state: str, *, of: str = ".page-heading") -> Locator:
        """The badge with a state, of the campaign or of its task."""
        return self.page.locator(of).get_by_text(state, exact=True)

    def await_calls(self, number: int) -> None:
        """Wait until the page says that so many calls are completed."""
        self.page.wait_for_function(
            """wanted => [...document.querySelectorAll("dl.figures > div")].some(
                row => row.querySelector("dt").textContent === "Completed"
                    && Number(row.querySelector("dd").textContent) >= wanted)""",
            arg=number,
        )

    def assert_shows(self, run_id: int) -> None:
        """The page and the api agree about a run, and about its task."""
        run = self.run(run_id)
        for name in ("active", "queued", "completed", "failed", "canceled", "total"):
            expect(self.figure(name.capitalize())).to_have_text(str(run["counts"][name]))
        self.assert_shows_task(run["job_id"])

    def assert_shows_task(self, task_id: int) -> None:
        """The page and the api agree about a task."""
        task = self.api.get(f"/api/tasks/{task_id}").raise_for_status().json()
        failed = f", {task['failed']} failed" if task["failed"] else ""
        expect(self.page.locator(".task-progress .counts")).to_have_text(
            f"{task['done']} of {task['total']} done{failed}"
        )

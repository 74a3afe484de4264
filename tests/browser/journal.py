"""What a page wrote to the browser's console."""

from dataclasses import dataclass, field

from playwright.sync_api import ConsoleMessage, Error, Page

FALLBACK = "WebSocket error, falling back to polling"

_THE_BROWSERS_OWN = ("Failed to load resource:", "WebSocket connection to")
"""What Chromium itself says of a server that is away; no page can prevent it."""


@dataclass
class Journal:
    """The console of one page, from its beginning."""

    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    of_the_network: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, page: Page) -> "Journal":
        """Write down what ``page`` says from now on."""
        journal = cls()
        page.on("console", journal._hear)
        page.on("pageerror", journal._fail)
        return journal

    def _hear(self, message: ConsoleMessage) -> None:
        if message.text.startswith(_THE_BROWSERS_OWN):
            self.of_the_network.append(message.text)
        elif message.type == "warning":
            self.warnings.append(message.text)
        elif message.type in {"error", "assert"}:
            self.errors.append(message.text)

    def _fail(self, error: Error) -> None:
        self.errors.append(str(error))

    def assert_quiet(self) -> None:
        """Nothing at all was said."""
        assert (self.warnings, self.errors, self.of_the_network) == ([], [], [])

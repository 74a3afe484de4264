"""Why a mail was not taken, or may have been; each error's text is one sentence for people."""


class NotSentError(Exception):
    """Certainly nothing was accepted.

    ``account_fault`` says that no mail can leave before a person has mended the account; otherwise try again later.
    """

    def __init__(self, sentence: str, *, account_fault: bool = False) -> None:
        super().__init__(sentence)
        self.account_fault = account_fault


class NotAllowedError(NotSentError):
    """The server lets the account send no such mail, or no more of them.

    Most often that is so for every mail of the account; sometimes for this one alone.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, account_fault=True)


class AddressRefusedError(Exception):
    """The server refused the recipient for good (5xx to RCPT)."""


class ContentRefusedError(Exception):
    """The server refused this mail for good (5xx to DATA or to its end)."""


class AnswerLostError(Exception):
    """The mail was sent to its end and the answer is missing: it may have been accepted."""

"""Failures that a person can understand and cure: one sentence, an exit status, no traceback."""


class CliError(Exception):
    """A command cannot do what it was asked for.

    Args:
        sentence: what happened and what to do.
        status: exit status of the process.
    """

    def __init__(self, sentence: str, status: int = 1) -> None:
        super().__init__(sentence)
        self.status = status

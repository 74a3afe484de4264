"""What can go wrong with a mailbox; each error's text is one sentence for people."""


class MailboxError(Exception):
    """Something about a mailbox went wrong.

    Attributes:
        retryable: the same may succeed a while later.
    """

    retryable = False


class WrongCredentialsError(MailboxError):
    """The mail server does not take user name and password, or the access token."""


class MailboxRefusedError(MailboxError):
    """The mail server answered no, or the mailbox may not be reached in this way."""


class MailboxUnreachableError(MailboxError):
    """The mail server cannot be reached now."""

    retryable = True


class MailboxLostError(MailboxError):
    """The connection broke; whether the last command took effect is not known."""

    retryable = True

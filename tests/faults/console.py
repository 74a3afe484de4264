"""What a person sees while it runs."""

import sys
from datetime import datetime


def say(line: str) -> None:
    """Write one line of progress, with the time of day."""
    sys.stdout.write(f"{datetime.now().astimezone():%H:%M:%S} {line}\n")
    sys.stdout.flush()


def show(text: str) -> None:
    """Write text as it is."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()

"""What the customer's TwiML means for the length of a call; its words are not spoken."""

from enum import Enum
from xml.etree import ElementTree as ET

_ENDS = {"Hangup", "Reject"}


class Conduct(Enum):
    """What a document does with the call."""

    GOES_ON = "goes on"
    ENDS = "ends"
    INVALID = "invalid"


def read(document: str) -> Conduct:
    """Tell whether a document lets the conversation happen, ends it at once or is not TwiML."""
    try:
        # Expat limits the expansion of entities itself, and the document comes from the server under test.
        response = ET.fromstring(document)  # noqa: S314
    except ET.ParseError:
        return Conduct.INVALID
    if response.tag != "Response":
        return Conduct.INVALID
    first = next(iter(response), None)
    return Conduct.ENDS if first is None or first.tag in _ENDS else Conduct.GOES_ON

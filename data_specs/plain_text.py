"""Text that people and files bring: control characters are refused at the edge, and seen where they are."""

import re

# A terminal obeys the first, a database refuses NUL, a reader is misled by the marks of direction.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain_text(text: str) -> str:
    """The text itself; raises ValueError where it is more than one line of letters."""
    found = _CONTROL.search(text)
    if found:
        raise ValueError(f"it has the control character {_seen(found)}; write one line of letters")
    return text


def visible(text: str) -> str:
    r"""The text as it may be printed: ``\x1b`` in four letters where a terminal would obey the character."""
    return _CONTROL.sub(_seen, text)


def _seen(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()

"""Check text from people and files: refuse control characters, or make them visible."""

import re

# A terminal obeys control characters, a database refuses NUL, and direction marks mislead a reader.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain_text(text: str) -> str:
    """Return the text. Raises ValueError if it is more than one line of printable characters."""
    character = _CONTROL.search(text)
    if character:
        raise ValueError(f"it has the control character {_seen(character)}; write one line of letters")
    return text


def visible(text: str) -> str:
    r"""The text in printable form: ``\x1b`` as four characters where a terminal would obey the character."""
    return _CONTROL.sub(_seen, text)


def _seen(character: re.Match[str]) -> str:
    return character[0].encode("unicode_escape").decode()

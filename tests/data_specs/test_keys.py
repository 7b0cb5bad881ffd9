"""Keys are what they were, and any name has one."""

import hashlib
import os
from pathlib import Path

import pytest

from data_specs.keys import derive_key


@pytest.mark.parametrize("word", ["a", "crème brûlée", "木.png", "", "a\nb", "🙂"])
def test_a_words_key_is_the_hash_of_its_utf8(word: str) -> None:
    raw = word.encode()
    expected = hashlib.sha256(b"str:%d:" % len(raw) + raw).hexdigest()[:20]
    assert derive_key(word) == expected


def test_keys_of_before_are_still_theirs() -> None:
    assert derive_key("files", "pairs", "source/é.png", 12, b"x", None, 2.5) == "9bb7fcd47d7c73109b55"
    assert derive_key(Path("a/ü.png")) == "4264872bcb68d4c17749"


def test_names_that_are_no_utf8_have_keys_of_their_own() -> None:
    names = [
        os.fsdecode(b"caf\xe9"),
        os.fsdecode(b"caf\xc3\xa9"),
        "caf\ud800",
        "caf\\xe9",
        os.fsdecode(b"caf\xff"),
    ]
    assert len({derive_key(name) for name in names}) == len(names)

"""Checks the docs' prose: old words, doubled words, long sentences, and a page's median sentence.

`python tests/prose.py docs README.md` lists faults and exits 1 if there are any. `--median` prints medians.
Code and link targets are no prose: only what a reader reads as words counts.
"""

import argparse
import re
import statistics
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
MEDIAN_WORDS = 20
"""The longest median sentence of a README, a guide or a help text."""
LONG_WORDS = 30
"""Longer sentences get a warning."""
MAX_WORDS = 35
"""A longer sentence is a fault. Tables, headings and code are not counted."""

OLD_WORDS = {
    r"pictures?": "image",
    r"(?<!label )studio": "synthetic renderer",
    r"judges?|judged|judging": "discriminator, score",
    r"films?|filmed|shots?": "render, sample",
    r"harvests?": "shard result",
    r"desk": "review service",
    r"wakers?": "resumer",
    r"keepers?": "maintenance",
    r"mend|mends|mended|mending": "repair, fix",
    r"rooms?|house": "package, layer",
    r"drawers?": "package",
    r"quarrels?": "conflict",
    r"skirts?": "mask variant",
    r"by-hand|night queues?": "manual, nightly",
    r"readmit\w*": "enable",
    r"least share|greatest share|most share": "minimum, maximum, fraction",
}
"""What the field does not say, as whole words in any case, and what it says."""

_OLD = [(re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), word) for pattern, word in OLD_WORDS.items()]
_DOUBLED = re.compile(r"\b([a-z]+) \1\b")
_WORD = re.compile(r"[\w’'·.,%°×+−-]*\w[\w’'%°-]*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”')\]*]*\s+(?=[\"“('*\[]*[A-Z0-9«])")
_SHORT_FORMS = re.compile(r"\b(e\.g|i\.e|vs|cf|Fig|No|approx|etc)\.")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence, and where it begins."""

    text: str
    line: int
    """1-based line of its paragraph; 0 for a help text."""

    @property
    def words(self) -> int:
        """Words and numbers; a code span counts as one."""
        return len(_WORD.findall(self.text))


def sentences_of(markdown: str) -> list[Sentence]:
    """The sentences of paragraphs and list items; headings, tables and code blocks have none."""
    return [sentence for text, line in _blocks(markdown, tables=False) for sentence in _split(text, line)]


def _blocks(markdown: str, *, tables: bool) -> Iterator[tuple[str, int]]:
    """Each block's words with the line it begins in; headings and cells only with ``tables``."""
    inside, line = "", 1
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        if token.map is not None:
            line = token.map[0] + 1
        if token.type.endswith("_open") and token.type.split("_")[0] in {"paragraph", "heading", "th", "td"}:
            inside = token.type.split("_")[0]
        elif token.type == "inline" and (tables or inside == "paragraph"):
            yield _words(token.children or []), line


def _words(tokens: Iterable[Token]) -> str:
    parts: list[str] = []
    for token in tokens:
        if token.type == "code_inline":
            parts.append("Code")
        elif token.type == "text":
            parts.append(token.content)
        elif token.type in {"softbreak", "hardbreak"}:
            parts.append(" ")
        elif token.type == "image":
            parts.append(token.content)
    return re.sub(r"\s+", " ", "".join(parts)).strip()


def _split(text: str, line: int) -> list[Sentence]:
    text = _SHORT_FORMS.sub(lambda found: found.group()[:-1] + "\0", text)
    pieces = (piece.replace("\0", ".").strip() for piece in _SENTENCE_END.split(text))
    return [Sentence(piece, line) for piece in pieces if _WORD.search(piece)]


def plain_sentences(text: str) -> list[Sentence]:
    """The sentences of a help text: blank lines part paragraphs, ``Example:`` lines are code."""
    paragraphs = re.split(r"\n\s*\n", text)
    prose = (part for part in paragraphs if not part.lstrip().startswith("Example"))
    return [sentence for part in prose for sentence in _split(re.sub(r"`[^`]+`|\s+", _gap, part).strip(), 0)]


def _gap(found: re.Match[str]) -> str:
    return "Code" if found.group().startswith("`") else " "


def median_words(sentences: Iterable[Sentence]) -> float:
    """The median length in words; 0 where there is no sentence."""
    lengths = [sentence.words for sentence in sentences]
    return float(statistics.median(lengths)) if lengths else 0.0


def word_faults(text: str) -> list[str]:
    """Old and doubled words of one block, each as a sentence."""
    faults = [f"'{found.group()}': say {word}" for pattern, word in _OLD for found in pattern.finditer(text)]
    return [*faults, *(f"'{found.group()}': a doubled word" for found in _DOUBLED.finditer(text))]


def faults_of(markdown: str) -> list[tuple[int, str]]:
    """Line and fault: old and doubled words, also of headings and cells, and too long sentences."""
    words = [(line, fault) for text, line in _blocks(markdown, tables=True) for fault in word_faults(text)]
    return sorted([*words, *((sentence.line, _length_fault(sentence)) for sentence in _too_long(markdown))])


def _too_long(markdown: str) -> list[Sentence]:
    return [sentence for sentence in sentences_of(markdown) if sentence.words > MAX_WORDS]


def _length_fault(sentence: Sentence) -> str:
    return f"{sentence.words} words, more than {MAX_WORDS}: '{sentence.text[:60]} …': split it"


def pages(paths: Iterable[Path]) -> list[Path]:
    """The Markdown files among and under ``paths``, sorted."""
    return sorted({page for path in paths for page in (path.rglob("*.md") if path.is_dir() else [path])})


def main(arguments: list[str] | None = None) -> int:
    """Prints faults and long sentences, or medians; 1 where there is a fault."""
    parser = argparse.ArgumentParser(description="Old words and long sentences of Markdown files.")
    parser.add_argument("paths", nargs="+", type=Path, help="files, or folders of them")
    parser.add_argument("--median", action="store_true", help="print each page's median sentence instead")
    chosen = parser.parse_args(arguments)
    failed = False
    for page in pages(chosen.paths):
        text = page.read_text(encoding="utf-8")
        sentences = sentences_of(text)
        if chosen.median:
            print(f"{page}: median {median_words(sentences):g} words of {len(sentences)} sentences")
            continue
        for line, fault in faults_of(text):
            print(f"{page}:{line}: {fault}")
            failed = True
        for sentence in sentences:
            if LONG_WORDS < sentence.words <= MAX_WORDS:
                print(f"{page}:{sentence.line}: warning: {sentence.words} words: {sentence.text[:60]} …")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

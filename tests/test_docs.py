"""The docs keep their rules: words, sentence lengths, a template for decisions, names that lead somewhere."""

import ast
import importlib
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

ROOT = Path(__file__).resolve().parents[1]
PROSE = runpy.run_path(str(ROOT / "tests" / "prose.py"))
NOT_REWRITTEN = {
    "docs/development/code-map.md",
}
"""Pages still in the old words, or still where they were. A page that is clean must leave this list."""
DECISIONS = sorted((ROOT / "docs/development/decisions").glob("[0-9]*.md"))
FIELD_WORDS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/index.md", "docs/getting-started.md")


def own_pages() -> list[str]:
    """Every Markdown page of the project for people, relative to its root."""
    listed = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    return sorted(page.relative_to(ROOT).as_posix() for page in listed)


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def command_helps() -> Iterator[tuple[str, str]]:
    """Each command's and each option's help, as `cleanplate --help` has it."""
    scripts = tomllib.loads(read("pyproject.toml"))["project"]["scripts"]
    module, _, name = scripts["cleanplate"].partition(":")
    yield from _helps("cleanplate", typer.main.get_command(getattr(importlib.import_module(module), name)))


def _helps(path: str, command: Any) -> Iterator[tuple[str, str]]:
    context = command.make_context(path, [], resilient_parsing=True)
    real = context.command  # a command that was only named until now is imported by its context
    yield path, real.help or ""
    for parameter in real.params:
        yield f"{path} {parameter.name}", getattr(parameter, "help", None) or ""
    for name in real.list_commands(context) if hasattr(real, "list_commands") else ():
        yield from _helps(f"{path} {name}", real.get_command(context, name))


@pytest.mark.parametrize("page", sorted(set(own_pages()) - NOT_REWRITTEN))
def test_a_page_uses_the_words_of_the_field(page: str) -> None:
    assert PROSE["faults_of"](read(page)) == []


@pytest.mark.parametrize("page", sorted(NOT_REWRITTEN))
def test_only_pages_with_old_words_wait_to_be_rewritten(page: str) -> None:
    assert (ROOT / page).exists(), "take it from NOT_REWRITTEN"
    if not page.startswith("docs/"):  # pages in docs/ wait to be moved, too
        assert PROSE["faults_of"](read(page)), "take it from NOT_REWRITTEN"


@pytest.mark.parametrize(
    "page", [page for page in own_pages() if page in FIELD_WORDS or page.startswith("docs/guides/")]
)
def test_the_median_sentence_is_short(page: str) -> None:
    median = PROSE["median_words"](PROSE["sentences_of"](read(page)))
    assert 0 < median <= PROSE["MEDIAN_WORDS"]


def test_the_median_sentence_of_the_help_is_short() -> None:
    sentences = [sentence for _, text in command_helps() for sentence in PROSE["plain_sentences"](text)]
    assert len(sentences) > 100
    assert PROSE["median_words"](sentences) <= PROSE["MEDIAN_WORDS"]


def test_the_help_uses_the_words_of_the_field() -> None:
    assert [(where, fault) for where, text in command_helps() for fault in PROSE["word_faults"](text)] == []


@pytest.mark.parametrize("note", DECISIONS, ids=lambda note: note.stem)
def test_a_decision_keeps_the_template(note: Path) -> None:
    lines = note.read_text(encoding="utf-8").splitlines()
    number = note.name[:4]
    assert re.fullmatch(rf"# {number} \S.+", lines[0])
    assert re.match(r"Status: (accepted|superseded by \d{4})\b", lines[2])
    assert [line for line in lines if line.startswith("## ")] == [
        "## Context",
        "## Decision",
        "## Consequences",
    ]
    assert len(lines) <= 40
    assert [line for line in lines if len(line) > 100 and "](" not in line] == []


def test_the_index_of_decisions_lists_each_with_its_title_and_status() -> None:
    rows = re.findall(
        r"^\| \[(\d{4})\]\(([^)]+)\)\s*\| (.+?)\s*\| (\w[\w ]*?)\s*\|",
        read("docs/development/decisions/index.md"),
        re.MULTILINE,
    )
    expected = []
    for note in DECISIONS:
        lines = note.read_text(encoding="utf-8").splitlines()
        status = re.match(r"Status: (accepted|superseded by \d{4})", lines[2])
        expected.append((note.name[:4], note.name, lines[0][7:], status[1] if status else ""))
    assert rows == expected


def test_the_index_of_experiments_leads_to_each_page() -> None:
    linked = re.findall(r"\]\(([\w-]+\.md)\)", read("docs/experiments/index.md"))
    pages = {page.name for page in (ROOT / "docs/experiments").glob("*.md")} - {"index.md"}
    assert sorted(linked) == sorted(pages)


@pytest.mark.skipif(not (ROOT / "flows/rorem").is_dir(), reason="the docs name the files of the new tree")
@pytest.mark.parametrize(
    "page",
    [
        page
        for page in own_pages()
        if page not in {*NOT_REWRITTEN, "CHANGELOG.md"} and "experiments" not in page
    ],
)
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    """Paths in code spans, not in links; a name alone, ``layers.py``, is in the folder before it."""
    missing, folder = [], ROOT
    for name in re.findall(r"`([\w./-]+\.(?:py|json|md|toml|yaml))`(?!\]\()", read(page)):
        if "NAME" in name or name in MADE:
            continue
        path = ROOT / name if "/" in name else folder / name
        folder = path.parent if "/" in name else folder
        if not path.exists() and not (ROOT / name).exists():
            missing.append(name)
    assert missing == []


_PACKAGES = "tests|benchmarks|data_specs|models|tasks|flows|deploy"
_PATH = re.compile(rf"(?<![\w./-])((?:{_PACKAGES})/[\w./-]*\w)")
_MODULE = re.compile(rf"(?<!\w)(?:-m ((?:{_PACKAGES})[\w.]*\w)|(benchmarks\.\w+))")


def missing_names(text: str) -> list[str]:
    """Paths, modules of ``python -m`` and ``benchmarks.X`` that are not there, in prose and in blocks."""
    modules = [first or second for first, second in _MODULE.findall(text)]
    paths = [name for name in _PATH.findall(text) if "NAME" not in name]
    found = {
        **{name: (ROOT / name,) for name in paths},
        **{name: (ROOT / f"{name.replace('.', '/')}.py", ROOT / name.replace(".", "/")) for name in modules},
    }
    return sorted(name for name, places in found.items() if not any(place.exists() for place in places))


@pytest.mark.parametrize("page", [page for page in own_pages() if page != "CHANGELOG.md"])
def test_every_path_and_module_that_a_page_names_is_there(page: str) -> None:
    """Experiments too: their commands are in today's names. The changelog has the names of its day."""
    assert missing_names(read(page)) == []


def test_a_path_and_a_module_that_are_not_there_are_found() -> None:
    text = (
        "`tests/flows/test_nights.py`, tasks/rorem/grow.py. `pytest tests/tasks/workers/`\n"
        "```sh\npython -m benchmarks.judge_scoring\npython -m flows.cli.main\n```\n"
        "`python -m deploy.registry`, `models/metrics/NAME.py`, plates/models/3fa9, benchmarks.growth"
    )
    assert missing_names(text) == [
        "benchmarks.judge_scoring",
        "deploy.registry",
        "tests/flows/test_nights.py",
        "tests/tasks/workers",
    ]


def defined_in(path: str) -> set[str]:
    """The functions, classes and values at the top of a file."""
    names: set[str] = set()
    for node in ast.parse(read(path)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def test_each_fact_of_the_papers_has_a_function_that_is_in_its_file() -> None:
    page = read("docs/papers.md")
    table = page.split("## Where each fact lives")[1].split("## Deviations")[0]
    rows = re.findall(r"^\| (\d[^|]*?) +\| (.+?) +\|", table, re.MULTILINE)
    facts = set(re.findall(r"^### Fact (\d+):", page, re.MULTILINE))
    assert {fact.split(",")[0] for fact, _ in rows} == facts
    for fact, cell in rows:
        for part in [] if cell == "–" else cell.split("; "):
            path, *functions = re.findall(r"`([^`]+)`", part)
            assert functions, (fact, path)
            assert set(functions) <= defined_in(path), (fact, path)


def test_each_abstraction_of_the_architecture_is_in_its_file() -> None:
    section = read("docs/development/architecture.md").split("## Abstractions")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) +\| `([\w/]+\.py)` ", section, re.MULTILINE)
    assert len(rows) > 10
    assert [
        (names, path) for names, path in rows if not set(re.findall(r"\w+", names)) <= defined_in(path)
    ] == []


def test_each_function_of_the_readme_is_in_its_file() -> None:
    named = re.findall(r"`(\w+)` in \[`[\w.]+`\]\(([\w/.]+)\)", read("README.md"))
    assert len(named) > 10
    assert [(name, path) for name, path in named if name not in defined_in(path)] == []
    assert ("effect_layer", "tasks/objectclear/layers.py") in named


MADE = {"meta.json", "model-card.json", "card.json", "tasks.json", "paper-tables.md"}
"""Names of what runs make, or of other people's files."""


def test_the_site_builds_strictly_and_asks_no_other_machine(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="the extra `docs` is not installed")
    built = subprocess.run(
        # Not --quiet: strict counts the warnings that are logged.
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    fetched = re.compile(
        r"<(?:script|img|iframe)[^>]+src=\"?https?://|<link[^>]+(?:stylesheet|preconnect)[^>]+https?://"
    )
    assert [page.name for page in pages if fetched.search(page.read_text(encoding="utf-8"))] == []


def test_sentences_are_counted_as_a_reader_counts_them() -> None:
    text = "# A heading. None.\n\nOne two three. Is `a b c` four?\n\n- five\n\n| cell |\n|---|\n| x y |\n"
    assert [sentence.words for sentence in PROSE["sentences_of"](text)] == [3, 3, 1]
    assert PROSE["median_words"](PROSE["sentences_of"](text)) == 3
    assert [
        sentence.words for sentence in PROSE["plain_sentences"]("Do it, e.g. now.\n\nExample: a b c")
    ] == [4]


def test_a_sentence_of_more_than_35_words_is_a_fault_outside_of_tables_and_code() -> None:
    most, more = ("one two " * 18)[:-5], "one two " * 18
    text = f"{most}.\n\n- {more}.\n\n| {more} |\n|---|\n\n```\n{more}\n```\n"
    assert [(line, fault.split(":")[0]) for line, fault in PROSE["faults_of"](text)] == [
        (3, "36 words, more than 35")
    ]


def test_old_and_doubled_words_are_found_outside_of_code_only() -> None:
    text = "A picture of the the dog.\n\n`picture`, imagepicture, Label Studio\n\n| The Judge |\n|---|\n"
    assert [line for line, _ in PROSE["faults_of"](text)] == [1, 1, 5]
    assert [fault.split(":")[0] for _, fault in PROSE["faults_of"](text)] == [
        "'picture'",
        "'the the'",
        "'Judge'",
    ]


def test_the_files_of_a_round_are_few_and_reached_from_it() -> None:
    section = read("docs/development/architecture.md").split("## Files to open to follow one RORem round")[1]
    files = re.findall(r"`((?:data_specs|models|tasks|flows)/[\w/]+\.py)`", section)
    control = re.findall(r"^\d\d\. `([^`]+)`", section, re.MULTILINE)
    assert len(set(files)) == len(files) <= 30
    assert len(control) <= 12
    assert f"{len(files)} files, of which {len(control)} are control flow" in section
    assert set(files) <= imported_from("flows/rorem/round.py")


def imported_from(first: str) -> set[str]:
    """Every file of the project that a file imports, itself, by way of others or inside a function."""
    reached, waiting = set(), [first]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        for node in ast.walk(ast.parse(read(name))):
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                paths = [module.replace(".", "/") for module in modules]
                waiting += [
                    path
                    for stem in paths
                    for path in (f"{stem}.py", f"{stem}/__init__.py")
                    if (ROOT / path).is_file()
                ]
    return reached

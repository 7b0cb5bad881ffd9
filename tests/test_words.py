"""The old dialect is gone from what a user or a programmer writes: names, keys, options, commands, queues."""

import ast
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from yaml import safe_load

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("data_specs", "models", "tasks", "flows", "deploy")
MIGRATIONS = "data_specs/migrations/"
"""What a ledger was called stays written where it is migrated."""

WORDS = {
    "picture": "image",
    "judge": "discriminator",
    "judged": "scored",
    "studio": "synthetic",
    "film": "render",
    "filmed": "rendered",
    "shot": "sample",
    "harvest": "shard result",
    "desk": "review service",
    "waker": "resumer",
    "keeper": "maintenance",
    "morning": "daily report",
    "mend": "fix",
    "quarrel": "conflict",
    "skirt": "side region",
    "drawer": "package",
    "least": "min",
    "greatest": "max",
    "readmit": "enable",
}
"""Parts of an identifier that the field does not say, and what it says. A plural counts as its singular."""
LABEL_STUDIO = re.compile("label_?studio", re.IGNORECASE)
"""A product's name."""

NO_NOUNS = ("each", "found", "known", "told")
"""Names that a variable may not have: a noun says what it holds. A record's field may be named so."""
FRAGMENTS = re.compile(r"(?:Of|Its|Whose|So many|How (?:long|many|it)|Another seed)\b|.*\bshares? of\b")
"""What a description may not begin with or say: it says what the setting is, and 'fraction'."""

KEYS = {
    "keep_above": "score_threshold",
    "samples_at_once": "micro_batch_size",
    "gpus_each": "gpus_per_worker",
    "limit_pixels": "max_pixels",
    "running": "distributed",
    "people": "human_review",
    "reviewer": "oracle",
    "growth": "acceptance",
    "evaluation_origin": "evaluation_source",
    "to_pool": "add_to_pool",
    "draws": "attempts",
    "shard_draws": "shard_attempts",
    "two_share": "two_object_probability",
    "known": "use_rendered_truth",
    "capture": "object_masks",
    "flatness": "ground",
    "compose": "compositing",
    "picture_format": "image_format",
    "zone": "timezone",
    "night": "run_date",
    "morning": "daily_report",
    "starts": "max_restarts",
    "forget_hours": "max_age_hours",
    "listen_seconds": "heartbeat_window_seconds",
    "shots": "count",
    "studio": "renderer",
}
"""Keys of a config that were, and what they are now."""

COMMANDS = re.compile(
    r"cleanplate (?:morning|compose\b|ingest studio|train (?:lcm|judge)|review people)"
    r"|by-hand|cleanplate-keeper|--(?:shots|draws|to-pool|(?:validation|test|overlap|gold|mixed)-share)\b"
)
"""Commands, options and deployments that were."""
TEXTS = (".py", ".yaml", ".json", ".html", ".js")


def files_of(*folders: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return listed.stdout.splitlines()


def identifiers(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8") as lines:
        for token in tokenize.generate_tokens(lines.readline):
            if token.type == tokenize.NAME:
                yield token.start[0], token.string


def old_words(identifier: str) -> list[str]:
    """The old words among the parts of ``snake_case`` and ``CamelCase``."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", LABEL_STUDIO.sub("", identifier))
    return [part for part in parts if part.lower() in WORDS or part.lower().removesuffix("s") in WORDS]


def fields_of_configs(path: Path) -> Iterator[str]:
    """The annotated fields of every class that is named as settings of a user are."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and re.search(
            r"(Config|Settings|Composites|Pairs|Source)$", node.name
        ):
            for each in node.body:
                if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                    yield each.target.id


def variables_without_a_noun(path: Path) -> list[str]:
    """Arguments and assigned names, those of a class's body apart, that are no nouns: ``line: name``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    fields = {
        id(name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for name in ast.walk(statement)
    }
    named = [
        (node.lineno, node.arg if isinstance(node, ast.arg) else node.id)
        for node in ast.walk(tree)
        if isinstance(node, ast.arg) or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
        if id(node) not in fields
    ]
    return [f"{line}: {name}" for line, name in named if name in NO_NOUNS]


@pytest.mark.parametrize(
    ("identifier", "found"),
    [
        ("min_side_px", []),
        ("least_side_px", ["least"]),
        ("PictureFormat", ["Picture"]),
        ("_shots", ["shots"]),
        ("snapshot", []),
        ("from_label_studio", []),
        ("LEAST", ["LEAST"]),
    ],
)
def test_an_old_word_is_found_as_a_part_of_a_name(identifier: str, found: list[str]) -> None:
    assert old_words(identifier) == found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_identifier_has_a_word_of_the_old_dialect(package: str) -> None:
    faults = [
        f"{name}:{line}: {identifier}: say {[WORDS.get(w.lower(), WORDS.get(w.lower()[:-1])) for w in words]}"
        for name in files_of(package)
        if name.endswith(".py") and not name.startswith(MIGRATIONS)
        for line, identifier in identifiers(ROOT / name)
        if (words := old_words(identifier))
    ]
    assert faults == []


def texts_of_settings(path: Path) -> Iterator[tuple[int, str]]:
    """The texts given as ``description=`` or ``help=``, each with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.keyword) or node.arg not in {"description", "help"}:
            continue
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.lineno, node.value.value


def test_the_text_of_a_setting_is_no_fragment() -> None:
    texts = [
        (f"{name}:{line}", text)
        for name in files_of("data_specs", "models", "tasks", "flows")
        if name.endswith(".py")
        for line, text in texts_of_settings(ROOT / name)
    ]
    assert len(texts) > 300
    assert [(place, text) for place, text in texts if FRAGMENTS.match(text)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_variable_is_named_with_a_noun(package: str) -> None:
    faults = [
        f"{name}:{fault}"
        for name in files_of(package)
        if name.endswith(".py") and not name.startswith(MIGRATIONS)
        for fault in variables_without_a_noun(ROOT / name)
    ]
    assert faults == []


def test_a_variable_without_a_noun_is_found_and_a_field_is_not(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(
        "class A:\n    found: int\n\ndef f(told):\n    for each in told:\n        x = each\n"
    )
    assert variables_without_a_noun(tmp_path / "code.py") == ["4: told", "5: each"]


def test_no_config_has_a_key_of_the_old_dialect() -> None:
    fields = [
        (name, field)
        for name in files_of(*PACKAGES)
        if name.endswith(".py")
        for field in fields_of_configs(ROOT / name)
    ]
    assert len(fields) > 150
    faults = [f"{name}: {field}: say {KEYS[field]}" for name, field in fields if field in KEYS]
    faults += [f"{name}: {field}: say …_fraction" for name, field in fields if field.endswith("_share")]
    assert faults == []


def test_no_text_of_the_packages_names_an_old_command_option_or_deployment() -> None:
    faults = [
        f"{name}: {found.group()}"
        for name in files_of(*PACKAGES, "benchmarks")
        if name.endswith(TEXTS) and not name.startswith("models/weights/")
        for found in COMMANDS.finditer((ROOT / name).read_text(encoding="utf-8"))
    ]
    assert faults == []


def test_deployments_and_queues_have_their_new_names() -> None:
    deployments = safe_load((ROOT / "deploy" / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    assert {each["work_pool"]["work_queue_name"] for each in deployments} == {
        "maintenance",
        "manual",
        "nightly",
    }
    assert sum(each["name"] == "manual" for each in deployments) == 5

"""docs/reference is what the code says, whole: each page as it would be written now."""

from typing import get_args

import pytest

from data_specs.ledger import metadata
from data_specs.reject import IgnoredReason, RejectReason
from data_specs.shard import Stage
from tests.reference import cli, config, environment, ledger, rejects, shards
from tests.reference.__main__ import FOLDER, PAGES


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_is_up_to_date(name: str) -> None:
    page = FOLDER / name
    assert page.exists(), "run `make reference`"
    assert page.read_text(encoding="utf-8") == PAGES[name](), "run `make reference`"


def test_every_page_of_the_folder_is_generated() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


def test_every_command_and_option_is_on_the_page() -> None:
    page = cli.render()
    found = list(cli.commands())
    assert len(found) > 30
    for words, command, _ in found:
        section = page.partition(f"## `{words}`\n")[2].partition("\n## ")[0]
        assert section, words
        for parameter in command.params:
            if parameter.name != "help":
                assert max(parameter.opts, key=len) in section, (words, parameter.name)


def test_every_command_with_a_config_and_every_deployment_has_its_section() -> None:
    page = config.render()
    read = config.commands_with_config()
    assert {"cleanplate cycle", "cleanplate round", "cleanplate train remover"} <= set(read)
    for kind in {*read.values(), *config.deployments().values()}:
        section = page.partition(f"### `{kind.__name__}`\n")[2].partition("\n### ")[0]
        assert [name for name in kind.model_fields if f"| `{name}` |" not in section] == []


def test_every_link_of_the_configs_leads_to_a_section() -> None:
    page = config.render()
    headings = {line.strip("#` ").lower() for line in page.splitlines() if line.startswith("##")}
    links = {part.partition(")")[0] for part in page.split("](#")[1:]}
    assert links
    assert links <= headings


def test_every_reason_has_a_sentence_and_is_given_somewhere() -> None:
    assert set(rejects.REJECTED) == {reason.name for reason in RejectReason}
    assert set(rejects.IGNORED) == {reason.name for reason in IgnoredReason}
    assert [line for line in rejects.render().splitlines() if line.endswith("| – |")] == []


def test_every_variable_of_the_code_is_explained_and_no_other() -> None:
    explained = {**environment.OWN, **environment.PREFECT, **environment.OTHERS}
    named = environment.named_in_code()
    assert named - set(explained) == set()
    assert {*environment.OWN, *environment.PREFECT} - named == set()
    assert [line for line in environment.render().splitlines() if line.endswith("| – |")] == []


def test_every_table_of_the_ledger_has_a_sentence() -> None:
    assert set(ledger.TABLES) == set(metadata.tables)
    assert {"reviews", "promotions", "person_events"} <= ledger.append_only_tables()
    assert "shards" not in ledger.append_only_tables()


def test_every_stage_and_record_is_on_the_page() -> None:
    assert set(shards.STAGES) == set(get_args(Stage))
    assert {record for record, _ in shards.STAGES.values()} == set(shards.samples())


def test_a_members_codec_is_read_from_its_bytes() -> None:
    members = shards.samples()
    assert shards.codec_of(members["triplet"].members["mask.png"]) == "PNG, one channel, 1 bit: H×W bool"
    assert shards.codec_of(members["cut-out"].members["matte.png"]) == "PNG, one channel, 8 bits: H×W uint8"
    assert shards.codec_of(members["plate"].members["depth.safetensors"]).endswith("`depth` H×W float32")

"""The frame of the command line: help without waiting, and exit codes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.help_time import help_calls
from flows.cli.main import COMMANDS, app

ROOT = Path(__file__).parents[3]
run = CliRunner().invoke


def test_help_is_there_at_once_and_imports_nothing_heavy() -> None:
    code = (
        "import atexit, sys\n"
        "heavy = {'torch', 'prefect', 'cv2', 'sqlalchemy'}\n"
        "atexit.register(lambda: print('heavy:', sorted(heavy & set(sys.modules))))\n"
        "sys.argv = ['cleanplate', '--help']\n"
        "from flows.cli.main import app\n"
        "app()"
    )
    began = time.monotonic()
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert time.monotonic() - began < 3
    assert "heavy: []" in shown.stdout
    for command in COMMANDS:
        assert str(command.name) in shown.stdout


def test_help_of_every_command_imports_nothing_heavy() -> None:
    """In a process of its own; what one command imports is told with its name."""
    code = (
        "import sys\n"
        "import typer\n"
        "from benchmarks.help_time import help_calls\n"
        "from flows.cli.main import COMMANDS, app\n"
        "heavy = {'torch', 'prefect', 'diffusers', 'transformers', 'cv2', 'sqlalchemy', 'pyarrow'}\n"
        "def ask(words):\n"
        "    typer.main.get_command(app).main(list(words), 'cleanplate', standalone_mode=False)\n"
        "    found = sorted(heavy & set(sys.modules))\n"
        "    assert not found, f'cleanplate {chr(32).join(words)} imports {found}'\n"
        "for each in COMMANDS:\n"
        "    ask([str(each.name), '--help'])\n"
        "for words in help_calls():\n"
        "    ask(words)\n"
        "print('asked:', len(help_calls()))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[-1] == f"asked: {len(help_calls())}"
    assert {words[0] for words in help_calls()} == {*(str(each.name) for each in COMMANDS), "--help"}
    assert ("review", "reviewers", "add", "--help") in help_calls()


def test_every_command_teaches_with_an_example() -> None:
    for command in COMMANDS:
        shown = run(app, [str(command.name), "--help"])
        assert shown.exit_code == 0, shown.output
        assert "--install-completion" not in shown.output
        assert "Example:" in shown.output or "Commands" in shown.output


@pytest.mark.parametrize(
    "words", [["nonsense"], ["dataset", "nonsense"], ["--nonsense"], ["dataset", "diff"]]
)
def test_wrong_use_exits_with_2(words: list[str]) -> None:
    assert run(app, words).exit_code == 2


def test_a_failure_exits_with_1_and_one_sentence(tmp_path: Path) -> None:
    result = run(app, ["dataset", "list", "--workspace", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert "there is no workspace here" in result.output


def test_version() -> None:
    result = run(app, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("cleanplate")


def test_threads_sleep_while_they_wait_for_one_another() -> None:
    code = (
        "import time\n"
        "import flows.cli.main\n"
        "import torch\n"
        "torch.set_num_threads(2)\n"
        "numbers = torch.ones(100_000)\n"
        "numbers.exp()\n"
        "began = time.process_time()\n"
        "for _ in range(200):\n"
        "    numbers.exp()\n"
        "    time.sleep(0.005)\n"
        "print(time.process_time() - began)"
    )
    unset = {"OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    spent = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert float(spent) < 0.3, "CPU seconds of a process that sleeps for one second and works for 0.01"


def test_the_demo_works_on_one_thread_unless_more_are_named() -> None:
    code = (
        "from pathlib import Path\n"
        "import flows.cli.main\n"
        "from flows.cli import cycle\n"
        "def threads(config, as_json):\n"
        "    import torch\n"
        "    print(torch.get_num_threads())\n"
        "cycle._run_cycle = threads\n"
        "cycle.demo(Path('nowhere'))"
    )
    unset = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    for environment, wanted in ((unset, "1"), ({**unset, "OMP_NUM_THREADS": "2"}, "2")):
        shown = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**environment, "MKL_DYNAMIC": "FALSE"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.strip() == wanted

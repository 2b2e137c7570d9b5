"""The frame of the command line: help, exit codes, lazy verbs."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import clebsch
import clebsch.cli as cli
from clebsch.errors import UserError


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clebsch.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of ``main`` with these arguments, in this process."""
    monkeypatch.setattr(sys, "argv", ["clebsch", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


@pytest.fixture
def failing_verb(monkeypatch: pytest.MonkeyPatch) -> type:
    """Makes the first verb raise ``Raises.error`` when it is called."""

    class Raises:
        error: BaseException = RuntimeError()

    def command() -> None:
        raise Raises.error

    monkeypatch.setattr(sys.modules[__name__], "_command", command, raising=False)
    first = next(iter(cli.VERBS))
    monkeypatch.setitem(cli.VERBS, first, cli.Verb(__name__, "_command", "fails"))
    return Raises


def test_ctrl_c_that_a_library_turns_into_another_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As numpy and others do where Ctrl-C meets their import."""

    def command() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("cannot import name") from None

    monkeypatch.setattr(sys.modules[__name__], "_command", command, raising=False)
    first = next(iter(cli.VERBS))
    monkeypatch.setitem(cli.VERBS, first, cli.Verb(__name__, "_command", "is interrupted"))
    # a program that was started in the background ignores Ctrl-C
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert call(monkeypatch, first) == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == ""


def test_help_names_every_verb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "--help") == 0
    out = capsys.readouterr().out
    for name in cli.VERBS:
        assert re.search(rf"^  {name}\s+\S", out, re.MULTILINE), name


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"clebsch {clebsch.__version__}\n")


def test_help_imports_neither_torch_nor_a_verb() -> None:
    script = (
        "import sys, clebsch.cli as cli\n"
        "sys.argv = ['clebsch', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ase', 'matplotlib', 'lightning', 'scipy'}\n"
        "heavy |= {verb.module for verb in cli.VERBS.values()}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(cli.VERBS))
def test_every_verb_has_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, name, "--help") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: clebsch {name} ")
    assert len(out.splitlines()) > 4


def test_every_verb_has_its_own_file_or_folder() -> None:
    for name, verb in cli.VERBS.items():
        assert verb.module == f"clebsch.cli.{name}"
    here = Path(cli.__file__).parent
    modules = {p.stem for p in here.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert modules - set(cli.VERBS) == {"__init__", "__main__", "options", "simulation"}


@pytest.mark.parametrize("verb", ["density", "phonons"])
def test_every_command_of_a_folder_is_registered(verb: str) -> None:
    files = (Path(cli.__file__).parent / verb).glob("*.py")
    defined = {
        name for p in files for name in re.findall(r"^def (\w+)_command\(", p.read_text(), re.M)
    }
    registered = {command.replace("-", "_") for command in cli.load_verb(verb).commands}
    assert registered == defined


@pytest.mark.parametrize("arguments", [("no-such-verb",), ("--no-such-option",)])
def test_wrong_usage_exits_2(
    arguments: tuple[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *arguments) == 2
    assert arguments[0] in capsys.readouterr().err


def test_user_error_is_one_line_and_exit_code_2(
    failing_verb: type, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing_verb.error = UserError("water.xyz, frame 3: no forces; name their key.")
    assert call(monkeypatch, next(iter(cli.VERBS))) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: water.xyz, frame 3: no forces; name their key.\n"
    assert captured.out == ""


def test_interrupt_exits_130(failing_verb: type, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_verb.error = KeyboardInterrupt()
    assert call(monkeypatch, next(iter(cli.VERBS))) == 130


def test_a_bug_is_not_hidden(failing_verb: type, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_verb.error = ZeroDivisionError("a bug")
    monkeypatch.setattr(sys, "argv", ["clebsch", next(iter(cli.VERBS))])
    with pytest.raises(ZeroDivisionError, match="a bug"):
        cli.main()

"""The README is run: its Python blocks one after the other, in one session, as a reader would."""

import linecache
import re
from pathlib import Path

import pytest

import tinygrad_bc as tg
from tinygrad_bc.primitive import REGISTRY

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def without_rounding(text):
    """The lines, without the estimated rounding error, which is another on every machine."""
    return [re.sub(r"± [\de.-]+", "±", line.rstrip()) for line in text.splitlines()]


@pytest.fixture
def registry():
    """Forget the operations that the README declares."""
    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


def test_python_blocks_run_and_print_what_they_say(tmp_path, monkeypatch, registry, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tg.sigmoid, "vjps", tg.sigmoid.vjps)  # which a block replaces
    session = {"__name__": "readme"}
    printed = ""
    for language, code in BLOCKS:
        if language == "text":
            assert without_rounding(printed) == without_rounding(code)
        elif language == "python":
            linecache.cache["example.py"] = (len(code), None, code.splitlines(keepends=True), "example.py")
            exec(compile(code, "example.py", "exec"), session)
            printed = capsys.readouterr().out
            promised = [
                line.partition("# ")[2] for line in code.splitlines() if line.startswith("print(") and "# " in line
            ]
            if promised:
                assert printed.splitlines() == promised
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")


def test_every_block_is_run_by_something():
    commands = [code.strip() for language, code in BLOCKS if language == "console"]
    assert {language for language, _ in BLOCKS} <= {"python", "console", "text"}
    assert all(command.startswith("python3 -m venv") and "\n" not in command for command in commands)
    assert len(commands) == 2
    assert "grep '^python3 -m venv' README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_pictures_and_links_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).exists(), target

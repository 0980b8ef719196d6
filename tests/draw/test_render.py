"""From a graph to a file, with each Graphviz there may be."""

import os
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import files
from tinygrad_bc.draw import graph
from tinygrad_bc.draw.engine import draw
from tinygrad_bc.errors import MissingDependencyError, RenderError

MAGIC = {"svg": b"<?xml", "png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-"}


@pytest.fixture
def drawing():
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    return graph((x * x).sum().named("Loss"))


@pytest.fixture
def no_program(monkeypatch, tmp_path):
    """No `dot` on PATH, and starting any program is an error."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))

    def refuse(*args, **kwargs):
        raise AssertionError(f"a program was started: {args}")

    monkeypatch.setattr(subprocess, "Popen", refuse)


@pytest.fixture
def no_graphviz(monkeypatch, no_program):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)


@pytest.fixture
def fake_dot(monkeypatch, tmp_path):
    """Put a `dot` on PATH that does what the body says; it may write to `log`, the path of a file."""

    def install(body):
        folder, log = tmp_path / "bin", tmp_path / "log"
        folder.mkdir()
        program = folder / "dot"
        program.write_text(f"#!{sys.executable}\nimport sys\nlog = {str(log)!r}\n{body}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        return log

    return install


# --- with the wheel alone --------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", MAGIC)
def test_the_wheel_alone_draws(drawing, no_program, tmp_path, suffix):
    path = drawing.render(tmp_path / f"graph.{suffix}")
    assert path == tmp_path / f"graph.{suffix}"
    content = path.read_bytes()
    assert content.startswith(MAGIC[suffix])
    assert len(content) > 1000


def test_the_picture_says_what_the_graph_holds(drawing, no_program, tmp_path):
    svg = drawing.render(str(tmp_path / "graph.SVG")).read_text(encoding="utf-8")
    for text in ("x", "%1", " = x ∘ x", "Loss", " = sum(%1)", "scalar: 5", "parameter", "computed", "output"):
        assert f">{text}</text>" in svg, text


def test_boxes_in_the_svg_have_ids_classes_and_the_source_line(no_program):
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    with tg.scope("part <1>"):
        y = tg.exp(x)
    Loss = y.sum()
    svg = {"": "http://www.w3.org/2000/svg", "xlink": "http://www.w3.org/1999/xlink"}
    for backward, ids in [(False, ["v0", "v1", "v2"]), (True, ["g0", "g1", "g2"])]:
        root = ElementTree.fromstring(draw(graph(Loss, backward=backward).dot, "svg"))
        groups = {group.get("id"): group for group in root.iter("{http://www.w3.org/2000/svg}g")}
        assert {*ids, "s0", "key"} <= set(groups)
        (link,) = groups[ids[1]].findall(".//a", svg)
        assert link.get(f"{{{svg['xlink']}}}title").endswith(": y = tg.exp(x)")
        assert groups[ids[1]].get("class") == ("node cotangent" if backward else "node computed")
        assert groups["s0"].get("class") == "cluster scope"


def test_json_and_dot_need_no_graphviz(drawing, no_graphviz, tmp_path):
    assert drawing.render(tmp_path / "g.json").read_text(encoding="utf-8") == drawing.json
    assert drawing.render(tmp_path / "g.dot").read_text(encoding="utf-8") == drawing.dot


def test_odd_names_and_values_can_be_drawn(no_program):
    names = [
        "<b>",
        "</b>",
        "&amp;",
        '"',
        "{|}",
        "a\nb",
        "\x00",
        "\ud800",
        "]]>",
        "<!--",
        'charset="latin-1"',
        "  ",
        "\\",
    ]
    parts = [tg.tensor([1.0], requires_grad=True, name=name) for name in names]
    arrays = [np.zeros((0, 3)), np.array(True), np.array([np.nan, np.inf, 1.0]), np.array(3), np.full(9, np.nan)]
    drawing = graph([tg.concatenate(parts), *map(tg.tensor, arrays)])
    svg = draw(drawing.dot, "svg").decode()
    for text in ("&lt;/b&gt;", "&amp;amp;", "{|}", "a b", "0×3: no elements", "scalar bool: True", "length 9: 9 nan"):
        assert f">{text}</text>" in svg, text


def test_the_id_of_a_box_is_not_put_into_a_name(no_program):
    svg = draw(graph(tg.tensor([1.0], name=r"a\N")).dot, "svg").decode()
    assert ">a\\\u200bN</text>" in svg


def test_a_value_used_by_a_hundred_operations_is_drawn_in_seconds(tmp_path):
    code = (
        "import tinygrad_bc as tg\n"
        "x = y = tg.tensor(1.0, requires_grad=True)\n"
        "for _ in range(100): y = tg.tanh(y * 0.9 + x)\n"
        f"tg.graph(y).render({str(tmp_path / 'graph.svg')!r})\n"
    )
    # It takes about one second, and many minutes with the defaults of Graphviz.
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PATH": str(tmp_path)}, timeout=60, check=True)
    assert (tmp_path / "graph.svg").read_bytes().startswith(MAGIC["svg"])


def test_text_that_graphviz_refuses(no_program):
    with pytest.raises(RenderError, match=r"as svg: Invalid Input"):
        draw("digraph { v0 [", "svg")


# --- with the program ------------------------------------------------------------------------------


def test_an_installed_program_is_preferred(drawing, fake_dot, tmp_path):
    log = fake_dot("open(log, 'w').write(repr((sys.argv[1:], sys.stdin.buffer.read()))); print('drawn')")
    assert drawing.render(tmp_path / "graph.png").read_text() == "drawn\n"
    assert log.read_text() == repr((["-Kdot", "-Tpng"], drawing.dot.encode()))


def test_a_failing_program(drawing, fake_dot, tmp_path):
    fake_dot("sys.exit('no such font')")
    (tmp_path / "graph.png").write_text("old")
    with pytest.raises(RenderError, match="as png: no such font"):
        drawing.render(tmp_path / "graph.png")
    assert (tmp_path / "graph.png").read_text() == "old"


def test_a_program_that_fails_silently(drawing, fake_dot, tmp_path):
    fake_dot("sys.exit(3)")
    with pytest.raises(RenderError, match="exit status 3"):
        drawing.render(tmp_path / "graph.png")


def test_a_program_that_cannot_be_run(drawing, fake_dot, tmp_path):
    program = fake_dot("").parent / "bin" / "dot"
    program.write_bytes(b"\x7fELF")
    with pytest.raises(RenderError, match="could not be run"):
        drawing.render(tmp_path / "graph.png")


# --- with neither ----------------------------------------------------------------------------------


def test_without_graphviz_the_error_names_the_extra(drawing, no_graphviz, tmp_path):
    with pytest.raises(MissingDependencyError, match=r'pip install "tinygrad_bc\[draw\]"'):
        drawing.render(tmp_path / "graph.svg")
    assert not (tmp_path / "graph.svg").exists()


def test_dot_text_needs_no_graphviz(drawing, no_graphviz, tmp_path):
    assert drawing.render(tmp_path / "graph.dot").read_text(encoding="utf-8") == drawing.dot


# --- in a notebook ---------------------------------------------------------------------------------


def test_a_notebook_shows_the_picture(drawing, no_program):
    bundle = drawing._repr_mimebundle_(include=None, exclude=None)
    assert bundle["image/svg+xml"].startswith("<?xml")
    assert "</svg>" in bundle["image/svg+xml"]
    assert bundle["text/plain"] == str(drawing)


def test_a_notebook_shows_the_formulas_where_nothing_can_draw(drawing, no_graphviz):
    bundle = drawing._repr_mimebundle_(include=None, exclude=None)
    assert list(bundle) == ["text/plain"]
    assert bundle["text/plain"].startswith(f"{drawing}\n\nNo picture: ")
    assert "tinygrad_bc[draw]" in bundle["text/plain"]


def test_a_notebook_shows_the_formulas_where_drawing_fails(drawing, fake_dot):
    fake_dot("sys.exit('no such font')")
    bundle = drawing._repr_mimebundle_(include=None, exclude=None)
    assert list(bundle) == ["text/plain"]
    assert "no such font" in bundle["text/plain"]


# --- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["graph.bmp", "graph", "graph.svg.gz", ".svg"])
def test_an_unknown_suffix_is_refused(drawing, tmp_path, name):
    with pytest.raises(RenderError, match=r"ends in one of \.svg, \.png, \.pdf, \.dot"):
        drawing.render(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_refused(drawing, tmp_path):
    with pytest.raises(RenderError, match=r"there is no folder .*pictures"):
        drawing.render(tmp_path / "pictures" / "graph.svg")


@pytest.mark.parametrize("failing", ["replace", "write"])
def test_a_failure_leaves_the_old_file_and_nothing_else(monkeypatch, tmp_path, failing):
    path = tmp_path / "graph.dot"
    path.write_text("old")

    def fail(*args):
        raise OSError("disk full")

    if failing == "replace":
        monkeypatch.setattr(os, "replace", fail)
        content = b"new"
    else:
        content = memoryview(b"new")[::2]  # a file takes contiguous memory only: it is open when this fails
    with pytest.raises((OSError, BufferError)):
        files.write_atomically(path, content)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_and_readable_like_any_other(tmp_path):
    path, other = tmp_path / "graph.dot", tmp_path / "other"
    path.write_text("old")
    other.write_text("")
    files.write_atomically(path, b"new")
    assert path.read_text() == "new"
    assert path.stat().st_mode == other.stat().st_mode
    assert sorted(tmp_path.iterdir()) == [path, other]


def test_drawing_says_nothing_of_the_fonts_of_the_system(tmp_path):
    code = f"import tinygrad_bc as tg; tg.graph(tg.tensor(1.0)).render({str(tmp_path / 'x.svg')!r}); print('drawn')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("drawn\n", "")

"""Where the boxes of a graph go: Graphviz is told their sizes, and what it drew is read back as numbers."""

from __future__ import annotations

import re
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import Any

from tinygrad_bc.draw.engine import draw

__all__ = ["place", "text_width"]

SVG = "{http://www.w3.org/2000/svg}"
POINTS = 72  # to an inch
PAGE = 'rankdir=TB; ranksep=0.34; nodesep=0.22; pad=0; node [shape=box, fixedsize=true, label=""]; edge [arrowsize=0.6]'
# As in pictures: with the defaults, large graphs take Graphviz many minutes.
LARGE, LARGE_PAGE = 100, "nslimit=1; nslimit1=1; splines=line; "
MOST_CLUSTERS = 300


def text_width(text: str, size: float) -> float:
    """Return about how wide a text is, in points, in a sans-serif font of this size."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return size * (0.56 * (len(text) - wide) + 1.05 * wide)


def place(
    sizes: Sequence[tuple[float, float]],
    edges: Sequence[tuple[int, int]],
    parents: Sequence[int | None],
    titles: Sequence[str],
    inside: Sequence[int | None],
) -> dict[str, Any]:
    """Lay out a graph with nested clusters.

    No text of the user's goes into the DOT: nothing has to be escaped, and no font has to be there.

    Parameters
    ----------
    sizes
        Width and height of each box, in points.
    edges
        Pairs of boxes.
    parents
        Of each cluster, the one around it.
    titles
        Of each cluster, its name; room is left for it.
    inside
        Of each box, its innermost cluster.

    Returns
    -------
    dict
        ``width``, ``height``; ``nodes`` and ``clusters`` as ``[left, top, width, height]`` (a cluster without boxes is
        None); ``edges`` as ``[path, arrow head]``, two texts for an SVG path.

    Raises
    ------
    MissingDependencyError, RenderError
        If there is no Graphviz, or it fails.
    """
    root = ElementTree.fromstring(draw(_dot(sizes, edges, parents, titles, inside), "svg"))
    groups = {group.get("id", ""): group for group in root.iter(f"{SVG}g")}
    left, top, width, height = _bounds(groups["graph0"])
    clusters = [groups.get(f"c{k}") for k in range(len(parents))]
    return {
        "width": width,
        "height": height,
        "nodes": [_moved(_bounds(groups[f"v{k}"]), left, top) for k in range(len(sizes))],
        "clusters": [None if group is None else _moved(_bounds(group), left, top) for group in clusters],
        "edges": [_path(groups[f"e{k}"], left, top) for k in range(len(edges))],
    }


def _dot(
    sizes: Sequence[tuple[float, float]],
    edges: Sequence[tuple[int, int]],
    parents: Sequence[int | None],
    titles: Sequence[str],
    inside: Sequence[int | None],
) -> str:
    lines = ["digraph {", (LARGE_PAGE if len(sizes) > LARGE else "") + PAGE]
    boxes: dict[int | None, list[str]] = {}
    for k, (width, height) in enumerate(sizes):
        box = f"v{k} [id=v{k}, width={width / POINTS:.3f}, height={height / POINTS:.3f}]"
        boxes.setdefault(inside[k] if len(parents) <= MOST_CLUSTERS else None, []).append(box)
    children: dict[int | None, list[int]] = {}
    for k, parent in enumerate(parents):
        children.setdefault(parent, []).append(k)
    lines += boxes.get(None, [])
    # Blocks may be nested as deeply as a program calls itself, so there is a list of what is still to be written.
    todo: list[int | str] = [*reversed(children.get(None, []))] if len(parents) <= MOST_CLUSTERS else []
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            lines.append(item)
            continue
        room = "m" * (2 + round(text_width(titles[item], 12) / 10))
        lines += [
            f'subgraph cluster_{item} {{ id=c{item}; label="{room}"; fontsize=12; margin=10',
            *boxes.get(item, []),
        ]
        todo += ["}", *reversed(children.get(item, []))]
    lines += [f"v{a} -> v{b} [id=e{k}]" for k, (a, b) in enumerate(edges)]
    return "\n".join([*lines, "}"])


def _numbers(text: str) -> list[float]:
    return [float(x) for x in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text)]


def _bounds(group: ElementTree.Element) -> list[float]:
    outline: Any = group.find(f"{SVG}polygon")
    numbers = _numbers(outline.get("points", ""))
    xs, ys = numbers[::2], numbers[1::2]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _moved(bounds: list[float], left: float, top: float) -> list[float]:
    return [round(bounds[0] - left, 1), round(bounds[1] - top, 1), round(bounds[2], 1), round(bounds[3], 1)]


def _path(group: ElementTree.Element, left: float, top: float) -> list[str]:
    line, head = group.find(f"{SVG}path"), group.find(f"{SVG}polygon")
    curve = _shifted("" if line is None else line.get("d", ""), left, top)
    arrow = _shifted("" if head is None else f"M{head.get('points', '').replace(' ', 'L')}Z", left, top)
    return [curve, arrow]


def _shifted(path: str, left: float, top: float) -> str:
    return re.sub(
        r"(-?[\d.]+),(-?[\d.]+)", lambda point: f"{float(point[1]) - left:.1f},{float(point[2]) - top:.1f}", path
    )

"""How smoothly the page of a 2,000-node graph pans, zooms and scrubs, in frames of real Chromium.

    python tests/benchmarks/page_frames.py [operations]

Prints the median, 95th percentile and longest time between frames while something is moved at every frame, and the
time that a step takes to be shown.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

import tinygrad_bc as tg
from tinygrad_bc.page.explanation import explain

FRAMES = """([move, frames]) => new Promise(done => {
    const times = [], act = eval(move);
    const frame = now => {
        times.push(now);
        act(times.length);
        if (times.length <= frames) requestAnimationFrame(frame);
        else done(times.slice(1).map((time, k) => time - times[k]));
    };
    requestAnimationFrame(frame);
})"""
MOVES = {
    "pan, all in view": "graph.fit(); k => graph.pan(k % 20 < 10 ? 6 : -6, 0)",
    "zoom in and out": "graph.fit(); k => graph.zoom(k % 60 < 30 ? 1.12 : 1 / 1.12)",
    "pan, text readable": "graph.fit(); graph.zoom(0.9 / graph.view.k); k => graph.pan(0, k % 60 < 30 ? -20 : 20)",
    "scrub": "k => goTo((k * 37) % steps.length)",
}


def network(operations: int) -> tg.Tensor:
    """Return the sum of a deep residual network on small arrays, in blocks of 40 operations."""
    hidden = tg.tensor(np.linspace(-1, 1, 12), requires_grad=True, name="x")
    for k in range(operations // 40):
        with tg.scope(f"block {k}"):
            kept = hidden
            for _ in range(19):
                hidden = tg.tanh(hidden * 1.01)
            hidden = hidden + kept
    return hidden.sum()


def main() -> None:
    """Measure and print."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = explain(network(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)).save(Path(folder) / "page.html")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready]")
        loaded = page.evaluate("performance.timing.domComplete - performance.timing.navigationStart")
        print(f"{page.evaluate('values.length')} nodes, {path.stat().st_size / 1e6:.1f} MB, loaded in {loaded} ms")
        for folded in (True, False):
            if not folded:
                page.evaluate("graph.folded.clear(), graph.applyFolds()")
            for name, move in MOVES.items():
                times = np.array(page.evaluate(FRAMES, [move, 120]))
                median, most, longest = np.percentile(times, [50, 95, 100])
                state = "folded" if folded else "open"
                print(f"{state:<7} {name:<20} {median:6.1f} ms median, {most:6.1f} ms 95 %, {longest:6.1f} ms longest")
        work = page.evaluate(
            "Array.from({length: 60}, (_, k) => { const t = performance.now(); goTo((k * 97) % steps.length);"
            " document.body.offsetHeight; return performance.now() - t; })"
        )
        print(f"a step: {np.median(work):.1f} ms median, {max(work):.1f} ms longest, script and layout")
        browser.close()


if __name__ == "__main__":
    main()

"""Loss landscapes: their numbers against closed forms, and what the pictures, the animation and the page show."""

import contextlib
import io
import itertools
import json
import re

import numpy as np
import pytest
import wisconsin
from matplotlib.text import Text
from PIL import Image
from sklearn.decomposition import PCA

import tinygrad_bc as tg
from tinygrad_bc import data
from tinygrad_bc.draw.directions import Directions
from tinygrad_bc.draw.landscape import Landscape, compare_landscapes
from tinygrad_bc.draw.landscape_figures import Scale, interpolated
from tinygrad_bc.errors import ArgumentError, LossWarning, RenderError, ShapeError


def tensors(*arrays):
    return [tg.tensor(a, dtype=float, requires_grad=True) for a in arrays]


@pytest.fixture
def bowl():
    """L = (x² + 4 y²) / 2 + 1 at (1, −2), cut along the axes, and its parameters."""
    x, y = tensors([[1.0]], [[-2.0]])
    loss_fn = lambda: (x**2 + 4 * y**2).sum() / 2 + 1  # noqa: E731
    return Landscape(loss_fn, [x, y], Directions.of([[[1.0]], [[0.0]]], [[[0.0]], [[1.0]]])), [x, y]


def ways(landscape):
    """Add gradient descent on the bowl with a small and with a large rate."""
    for name, rate in (("small", 0.1), ("large", 0.45)):
        steps = np.arange(20)[:, None]
        path = np.array([3.0, 2.0]) * (1 - rate * np.array([1.0, 4.0])) ** steps
        landscape.add_trajectory(name, [[[[x]], [[y]]] for x, y in path])
    return landscape


# --- directions ------------------------------------------------------------------------------------


def test_every_filter_of_a_random_direction_is_as_long_as_the_parameters_filter():
    rng = np.random.default_rng(0)
    W, kernels, b = tensors(rng.normal(size=(4, 7)) * 3, rng.normal(size=(5, 2, 3, 3)) / 9, rng.normal(size=6))
    for scaled in (False, True):
        option = "scaled" if scaled else "zero"
        directions = Directions.random([W, kernels, b], generator=1, one_dimensional=option)
        for vector in directions.vectors:
            for d, w in zip(vector[:2], (W, kernels)):
                norms, expected = (np.sqrt((a.reshape(len(a), -1) ** 2).sum(axis=1)) for a in (d, w.data))
                np.testing.assert_allclose(norms, expected, rtol=1e-13)
            np.testing.assert_allclose(np.abs(vector[2]), np.abs(b.data) * scaled, rtol=1e-13)
        first, second = (v[0].ravel() for v in directions.vectors)
        assert abs(first @ second) < 0.9 * np.linalg.norm(first) * np.linalg.norm(second)


def test_a_filter_of_zeros_does_not_move():
    (W,) = tensors([[0.0, 0.0], [3.0, 4.0]])
    (vector,) = Directions.random([W], 1, generator=0).vectors
    assert vector[0][0].tolist() == [0, 0]
    assert np.linalg.norm(vector[0][1]) == pytest.approx(5)


def test_scaling_a_layer_up_and_the_next_one_down_does_not_change_the_landscape():
    rng = np.random.default_rng(2)
    X, W1, W2 = rng.normal(size=(3, 30)), rng.normal(size=(4, 3)), rng.normal(size=(1, 4))
    seen = []
    for factor in (1.0, 64.0):
        A, B = tensors(W1 * factor, W2 / factor)
        landscape = Landscape(lambda A=A, B=B: (B @ tg.relu(A @ X)).square().mean(), [A, B], generator=3)
        seen.append(landscape.evaluate(1.0, steps=9))
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-10)


def test_random_directions_take_seeds_and_generators():
    (W,) = tensors(np.ones((3, 3)))
    a, b, c = (Directions.random([W], generator=g).vectors for g in (7, np.random.default_rng(7), 8))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def planar(rng, shapes=((3, 2), (4,))):
    """Return snapshots on a plane, and their coordinates in an orthonormal frame with the last one at the origin."""
    size = sum(int(np.prod(s)) for s in shapes)
    frame = np.linalg.qr(rng.normal(size=(size, 2)))[0].T
    points = np.cumsum(rng.normal(size=(30, 2)) * [2.0, 0.5], axis=0)
    points -= points[-1]
    rows = rng.normal(size=size) + points @ frame
    return [[row[:6].reshape(3, 2), row[6:]] for row in rows], points, rows


def test_pca_directions_reproduce_a_trajectory_on_a_plane():
    snapshots, points, _ = planar(np.random.default_rng(0))
    parameters = tensors(*snapshots[-1])
    directions = Directions.pca(snapshots)
    assert sum(directions.shares) == pytest.approx(1)
    landscape = Landscape(lambda: sum((p**2).sum() for p in parameters), parameters, directions)
    way = landscape.add_trajectory("run", snapshots)
    np.testing.assert_allclose(way.distances, 0, atol=1e-12)
    distances = lambda p: np.linalg.norm(p[:, None] - p[None], axis=-1)  # noqa: E731
    np.testing.assert_allclose(distances(way.points), distances(points), atol=1e-12)  # the frame may be turned
    expected = [sum((a**2).sum() for a in s) for s in snapshots]
    np.testing.assert_allclose(way.losses, expected, rtol=1e-13)
    on_plane = [landscape.evaluate((np.array([a, a + 1]), np.array([b, b + 1])))[0, 0] for a, b in way.points]
    np.testing.assert_allclose(on_plane, expected, rtol=1e-12)  # so the plane is the one of the run
    assert way.points[0] @ [1, 0] >= 0


def test_pca_is_scikit_learns():
    rng = np.random.default_rng(4)
    runs = [np.cumsum(rng.normal(size=(n, 12)), axis=0) for n in (15, 25)]
    found = Directions.pca(*([[row.reshape(3, 4)] for row in run] for run in runs))
    theirs = PCA(n_components=2).fit(np.concatenate(runs))
    np.testing.assert_allclose(found.shares, theirs.explained_variance_ratio_, rtol=1e-12)
    for vector, component in zip(found.vectors, theirs.components_):
        assert abs(vector[0].ravel() @ component) == pytest.approx(1, abs=1e-12)


def test_mistakes_in_directions():
    W, b = tensors(np.ones((2, 2)), np.ones(2))
    with pytest.raises(ArgumentError, match="one_dimensional='scaled'"):
        Directions.random([b], generator=0)
    with pytest.raises(ArgumentError, match="'zero' or 'scaled'"):
        Directions.random([W], generator=0, one_dimensional="none")
    with pytest.raises(ArgumentError, match="at least three snapshots"):
        Directions.pca([[np.ones(3)], [np.zeros(3)]])
    with pytest.raises(ArgumentError, match="on one line"):
        Directions.pca([[k * np.ones(3)] for k in range(5)])
    with pytest.raises(ArgumentError, match="not finite"):
        Directions.pca([[np.full(3, x)] for x in (0, 1, np.nan)])
    with pytest.raises(ShapeError, match="snapshot 2 has shapes"):
        Directions.pca([[np.ones(3)], [np.zeros(3)], [np.ones(4)]])
    loss_fn = lambda: (W**2).sum()  # noqa: E731
    with pytest.raises(ArgumentError, match="pass generator="):
        Landscape(loss_fn, [W])
    with pytest.raises(ArgumentError, match="parallel"):
        Landscape(loss_fn, [W], [[np.ones((2, 2))], [np.ones((2, 2))]])
    with pytest.raises(ArgumentError, match="is zero"):
        Landscape(loss_fn, [W], [[np.zeros((2, 2))]])
    with pytest.raises(ShapeError, match=r"\[\(4,\)\], the parameters \[\(2, 2\)\]"):
        Landscape(loss_fn, [W], [[np.ones(4)]])
    with pytest.raises(ArgumentError, match="twice"):
        Landscape(loss_fn, [W, W], generator=0)


# --- evaluation ------------------------------------------------------------------------------------


def test_the_landscape_of_a_quadratic_has_its_closed_form():
    rng = np.random.default_rng(5)
    root, c = rng.normal(size=(6, 6)), rng.normal(size=6)
    A = root @ root.T
    (W,) = tensors(rng.normal(size=(2, 3)))
    landscape = Landscape(lambda: W.reshape(6) @ (A @ W.reshape(6)) / 2 + (c * W.reshape(6)).sum(), [W], generator=6)
    alphas, betas = np.linspace(-2, 1, 7), np.array([-0.5, 0.1, 3.0])
    losses = landscape.evaluate((alphas, betas))
    w = W.data.ravel()
    d, e = (v[0].ravel() for v in landscape.directions.vectors)
    gradient = A @ w + c
    a, b = alphas[:, None], betas[None]
    first = a * (gradient @ d) + b * (gradient @ e)
    second = a**2 * (d @ A @ d) + 2 * a * b * (d @ A @ e) + b**2 * (e @ A @ e)
    np.testing.assert_allclose(losses, w @ A @ w / 2 + c @ w + first + second / 2, rtol=1e-12)
    line = landscape.evaluate(alphas)
    np.testing.assert_allclose(line, landscape.loss + alphas * (gradient @ d) + alphas**2 * (d @ A @ d) / 2, rtol=1e-12)
    np.testing.assert_array_equal(line, landscape.profile(0, alphas))
    assert landscape.betas is None


def test_grids(bowl):
    landscape, _ = bowl
    assert landscape.evaluate().shape == (51, 51)
    assert (landscape.alphas[0], landscape.betas[-1]) == (-1, 1)
    assert landscape.evaluate(3, steps=7)[3, 3] == landscape.loss == 9.5
    assert landscape.alphas.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    ways(landscape)
    landscape.evaluate(steps=5)
    for points in (way.points for way in landscape.trajectories):
        assert (points > [landscape.alphas[0], landscape.betas[0]]).all()
        assert (points < [landscape.alphas[-1], landscape.betas[-1]]).all()
    for wrong in ([1.0, 0.0], [0.0], [0.0, np.nan], ([0.0, 1.0], [[0.0]])):
        with pytest.raises(ArgumentError, match="at least two increasing numbers"):
            landscape.evaluate(wrong)
    one = Landscape(landscape._loss_fn, landscape._parameters, [landscape.directions.vectors[0]])
    with pytest.raises(ArgumentError, match="there is only one"):
        one.evaluate(([0, 1], [0, 1]))
    with pytest.raises(ArgumentError, match="plot_1d"):
        one.contours()


def test_parameters_are_afterwards_what_they_were(bowl):
    landscape, parameters = bowl
    arrays = [p.data for p in parameters]
    before = [a.tobytes() for a in arrays]
    pending = (parameters[0] * parameters[1]).sum()
    landscape.evaluate(steps=5)
    ways(landscape)
    landscape.sharpness(generator=0)
    assert all(p.data is a for p, a in zip(parameters, arrays))
    assert [a.tobytes() for a in arrays] == before
    pending.backward()  # refused if the parameters counted as changed
    assert parameters[0].grad.item() == -2


def test_parameters_are_restored_when_a_loss_fails():
    (W,) = tensors(np.eye(2))
    calls = []

    def loss_fn():
        calls.append(tg.is_grad_enabled())
        if len(calls) > 7:
            W.data[...] = 99
            raise KeyboardInterrupt
        return (W**2).sum()

    landscape = Landscape(loss_fn, [W], generator=0)
    array, before = W.data, W.data.tobytes()
    with pytest.raises(KeyboardInterrupt):
        landscape.evaluate(steps=3)
    assert W.data is array
    assert array.tobytes() == before
    assert not any(calls)
    assert tg.is_grad_enabled()
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        landscape.add_trajectory("run", [[np.ones((2, 2)) * k] for k in range(9)])
    assert W.data is array
    assert array.tobytes() == before
    assert landscape.trajectories == []


def test_single_precision_stays_single():
    W = tg.tensor(np.eye(2, dtype=np.float32), requires_grad=True)
    seen = set()

    def loss_fn():
        seen.add(W.dtype)
        return (W**2).sum()

    Landscape(loss_fn, [W], generator=0).evaluate(steps=3)
    assert seen == {np.dtype(np.float32)}


def test_losses_that_cannot_be_drawn():
    (W,) = tensors([[1.0, 1.0]])
    with pytest.raises(ArgumentError, match=r"single number, it returned the shape \(1, 2\)"):
        Landscape(lambda: W * 2, [W], generator=0)
    rng = np.random.default_rng(0)
    with pytest.raises(ArgumentError, match=r"model\.eval"):
        Landscape(lambda: (W * rng.normal()).sum(), [W], generator=0)
    with pytest.raises(ArgumentError, match="loss at the parameters is nan"):
        Landscape(lambda: float("nan"), [W], generator=0)
    landscape = Landscape(lambda: tg.log(W[0, 0]), [W], [[[[1.0, 0.0]]], [[[0.0, 1.0]]]])
    with pytest.warns(LossWarning, match="at 4 of 6 points"):
        losses = landscape.evaluate(([-2.0, -1.0, 0.0], [0.0, 1.0]))
    assert np.isnan(losses).tolist() == [[True] * 2, [True] * 2, [False] * 2]
    with pytest.raises(ArgumentError, match="not finite anywhere"):
        landscape.evaluate(([-3.0, -2.0], [0.0, 1.0]))


def test_the_classifiers_landscape_takes_seconds():
    X, Y = data.as_columns(data.tutorial_split(data.scale_min_max(data.load_wisconsin(wisconsin.CSV)))[0])
    network = wisconsin.Classifier()
    landscape = Landscape(lambda: network(X, Y).Loss, network.parameters(), generator=0)
    losses = landscape.evaluate()
    assert losses.shape == (51, 51)
    assert losses[25, 25] == landscape.loss == pytest.approx(0.673967, abs=5e-7)  # the tutorial's first cost
    assert np.isfinite(losses).all()


# --- trajectories, sharpness -------------------------------------------------------------------------


def test_coordinates_are_those_of_the_nearest_point_also_between_slanted_directions():
    rng = np.random.default_rng(8)
    (W,) = tensors(rng.normal(size=(2, 2)))
    directions = [[rng.normal(size=(2, 2))] for _ in range(2)]
    landscape = Landscape(lambda: (W**2).sum(), [W], directions)
    snapshots = rng.normal(size=(5, 2, 2))
    way = landscape.add_trajectory("run", ({"W": s} for s in snapshots), steps=[0, 10, 20, 40, 80])
    matrix = np.stack([d[0].ravel() for d in directions], axis=1)
    for s, point, distance in zip(snapshots, way.points, way.distances):
        expected, residual, *_ = np.linalg.lstsq(matrix, (s - W.data).ravel())
        np.testing.assert_allclose(point, expected, rtol=1e-10)
        assert distance == pytest.approx(np.sqrt(residual[0]), rel=1e-10)
    assert way.steps.tolist() == [0, 10, 20, 40, 80]
    assert "run" in repr(landscape)


def test_mistakes_in_trajectories(bowl):
    landscape, _ = bowl
    good = [[[1.0]], [[1.0]]]
    landscape.add_trajectory("a", [good])
    with pytest.raises(ArgumentError, match="already"):
        landscape.add_trajectory("a", [good])
    with pytest.raises(ShapeError, match=r"b, snapshot 1: the shapes \[\(1, 1\)\]"):
        landscape.add_trajectory("b", [good, good[:1]])
    with pytest.raises(ArgumentError, match="snapshot 0 is not finite"):
        landscape.add_trajectory("b", [[[[np.inf]], [[1.0]]]])
    with pytest.raises(ArgumentError, match="no snapshots"):
        landscape.add_trajectory("b", [])
    for steps in ([0], [1, 1]):
        with pytest.raises(ArgumentError, match="2 increasing steps"):
            landscape.add_trajectory("b", [good, good], steps=steps)
    assert [way.name for way in landscape.trajectories] == ["a"]


def test_sharpness(bowl):
    landscape, _ = bowl
    np.testing.assert_allclose(landscape.sharpness(2, generator=0), [4, 1], rtol=1e-12)
    assert any("λ₁ = 4, λ₂ = 1" in text.get_text() for text in landscape.contours().findobj(Text))


# --- pictures ----------------------------------------------------------------------------------------


def test_levels_are_equal_factors_apart():
    levels = Scale.of(np.array([0.01, 100.0])).levels
    np.testing.assert_allclose(levels[1:] / levels[:-1], levels[1] / levels[0])
    assert 0.01 < levels[0] < levels[-1] < 100
    below_zero = Scale.of(np.array([-5.0, 5.0]))
    assert not below_zero.log
    np.testing.assert_allclose(np.diff(np.log(below_zero.levels + 5)), np.log(1000) / 16)
    assert Scale.of(np.array([2.0, 2.0]))(2.0) == 0


def test_the_map_shows_contours_and_the_ways(bowl):
    landscape = ways(bowl[0])
    axes = landscape.contours().axes[0]
    assert axes.get_xlim() == (landscape.alphas[0], landscape.alphas[-1])
    drawn = {line.get_label(): line.get_xydata() for line in axes.lines}
    for way in landscape.trajectories:
        np.testing.assert_array_equal(drawn[f"{way.name}: {way.losses[-1]:.3g}"], way.points)
    (contours,) = (c for c in axes.collections if hasattr(c, "levels"))
    for level, path in zip(contours.levels, contours.get_paths()):
        x, y = path.vertices.T
        np.testing.assert_allclose(((1 + x) ** 2 + 4 * (y - 2) ** 2) / 2 + 1, level, rtol=0.05)


def test_heights_between_the_points_of_the_grid(bowl):
    landscape, _ = bowl
    landscape.evaluate(([0.0, 1.0, 3.0], [0.0, 2.0]))
    heights = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 9.0]])
    points = np.array([[0.0, 0.0], [3.0, 2.0], [0.5, 1.0], [2.0, 2.0], [3.1, 0.0]])
    np.testing.assert_allclose(interpolated(points, landscape, heights), [0, 9, 1.5, 6, np.nan])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_figure_draws(bowl, theme):
    landscape = ways(bowl[0])
    landscape.evaluate(steps=13)
    landscape.sharpness(2, generator=0)
    other = Landscape(landscape._loss_fn, landscape._parameters, landscape.directions)
    figures = [
        landscape.plot_1d(theme=theme),
        landscape.contours(theme=theme),
        landscape.surface(theme=theme),
        compare_landscapes({"one": landscape, "other": other}, theme=theme),
    ]
    for figure in figures:
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=50)
        pixels = np.asarray(Image.open(file).convert("L"))
        assert (pixels[0, 0] > 128) == (theme == "light")
        assert len(np.unique(pixels)) > 100


def test_a_constant_and_a_partly_missing_landscape_draw(bowl):
    landscape, parameters = bowl
    flat = Landscape(lambda: 3.0, parameters, landscape.directions)
    holed = Landscape(lambda: tg.log(parameters[0].sum()) + 5, parameters, landscape.directions)
    with pytest.warns(LossWarning, match="not finite"):
        holed.evaluate(2.0, steps=9)
    for drawn in (flat, holed):
        for figure in (drawn.contours(), drawn.surface()):
            figure.savefig(io.BytesIO(), format="png", dpi=40)


def test_drawing_into_ones_own_axes(bowl):
    from matplotlib.figure import Figure

    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert bowl[0].contours(left) is figure
    assert bowl[0].plot_1d(right) is figure
    with pytest.raises(ArgumentError, match="'light', 'dark'"):
        bowl[0].contours(theme="blue")


def test_one_scale_for_landscapes_that_are_compared(bowl):
    landscape, parameters = bowl
    higher = Landscape(lambda: (parameters[0] ** 2).sum() * 50 + 1, parameters, landscape.directions)
    figure = compare_landscapes({"a": landscape, "b": higher})
    images = [image for axes in figure.axes for image in axes.collections if image.get_array() is not None]
    maps = [image for image in images if hasattr(image, "get_coordinates")]
    assert [m.get_clim() for m in maps[:2]] == [(0, 1)] * 2
    assert maps[0].get_array().max() < 0.9 < maps[1].get_array().max()
    with pytest.raises(ArgumentError, match="no landscape"):
        compare_landscapes({})


def test_the_animation(bowl, tmp_path):
    landscape = ways(bowl[0])
    landscape.evaluate(steps=15)
    path = landscape.animate(tmp_path / "ways.gif", frames=7, fps=10)
    with Image.open(path) as gif:
        assert gif.n_frames == 7
        assert gif.info["duration"] == 100
        assert gif.info["loop"] == 0
        pictures = []
        for frame in range(7):
            gif.seek(frame)
            pictures.append(np.asarray(gif.convert("RGB")).astype(int))
    assert all((a != b).any() for a, b in itertools.pairwise(pictures))
    for colour in ((0xFF, 0xC5, 0x31), (0xFF, 0x5A, 0x36)):  # those of the two ways, growing
        shown = [(np.abs(p - colour).sum(axis=-1) < 12).sum() for p in pictures]
        assert 40 < shown[0] < shown[-1]
    assert list(tmp_path.iterdir()) == [path]


def test_mistakes_in_animations(bowl, tmp_path):
    landscape, _ = bowl
    with pytest.raises(ArgumentError, match="add_trajectory"):
        landscape.animate(tmp_path / "a.gif")
    ways(landscape)
    with pytest.raises(ArgumentError, match="at least 2 frames"):
        landscape.animate(tmp_path / "a.gif", frames=1)
    with pytest.raises(RenderError, match=r"\.gif"):
        landscape.animate(tmp_path / "a.mp4")
    with pytest.raises(RenderError, match=r"\.html"):
        landscape.save(tmp_path / "a.pdf")
    assert list(tmp_path.iterdir()) == []


# --- the page ------------------------------------------------------------------------------------------


def data_of(path):
    text = path.read_text(encoding="utf-8")
    assert "://" not in text
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_what_the_page_holds(bowl, tmp_path):
    landscape = ways(bowl[0])
    landscape.sharpness(generator=0)
    held = data_of(landscape.save(tmp_path / "page.html", title="</title><b>"))
    np.testing.assert_allclose(held["losses"], landscape.losses, rtol=1e-6)
    for way, shown in zip(landscape.trajectories, held["ways"]):
        np.testing.assert_allclose(np.column_stack([shown["x"], shown["y"]]), way.points, rtol=1e-6)
        np.testing.assert_allclose(shown["losses"], way.losses, rtol=1e-6)
    assert ["sharpness λ₁", "4"] in held["facts"]
    assert "<title>&lt;/title&gt;" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_long_run_on_a_fine_grid_is_thinned(bowl, tmp_path):
    landscape, _ = bowl
    angles = np.linspace(0, 9, 5000)
    landscape.add_trajectory("long", [[[[x]], [[y]]] for x, y in zip(np.cos(angles), np.sin(angles))])
    landscape.evaluate(2.0, steps=200)
    held = data_of(landscape.save(tmp_path / "page.html"))
    assert len(held["losses"]) == len(held["alphas"]) == 120
    assert (held["alphas"][0], held["alphas"][-1]) == (-2, 2)
    assert len(held["ways"][0]["steps"]) == 1000
    assert held["ways"][0]["steps"][-1] == 4999


@pytest.fixture
def open_page(browser):
    """Open a page; at the end, nothing may have been logged and nothing but the file asked for."""
    with contextlib.ExitStack() as stack:
        logged, asked, allowed = [], set(), set()

        def open_page(path, **options):
            context = browser.new_context(**{"viewport": {"width": 1200, "height": 760}} | options)
            stack.callback(context.close)
            page = context.new_page()
            page.on("console", lambda message: logged.append(message.text))
            page.on("pageerror", lambda error: logged.append(str(error)))
            page.on("request", lambda request: asked.add(request.url))
            allowed.add(path.as_uri())
            page.goto(path.as_uri())
            page.wait_for_selector("body[data-ready]")
            return page

        yield open_page
        assert logged == []
        assert asked == allowed


@pytest.fixture
def saved(bowl, tmp_path):
    landscape = ways(bowl[0])
    landscape.evaluate(steps=31)
    return landscape, landscape.save(tmp_path / "page.html", title="A bowl")


def pixels(page):
    picture = Image.open(io.BytesIO(page.locator("#scene").screenshot())).convert("RGB")
    return np.asarray(picture).astype(int)


def amount(picture, colour):
    return int((np.abs(picture - colour).sum(axis=-1) < 30).sum())


def test_the_page_in_a_browser(saved, open_page):
    landscape, path = saved
    page = open_page(path, color_scheme="dark", reduced_motion="reduce")
    assert page.title() == "A bowl"
    small, large = landscape.trajectories
    assert page.inner_text("#ways").split("\n") == [
        "small",
        f"{small.losses[-1]:.4g}",
        "large",
        f"{large.losses[-1]:.4g}",
    ]
    whole = pixels(page)
    amber, red = (255, 197, 49), (255, 90, 54)
    assert amount(whole, amber) > 100 < amount(whole, red)

    page.locator("#scrubber").fill("3")
    assert page.inner_text("#position") == "step 3 of 19"
    assert f"{small.losses[3]:.4g}" in page.inner_text("#ways")
    page.wait_for_timeout(100)
    assert amount(pixels(page), amber) < amount(whole, amber)

    page.locator("#ways input").first.uncheck()
    page.wait_for_timeout(100)
    assert amount(pixels(page), amber) == 0

    page.locator("#scene").focus()
    before = pixels(page)
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(100)
    assert (pixels(page) != before).mean() > 0.05

    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_playing_dragging_and_pointing(saved, open_page):
    landscape, path = saved
    page = open_page(path, reduced_motion="reduce")
    page.click("#play")
    page.wait_for_function("() => Number(document.querySelector('#scrubber').value) > 1")
    page.click("#play")
    assert page.inner_text("#play") == "▶"

    before = pixels(page)
    page.mouse.move(400, 380)
    page.mouse.down()
    page.mouse.move(520, 330, steps=4)
    page.mouse.up()
    page.wait_for_timeout(100)
    assert (pixels(page) != before).mean() > 0.05

    page.click("#map")
    page.wait_for_timeout(200)
    page.mouse.move(430, 400)
    page.wait_for_selector("#readout:not(:empty)")
    text = page.inner_text("#readout").replace("−", "-")
    if match := re.fullmatch(r"\((\S+), (\S+)\): loss (\S+)", text):
        a, b, loss = map(float, match.groups())
        i, j = np.abs(landscape.alphas - a).argmin(), np.abs(landscape.betas - b).argmin()
        assert loss == pytest.approx(landscape.losses[i, j], rel=1e-3)
    else:
        assert re.fullmatch(r"(small|large), step \d+: loss \S+, \S+ off this plane", text)


def test_the_page_without_trajectories_and_on_a_phone(bowl, open_page, tmp_path):
    page = open_page(bowl[0].save(tmp_path / "bare.html"), viewport={"width": 390, "height": 800})
    assert not page.is_visible("#player")
    assert not page.is_visible("#ways-pane")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert len(np.unique(pixels(page).reshape(-1, 3), axis=0)) > 100


# --- skip connections ------------------------------------------------------------------------------------


def test_skip_connections_make_the_landscape_smoother():
    """Li et al., 2018, Figure 1, on a small scale: from a deep net without them hardly anything comes out."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4, 64))
    Y = np.sign(X[:1] * X[1:2])
    weights = tensors(*(rng.normal(size=(4, 4)) * 0.7 for _ in range(16)))

    def net(skip):
        hidden = tg.tensor(X)
        for W in weights:
            hidden = (hidden if skip else 0) + tg.tanh(W @ hidden) / (4 if skip else 1)
        return ((hidden[:1] - Y) ** 2).mean()

    landscapes = {
        name: Landscape(lambda skip=skip: net(skip), weights, generator=1)
        for name, skip in (("with skip connections", True), ("without", False))
    }
    roughness = {}
    for name, landscape in landscapes.items():
        losses = landscape.evaluate(1.0, steps=21)
        bends = np.diff(losses, n=2, axis=0)
        roughness[name] = np.abs(bends).mean() / np.ptp(losses)
    assert roughness["with skip connections"] < roughness["without"]
    assert len(compare_landscapes(landscapes).axes) == 5

"""How a loss landscape looks: profiles, contours, surface, comparison, animation. Made with matplotlib."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_bc.draw.plots import _figure
from tinygrad_bc.draw.themes import THEMES
from tinygrad_bc.errors import ArgumentError
from tinygrad_bc.record import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from tinygrad_bc.draw.landscape import Landscape, Trajectory

__all__ = [
    "COLOURS",
    "RAMP",
    "TALL",
    "Scale",
    "animation",
    "axis_title",
    "best_azimuth",
    "comparison",
    "contours",
    "evaluated",
    "interpolated",
    "profiles",
    "surface",
    "thinned",
]

# Low to high, in steps of equal lightness: readable in grey. Nothing in it is warm, so that the ways stand out.
RAMP = ("#0c2c47", "#15486a", "#1f6788", "#3a869d", "#63a4ab", "#93c0b9", "#c3dacb", "#eef3e2")
# The ways: warm or bright, apart from each other in lightness too, for colour-blind readers.
COLOURS = ("#ffc531", "#ff5a36", "#e07bf0", "#ffffff", "#8df06a", "#b58a5a")
HALO = "#101418"
LEVELS = 16
MOST_POINTS = 400  # of a way in a picture: more cannot be told apart
LOG_ABOVE = 5.0  # the ratio of the largest loss to the smallest from which the scale is logarithmic
TALL = 0.62  # of a surface's longer side
ELEVATION, AZIMUTH = 38.0, -60.0  # where a surface is usually seen from, in degrees
SHADOW, LIGHT = 0.62, 0.5  # how bright the surface is at least, and how much light adds
GIF_SIZE, GIF_DPI = (7.2, 5.4), 100
FIGURE_SPACE = "\u2007"  # as wide as a digit


@dataclass(frozen=True)
class Scale:
    """How losses become heights and colours, from 0 to 1.

    Attributes
    ----------
    low, high : float
        The least and the largest loss.
    log : bool
        Whether equal factors have equal distance, or equal differences.
    """

    low: float
    high: float
    log: bool

    @classmethod
    def of(cls, losses: Array) -> Scale:
        """Return the scale for losses, NaN left out."""
        low, high = float(np.nanmin(losses)), float(np.nanmax(losses))
        return cls(low, high, low > 0 and high / low > LOG_ABOVE)

    def __call__(self, losses: Any) -> Array:
        """Return where losses are between `low` (0) and `high` (1)."""
        if self.high == self.low:
            return np.zeros(np.shape(losses))
        if self.log:
            return np.asarray(np.log(np.asarray(losses) / self.low) / np.log(self.high / self.low))
        return (np.asarray(losses) - self.low) / (self.high - self.low)

    @property
    def levels(self) -> Array:
        """Where contours are drawn: at equal factors, counted from the lowest point where there are losses ≤ 0."""
        if self.high == self.low:
            return np.array([self.low])
        if self.low > 0:
            return np.geomspace(self.low, self.high, LEVELS + 2)[1:-1]
        return self.low + (self.high - self.low) * np.geomspace(1e-3, 1, LEVELS + 1)[:-1]

    @property
    def ticks(self) -> Array:
        """Round numbers for the scale's axis."""
        from matplotlib.ticker import MaxNLocator

        if not self.log:
            ticks = np.asarray(MaxNLocator(5).tick_values(self.low, self.high))
        else:
            decades = 10.0 ** np.arange(np.floor(np.log10(self.low)), np.log10(self.high) + 1)
            few = self.high / self.low > 1e3
            ticks = np.outer(decades, [1.0] if few else [1.0, 2.0, 5.0]).ravel()
        return ticks[(ticks >= self.low) & (ticks <= self.high)]


# --- profiles ------------------------------------------------------------------------------------


def profiles(landscape: Landscape, axes: Axes | None, theme: str) -> Figure:
    """Draw the loss along each direction through the centre."""
    figure, axes = _canvas(axes, theme, 6.4, 4.0)
    if landscape.alphas is None:
        landscape.evaluate()
    alphas: Any = landscape.alphas
    colours = ("#0b78c2", "#d55e00") if theme == "light" else ("#6db3ff", "#ffa45c")
    drawn = [landscape.loss]
    for i, (coordinates, colour) in enumerate(zip((alphas, landscape.betas), colours)):
        if coordinates is None:
            continue
        losses = landscape.profile(i, coordinates)
        drawn += losses[np.isfinite(losses)].tolist()
        axes.plot(
            coordinates,
            np.where(np.isfinite(losses), losses, np.nan),
            color=colour,
            linewidth=2.4,
            label=axis_title(landscape, i),
        )
    scale = Scale.of(np.array(drawn))
    if scale.log:
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.set_yticks(scale.ticks, [_number(tick) for tick in scale.ticks])
    ink = THEMES[theme].text
    axes.plot(
        0, landscape.loss, "o", color=ink, markersize=7, label=f"the parameters, loss {landscape.loss:.4g}", zorder=5
    )
    axes.set(xlabel="distance along the direction", ylabel="loss", title="Loss along lines through the parameters")
    axes.grid(alpha=0.25, which="major")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    _legend(axes, theme, loc="best")
    return figure


# --- contours ------------------------------------------------------------------------------------


def contours(landscape: Landscape, axes: Axes | None, theme: str) -> Figure:
    """Draw the plane as a map."""
    losses = evaluated(landscape)[2]
    figure, axes = _canvas(axes, theme, 7.4, 5.6)
    scale = Scale.of(losses)
    _map(axes, landscape, scale, theme)
    _ways_on_map(axes, landscape)
    _colour_bar(figure, axes, scale, theme)
    if landscape.trajectories:
        _legend(axes, theme, loc="upper left", bbox_to_anchor=(0, -0.13), ncols=2)
    if landscape.eigenvalues is not None:
        note = ", ".join(f"λ{_subscript(i + 1)} = {value:.3g}" for i, value in enumerate(landscape.eigenvalues))
        axes.text(
            *(0.985, 0.02, f"at +  {note}"), transform=axes.transAxes, ha="right", va="bottom", fontsize=9,
            color="white", zorder=8,
            bbox={"facecolor": HALO, "alpha": 0.9, "edgecolor": "none", "boxstyle": "round,pad=0.35"},
        )  # fmt: skip
    return figure


def _map(axes: Axes, landscape: Landscape, scale: Scale, theme: str) -> None:
    alphas, betas, losses = evaluated(landscape)
    shown = np.ma.masked_invalid(scale(losses)).T
    axes.pcolormesh(
        alphas, betas, shown, cmap=_ramp(), vmin=0, vmax=1, shading="gouraud" if not shown.mask.any() else "nearest",
        rasterized=True,
    )  # fmt: skip
    if scale.high > scale.low:
        levels = scale.levels
        drawn = axes.contour(
            alphas,
            betas,
            np.ma.masked_invalid(losses).T,
            levels=levels,
            colors="white",
            linewidths=0.7,
            alpha=0.75,
        )
        axes.clabel(drawn, levels[1::3], fmt=lambda value: _number(value, 2), fontsize=7.5, inline_spacing=3)
    for colour, size, width in (("white", 12, 4.0), (HALO, 10, 1.6)):
        axes.plot(0, 0, "+", color=colour, markersize=size, markeredgewidth=width, zorder=7)
    axes.set(
        xlabel=axis_title(landscape, 0), ylabel=axis_title(landscape, 1),
        xlim=(alphas[0], alphas[-1]), ylim=(betas[0], betas[-1]), title="Loss landscape",
    )  # fmt: skip
    axes.set_facecolor(THEMES[theme].frame)


def _ways_on_map(axes: Axes, landscape: Landscape) -> None:
    for way, colour in zip(landscape.trajectories, _colours(landscape)):
        points = way.points[thinned(len(way.steps))]
        label = f"{way.name}: {way.losses[-1]:.3g}"
        axes.plot(*points.T, color=colour, linewidth=1.9, path_effects=_halo(), label=label, zorder=4)
        end: Any = {"markersize": 9, "markeredgecolor": HALO, "markeredgewidth": 1.2, "linestyle": "none", "zorder": 5}
        axes.plot(*way.points[-1], "o", color=colour, **end)
    for start in {tuple(way.points[0]) for way in landscape.trajectories}:
        axes.plot(*start, "s", color="white", markersize=7, markeredgecolor=HALO, markeredgewidth=1.4, zorder=5)


def _colour_bar(figure: Figure, axes: Axes, scale: Scale, theme: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), _ramp()), ax=axes, pad=0.02, fraction=0.05, aspect=28)
    bar.set_ticks(scale(scale.ticks).tolist(), labels=[_number(tick) for tick in scale.ticks])
    bar.set_label("loss", color=THEMES[theme].text)
    bar.ax.tick_params(colors=THEMES[theme].text)
    bar.outline.set_visible(False)


# --- surface -------------------------------------------------------------------------------------


def surface(landscape: Landscape, theme: str, elevation: float, azimuth: float | None) -> Figure:
    """Draw the landscape in three dimensions."""
    losses = evaluated(landscape)[2]
    figure = _themed(_figure(7.6, 5.4), theme)
    axes: Any = figure.add_subplot(projection="3d")
    _scene(axes, landscape, Scale.of(losses), theme)
    _seen_from(axes, elevation, best_azimuth(landscape) if azimuth is None else azimuth)
    _draw_levels(axes, landscape, Scale.of(losses))
    _draw_ways(axes, landscape, _heights(landscape, Scale.of(losses)), None)
    if landscape.trajectories:
        _legend(figure, theme, loc="outside lower center", ncols=2)
    return figure


def _scene(axes: Any, landscape: Landscape, scale: Scale, theme: str, zoom: float = 1.0) -> None:
    """Draw the surface, shaded, and what surrounds it."""
    from matplotlib.colors import LightSource

    alphas, betas, _ = evaluated(landscape)
    heights = _heights(landscape, scale)
    # Shaded as it looks, with sides of the lengths that they have in the picture, and not as long as the numbers say.
    smooth = np.where(np.isnan(heights), 0.0, heights).T
    light = LightSource(azdeg=300, altdeg=42)
    shade = light.hillshade(smooth, vert_exag=TALL, dx=1 / (len(alphas) - 1), dy=1 / (len(betas) - 1))
    colours = _ramp()(smooth)
    colours[..., :3] *= (SHADOW + LIGHT * shade)[..., None]
    colours = np.clip(colours, 0, 1)
    x, y = np.meshgrid(alphas, betas)
    axes.computed_zorder = False
    axes.plot_surface(
        x, y, heights.T, facecolors=colours, rcount=len(betas), ccount=len(alphas), linewidth=0, antialiased=False,
        shade=False, zorder=1,
    )  # fmt: skip
    ink = THEMES[theme]
    axes.set_facecolor("none")
    axes.set_proj_type("ortho")
    axes.set_box_aspect((1, 1, TALL), zoom=zoom)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((0, 0, 0, 0))
        axis.line.set_color(ink.frame)
        axis._axinfo["grid"].update(color=(*_rgb(ink.frame), 0.25), linewidth=0.6)
    axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", nbins=5)
    axes.set_zlim(-0.07, 1.02)
    axes.set_zticks(scale(scale.ticks), [_number(tick) for tick in scale.ticks])
    axes.tick_params(colors=ink.faint, labelsize=8, pad=0)
    axes.set_xlabel(landscape.directions.titles[0], color=ink.text, fontsize=9)
    axes.set_ylabel(landscape.directions.titles[1], color=ink.text, fontsize=9)
    axes.set_zlabel("loss", color=ink.text, fontsize=9)


def best_azimuth(landscape: Landscape, turn: float = 0.0) -> float:
    """Return from where the ways are hidden least, also while the view turns by some degrees."""
    heights = _heights(landscape, Scale.of(evaluated(landscape)[2]))
    lines = [_on_surface(_until(way, None), landscape, heights) for way in landscape.trajectories]
    if not lines:
        return AZIMUTH
    line = np.concatenate(lines)

    def seen(azimuth: float) -> float:
        views = (azimuth - turn / 2, azimuth, azimuth + turn / 2)
        shares = [_visible(line, landscape, heights, ELEVATION, view).mean() for view in views]
        return float(np.mean(shares)) - abs((azimuth - AZIMUTH + 180) % 360 - 180) * 1e-3  # nearly equal: the usual one

    # Within a quarter turn, or matplotlib's axes would jump from one side to the other.
    room = np.linspace(-1, 1, 5) * max(43 - turn / 2, 0)
    return float(max((np.array([-135.0, -45.0, 45.0, 135.0])[:, None] + room).ravel(), key=seen))


def _seen_from(axes: Any, elevation: float, azimuth: float) -> None:
    axes.view_init(elev=elevation, azim=azimuth)


def _draw_levels(axes: Any, landscape: Landscape, scale: Scale) -> list[Any]:
    """Draw the lines of equal loss onto the surface, where they are visible, and return what was drawn."""
    from contourpy import contour_generator

    heights = _heights(landscape, scale)
    generator = contour_generator(landscape.alphas, landscape.betas, np.ma.masked_invalid(heights).T)
    lines: list[Any] = []
    for level in scale(scale.levels):
        for line in generator.lines(float(level)):
            lines += [np.column_stack([np.asarray(line), np.full(len(line), level)]), np.full((1, 3), np.nan)]
    if not lines:
        return []
    joined = np.concatenate(lines)
    seen = _visible(joined, landscape, heights, axes.elev, axes.azim)
    return list(
        axes.plot(*np.where(seen[:, None], joined, np.nan).T, color="white", linewidth=0.6, alpha=0.45, zorder=2)
    )


def _draw_ways(axes: Any, landscape: Landscape, heights: Array, step: float | None) -> list[Any]:
    """Draw the ways up to a step, all of them if it is None, and return what was drawn, to be taken off again."""
    drawn = []
    for way, colour in zip(landscape.trajectories, _colours(landscape)):
        points = _until(way, step)
        line = _on_surface(points, landscape, heights)
        seen = _visible(line, landscape, heights, axes.elev, axes.azim)
        solid, hidden = np.where(seen[:, None], line, np.nan), np.where(_border(seen)[:, None], np.nan, line)
        drawn += axes.plot(*solid.T, color=colour, linewidth=2.2, path_effects=_halo(), zorder=4)
        drawn += axes.plot(*hidden.T, color=colour, linewidth=1.2, linestyle=":", alpha=0.55, zorder=3)
        style = {"marker": "o", "markersize": 9, "markeredgecolor": HALO, "markeredgewidth": 1.2, "linestyle": "none"}
        drawn += axes.plot(*line[-1:].T, color=colour, alpha=1.0 if seen[-1] else 0.45, zorder=6, **style)
        loss = f"{_loss_at(way, step):.3g}".ljust(8, FIGURE_SPACE)  # or legends of an animation would jump
        drawn += axes.plot([], [], [], color=colour, label=f"{way.name}: {loss}", **style)
    return drawn


def _border(seen: Array) -> Array:
    """Return which visible points have visible neighbours: a dotted line begins at the last visible one."""
    return seen & np.append(seen[1:], True) & np.insert(seen[:-1], 0, True)


def _on_surface(points: Array, landscape: Landscape, heights: Array) -> Array:
    """Return a polyline that follows the surface between the given points of the plane, shape (n, 3)."""
    alphas, betas, _ = evaluated(landscape)
    cell = np.array([np.ptp(alphas) / (len(alphas) - 1), np.ptp(betas) / (len(betas) - 1)])
    pieces = [points[:1]]
    for a, b in itertools.pairwise(points):
        count = int(np.ceil(np.max(np.abs(b - a) / cell) * 2)) or 1
        pieces.append(a + (b - a) * (np.arange(1, count + 1) / count)[:, None])
    line = np.concatenate(pieces)
    return np.column_stack([line, interpolated(line, landscape, heights)])


def interpolated(points: Array, landscape: Landscape, heights: Array) -> Array:
    """Return the height at points of the plane, bilinear between those of the grid; NaN outside of it."""
    alphas, betas, _ = evaluated(landscape)
    i, s = _place(points[:, 0], alphas)
    j, t = _place(points[:, 1], betas)
    low = heights[i, j] * (1 - s) + heights[i + 1, j] * s
    high = heights[i, j + 1] * (1 - s) + heights[i + 1, j + 1] * s
    inside = (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1)
    return np.where(inside, low * (1 - t) + high * t, np.nan)


def _place(x: Array, grid: Array) -> tuple[Array, Array]:
    """Return in which interval of the grid each coordinate is, and how far along."""
    i = np.clip(np.searchsorted(grid, x, side="right") - 1, 0, len(grid) - 2)
    return i, (x - grid[i]) / (grid[i + 1] - grid[i])


def _visible(line: Array, landscape: Landscape, heights: Array, elevation: float, azimuth: float) -> Array:
    """Return which points no part of the surface hides: a ray from each goes towards the eye, cell by cell."""
    alphas, betas, _ = evaluated(landscape)
    elevation, azimuth = np.deg2rad(elevation), np.deg2rad(azimuth)
    flat = np.array([np.cos(azimuth) * np.ptp(alphas), np.sin(azimuth) * np.ptp(betas)])
    rise = np.tan(elevation) / TALL
    hidden = np.zeros(len(line), dtype=bool)
    for distance in np.arange(1, 2 * len(alphas)) / (len(alphas) - 1) * 0.75:
        above = line[:, 2] + rise * distance
        if (above > 1).all():
            break
        ground = interpolated(line[:, :2] + flat * distance, landscape, heights)
        hidden |= ground > above + 0.012  # the line lies on the surface: a little is rounding
    return ~hidden


# --- comparison ----------------------------------------------------------------------------------


def comparison(landscapes: dict[str, Landscape], theme: str) -> Figure:
    """Draw landscapes side by side on one scale."""
    if not landscapes:
        raise ArgumentError("there is no landscape to compare")
    scale = Scale.of(np.concatenate([evaluated(landscape)[2].ravel() for landscape in landscapes.values()]))
    figure = _themed(_figure(4.6 * len(landscapes) + 0.8, 7.6), theme)
    grid = figure.add_gridspec(2, len(landscapes), height_ratios=[1.15, 1])
    maps = []
    for column, (name, landscape) in enumerate(landscapes.items()):
        scene: Any = figure.add_subplot(grid[0, column], projection="3d")
        _scene(scene, landscape, scale, theme, zoom=1.2)
        _seen_from(scene, ELEVATION, best_azimuth(landscape))
        _draw_levels(scene, landscape, scale)
        _draw_ways(scene, landscape, _heights(landscape, scale), None)
        scene.set(xlabel="", ylabel="")
        scene.set_title(name, color=THEMES[theme].text, fontsize=13)
        flat = figure.add_subplot(grid[1, column])
        flat.locator_params(nbins=6)
        _dress(flat, theme)
        _map(flat, landscape, scale, theme)
        _ways_on_map(flat, landscape)
        flat.set_title("")
        maps.append(flat)
    _colour_bar(figure, maps, scale, theme)  # type: ignore[arg-type]
    return figure


# --- animation -----------------------------------------------------------------------------------


def animation(landscape: Landscape, frames: int, fps: int, theme: str, turn: float) -> bytes:
    """Return a GIF of the ways growing over the surface."""
    if not landscape.trajectories:
        raise ArgumentError("nothing moves: add a trajectory first, landscape.add_trajectory(name, snapshots)")
    if frames < 2 or fps < 1:
        raise ArgumentError(f"expected at least 2 frames and 1 a second, got {frames} and {fps}")
    scale = Scale.of(evaluated(landscape)[2])
    heights = _heights(landscape, scale)
    figure = _themed(_figure(*GIF_SIZE), theme)
    figure.set_layout_engine("none")  # nothing may jump from one picture to the next
    axes: Any = figure.add_axes((-0.04, 0.06, 1.02, 0.98), projection="3d")
    _scene(axes, landscape, scale, theme)
    axes.set(xlabel="", ylabel="", xticklabels=[], yticklabels=[])  # they would turn into each other's way
    title = figure.text(0.04, 0.93, "", fontsize=14, color=THEMES[theme].text)
    first = min(float(way.steps[0]) for way in landscape.trajectories)
    last = max(float(way.steps[-1]) for way in landscape.trajectories)
    azimuth = best_azimuth(landscape, turn) - turn / 2
    pictures, palette = [], _palette(landscape, theme)
    for frame in range(frames):
        share = min(frame / (0.85 * (frames - 1)), 1.0)  # at the end there is time to look
        step = first + (last - first) * share**1.6  # slowly at first, when most happens
        _seen_from(axes, ELEVATION, azimuth + turn * frame / (frames - 1))
        drawn = _draw_levels(axes, landscape, scale) + _draw_ways(axes, landscape, heights, step)
        drawn.append(_legend(figure, theme, loc="lower center", bbox_to_anchor=(0.5, 0.01), ncols=2, columnspacing=3))
        title.set_text(f"step {step:.0f}")
        pictures.append(_picture(figure, palette))
        for artist in drawn:
            artist.remove()
    file = io.BytesIO()
    # An optimised palette would be another one for each picture, and rarely used colours be replaced by others.
    pictures[0].save(
        *(file, "GIF"), save_all=True, append_images=pictures[1:], duration=1000 / fps, loop=0, optimize=False
    )  # fmt: skip
    return file.getvalue()


def _picture(figure: Figure, palette: Any) -> Any:
    """Return the figure as it is now as an image of the palette's colours."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(GIF_DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    return image.quantize(palette=palette, dither=Image.Dither.NONE)


def _palette(landscape: Landscape, theme: str) -> Any:
    """Return the 256 colours of an animation: those of the surface in light and shadow, of the ways and of the text.

    Chosen by frequency, as image libraries do, a palette would go to the surface, and the ways would lose theirs.
    """
    from PIL import Image

    ink = THEMES[theme]
    page, halo = np.array(_rgb(ink.page)), np.array(_rgb(HALO))
    shares = np.linspace(0, 1, 5)[:, None]
    ways = [np.array(_rgb(colour)) for colour in dict.fromkeys(_colours(landscape))]
    text = [page + (np.array(_rgb(colour)) - page) * shares for colour in (ink.text, ink.frame)]
    edges = [ground + (way - ground) * shares[1:] for way in ways for ground in (page, halo)]
    fixed = np.vstack([halo[None], *text, *edges])
    shadows = np.linspace(SHADOW, SHADOW + LIGHT, 8)
    tones = _ramp()(np.linspace(0, 1, (256 - len(fixed)) // len(shadows)))[:, :3]
    colours = np.vstack([fixed, (tones[:, None] * shadows[:, None]).reshape(-1, 3)])
    image = Image.new("P", (1, 1))
    image.putpalette((np.clip(colours, 0, 1) * 255).round().astype(np.uint8).tobytes())
    return image


def _until(way: Trajectory, step: float | None) -> Array:
    """Return the points up to a step, the last one in between two snapshots."""
    if step is None or step >= way.steps[-1]:
        return way.points[thinned(len(way.steps))]
    known = way.points[: np.searchsorted(way.steps, step, side="right")]
    here = [np.interp(step, way.steps, coordinate) for coordinate in way.points.T]
    return np.vstack([known[thinned(len(known))], here]) if len(known) else way.points[:1]


def _loss_at(way: Trajectory, step: float | None) -> float:
    last = len(way.steps) if step is None else max(int(np.searchsorted(way.steps, step, side="right")), 1)
    return float(way.losses[last - 1])


def thinned(count: int, most: int = MOST_POINTS) -> Array:
    """Return which of `count` points are drawn: not more than the eye can tell apart, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


# --- parts ---------------------------------------------------------------------------------------


def evaluated(landscape: Landscape) -> tuple[Array, Array, Array]:
    """Return the coordinates of the plane's grid and the losses on it, which are computed if they are not there yet."""
    if len(landscape.directions.vectors) < 2:
        raise ArgumentError("a plane needs two directions; the loss along one is shown by plot_1d()")
    if landscape.betas is None:
        landscape.evaluate()
    alphas: Any = landscape.alphas
    betas: Any = landscape.betas
    losses: Any = landscape.losses
    return alphas, betas, losses


def _heights(landscape: Landscape, scale: Scale) -> Array:
    return scale(evaluated(landscape)[2])


def axis_title(landscape: Landscape, i: int) -> str:
    """Return what is written at the axis of a direction."""
    shares = landscape.directions.shares
    return landscape.directions.titles[i] + (f" ({shares[i]:.0%} of the variance)" if shares else "")


def _colours(landscape: Landscape) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(len(landscape.trajectories))]


def _number(x: float, digits: int = 3) -> str:
    """Return a number for the reader's eye, without a power of ten where that is not needed."""
    if x == 0 or 1e-4 <= abs(x) < 1e6:
        return np.format_float_positional(x, precision=digits, fractional=False, trim="-")
    return f"{x:.{digits}g}"


def _subscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _ramp() -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("landscape", RAMP)


def _rgb(colour: str) -> Any:
    from matplotlib.colors import to_rgb

    return to_rgb(colour)


def _halo() -> list[Any]:
    """Return what surrounds a line with another colour, so that it is seen on light and dark ground."""
    from matplotlib import patheffects

    return [patheffects.Stroke(linewidth=4.0, foreground=HALO, alpha=0.85), patheffects.Normal()]


def _legend(axes: Any, theme: str, **where: Any) -> Any:
    ink = THEMES[theme]
    return axes.legend(frameon=False, fontsize=9.5, labelcolor=ink.text, **where)


def _canvas(axes: Axes | None, theme: str, width: float, height: float) -> tuple[Figure, Axes]:
    """Return where to draw: the user's axes, or those of a new figure."""
    if axes is None:
        figure = _themed(_figure(width, height), theme)
        axes = figure.add_subplot()
    else:
        figure = axes.get_figure(root=True)  # type: ignore[assignment]
    _dress(axes, theme)
    return figure, axes


def _themed(figure: Figure, theme: str) -> Figure:
    if theme not in THEMES:
        raise ArgumentError(f"theme {theme!r}: expected one of {', '.join(map(repr, THEMES))}")
    figure.set_facecolor(THEMES[theme].page)
    return figure


def _dress(axes: Axes, theme: str) -> None:
    ink = THEMES[theme]
    axes.set_facecolor(ink.page)
    axes.tick_params(colors=ink.text)
    for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
        text.set_color(ink.text)
    for spine in axes.spines.values():
        spine.set_color(ink.frame)

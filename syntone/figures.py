"""Figures: arrays in, a matplotlib Figure out; `png` and `gif` give bytes. pyplot's global state is not touched.

Conventions: waves (T,), linear amplitude; mel spectrograms (M, L), dB; all images of a figure share a colour scale.
"""

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter, MaxNLocator
from PIL import Image

ORIGINAL, MODEL = "#1f4e79", "#d9601a"
COLOURS = "magma"
DPI = 75
MAX_PAIRS = 21  # of levels in one panel; more names would overlap
TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000, 16000)


@dataclass(frozen=True)
class Scale:
    """Axes of a figure."""

    sample_rate: int  # Hz
    hop: int  # samples
    band_hz: np.ndarray  # (M,), centres of the mel bands, Hz
    db_min: float  # of the colours, as db_max
    db_max: float
    zero_db: str  # what 0 dB is, in words


@dataclass(frozen=True)
class Sound:
    """One sound to draw and to hear."""

    wave: np.ndarray  # (T,), linear amplitude
    mel: np.ndarray  # (M, L), dB
    label: str  # what it is, in words
    kind: str = ""  # "original", "reconstruction", "sample" or "traversal"; empty where there is only one kind
    name: str = ""  # of its WAV file, without the ending


def png(figure: Figure | Callable[[], Figure]) -> bytes:
    """Encode a figure, or what a function draws, as PNG."""
    buffer = BytesIO()
    _drawn(figure).save(buffer, format="png")
    return buffer.getvalue()


def gif(figures: Iterable[Figure | Callable[[], Figure]]) -> bytes:
    """Encode figures of one size as a GIF, one second each. See `png`."""
    frames, buffer = [_drawn(figure) for figure in figures], BytesIO()
    frames[0].save(buffer, format="gif", save_all=True, append_images=frames[1:], duration=1000, loop=0)
    return buffer.getvalue()


def _drawn(figure: Figure | Callable[[], Figure]) -> Image.Image:
    """Return the pixels. Dollar signs in texts are not taken for mathematics, save in numbers of axes."""
    figure = figure() if callable(figure) else figure
    for text in _texts(figure):
        text.set_parse_math(False)
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _texts(figure: Figure) -> Iterator[Text]:
    """Yield all texts but numbers at ticks. `findobj` would visit those too, which takes longer than drawing."""
    yield from figure.texts  # the title is one of them
    for axes in figure.axes:
        yield from (axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts)
        if legend := axes.get_legend():
            yield from legend.get_texts()
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(axis.get_major_formatter(), FixedFormatter | FuncFormatter):  # names instead of numbers
                yield from axis.get_ticklabels()


def spectrum_db(wave: np.ndarray, *, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and level in dB of a Hann-windowed wave; 0 dB is a sine of amplitude 1."""
    window = np.hanning(len(wave) + 1)[:-1] if len(wave) > 1 else np.ones(1)
    amplitude = 2 * np.abs(np.fft.rfft(wave * window)) / window.sum()
    return np.fft.rfftfreq(len(wave), 1 / sample_rate), 20 * np.log10(np.maximum(amplitude, 1e-7))


def _draw_wave(axes: Axes, sounds: Sequence[Sound], colours: Sequence[str], *, scale: Scale) -> None:
    """About six periods from the middle of the tones."""
    freqs, level = spectrum_db(sounds[0].wave, sample_rate=scale.sample_rate)
    loudest = freqs[np.where(freqs > 0, level, -np.inf).argmax()]
    period = scale.sample_rate / max(loudest, 20.0)
    n_shown = int(min(len(sounds[0].wave), max(24, 6 * period)))
    start = (len(sounds[0].wave) - n_shown) // 2
    time = (start + np.arange(n_shown)) / scale.sample_rate * 1000
    for sound, colour in zip(sounds, colours):
        marker = "." if n_shown == 1 else ""
        axes.plot(time, sound.wave[start : start + n_shown], color=colour, linewidth=1.2, marker=marker)
    highest = 1.1 * max(1e-3, *(np.abs(sound.wave[start : start + n_shown]).max() for sound in sounds))
    last = max(time[-1], (start + 1) / scale.sample_rate * 1000)  # one sample has no range
    axes.set(xlim=(time[0], last), ylim=(-highest, highest), ylabel="amplitude")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(axis="y", labelsize=8)  # -0.0010 fits beside the next panel
    axes.grid(alpha=0.3)


def _draw_spectrum(axes: Axes, sounds: Sequence[Sound], colours: Sequence[str], *, scale: Scale) -> None:
    for sound, colour in zip(sounds, colours):
        freqs, level = spectrum_db(sound.wave, sample_rate=scale.sample_rate)
        axes.plot(freqs, level, color=colour, linewidth=0.8, alpha=0.85)
    axes.set(xlim=(0, scale.sample_rate / 2), ylim=(-100, 10), ylabel="level (dB)")
    axes.grid(alpha=0.3)


def _draw_image(axes: Axes, mel: np.ndarray, *, extent: tuple[float, ...], scale: Scale) -> AxesImage:
    colours = {"cmap": COLOURS, "vmin": scale.db_min, "vmax": scale.db_max, "interpolation": "nearest"}
    return axes.imshow(mel, origin="lower", aspect="auto", extent=extent, **colours)


def _band_ticks(scale: Scale) -> tuple[list[str], np.ndarray]:
    """Return labels in Hz and their places in bands."""
    shown = [hz for hz in TICKS_HZ if scale.band_hz[0] <= hz <= scale.band_hz[-1]]
    return [*map(str, shown)], np.interp(shown, scale.band_hz, np.arange(len(scale.band_hz)))


def _draw_mel(axes: Axes, mel: np.ndarray, *, scale: Scale) -> AxesImage:
    frame = scale.hop / scale.sample_rate  # frame k is centred on k hops
    place = (-0.5 * frame, (mel.shape[1] - 0.5) * frame, -0.5, len(mel) - 0.5)
    image = _draw_image(axes, mel, extent=place, scale=scale)
    hertz, bands = _band_ticks(scale)
    axes.set_yticks(bands, hertz)
    axes.set_ylabel("frequency (Hz)")
    return image


def panels(
    heights: Sequence[float],
    n_columns: int,
    *,
    width: float,
    gap: tuple[float, float],
    margins: tuple[float, float, float, float],
    **shared: str,
) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes (rows, columns), of one width and with the heights of the rows.

    Lengths are in inches, the gap is (horizontal, vertical), the margins are left, right, bottom, top; `shared` are
    options of `Figure.subplots`. A constrained layout would measure every text, which takes longer than drawing.
    """
    left, right, bottom, top = margins
    total = left + right + n_columns * width + (n_columns - 1) * gap[0]
    height = bottom + top + sum(heights) + (len(heights) - 1) * gap[1]
    figure = Figure(figsize=(total, height))
    place = {"left": left / total, "right": 1 - right / total, "bottom": bottom / height, "top": 1 - top / height}
    figure.subplots_adjust(**place, wspace=gap[0] / width, hspace=gap[1] * len(heights) / sum(heights))
    return figure, figure.subplots(len(heights), n_columns, squeeze=False, height_ratios=heights, **shared)


def _wrapped(title: str, width: float) -> list[str]:
    """Lines of a title of 10 points over a figure's width in inches."""
    return [line for part in title.split("\n") for line in textwrap.wrap(part, int(11.5 * width))]


def _finish(
    figure: Figure, image: AxesImage, *, bar: str, title: str, fontsize: int = 12, distance: float = 0.15
) -> Figure:
    """Add a title and a colour bar, with its label and its distance in inches, to a figure of `panels`."""
    width, height = figure.get_size_inches()
    place = figure.subplotpars
    length = min(place.top - place.bottom, 5 / height)
    bottom = (place.bottom + place.top - length) / 2
    axes = figure.add_axes((place.right + distance / width, bottom, 0.15 / width, length))
    figure.colorbar(image, cax=axes, label=bar)
    figure.suptitle(title, y=1 - 0.15 / height, va="top", fontsize=fontsize)
    return figure


def tones_figure(
    rows: Sequence[Sequence[Sequence[Sound]]], *, scale: Scale, title: str, colours: Sequence[str] = (ORIGINAL, MODEL)
) -> Figure:
    """Waveform (a few periods), spectrum and mel spectrogram of sounds.

    Each row holds groups, drawn beside each other; a group holds one sound, or two drawn over each other in `colours`.
    The waveform of a reconstruction has phases of its own: a mel spectrogram has none.
    """
    n_groups, n_sounds = max(map(len, rows)), len(rows[0][0])
    sizes = {"width": 3.1 if n_groups == 1 else 2.0, "gap": (0.75, 0.55), "margins": (0.85, 1.1, 0.5, 0.75)}
    figure, grid = panels([1.85] * len(rows), n_groups * (2 + n_sounds), **sizes)
    for line, groups in zip(grid, rows):
        for axes in line[len(groups) * (2 + n_sounds) :]:
            axes.set_axis_off()
        for (wave, spectrum, *mels), sounds in zip(np.split(line, n_groups), groups):
            _draw_wave(wave, sounds, colours, scale=scale)
            _draw_spectrum(spectrum, sounds, colours, scale=scale)
            wave.set_title(sounds[0].label, fontsize=10)
            for axes, sound in zip(mels, sounds):
                image = _draw_mel(axes, sound.mel, scale=scale)
                axes.set_title(sound.kind if n_sounds > 1 else "", fontsize=10)
    for axes, label in zip(grid[-1], ("time (ms)", "frequency (Hz)", *n_sounds * ["time (s)"]) * n_groups):
        axes.set_xlabel(label)
    if n_sounds > 1:
        grid[0, 1].legend(grid[0, 1].lines, [sound.kind for sound in rows[0][0]], loc="upper right", fontsize=8)
    bar = f"mel level (dB, 0 dB: {scale.zero_db})" if len(rows) > 1 else "mel level (dB)"
    return _finish(figure, image, bar=bar, title=title)


def traversal_figure(
    mels: np.ndarray, *, values: np.ndarray, labels: Sequence[str], scale: Scale, title: str
) -> Figure:
    """One row per latent, one column per value of it: mels (R, S, M, L) in dB, values (R, S), R row labels.

    All spectrograms are in one axes, whose unit is the inch: axes for each would take three times as long.
    """
    n_rows, n_columns, n_bands, n_frames = mels.shape
    width, height, step = 1.13, 1.08, (1.31, 1.28)  # of a spectrogram, and from one to the next
    lefts, tops = step[0] * np.arange(n_columns), step[1] * np.arange(n_rows)
    lines = _wrapped(title, 1.7 + step[0] * n_columns)
    size = {"width": lefts[-1] + width, "gap": (0.0, 0.0), "margins": (0.9, 1.0, 0.5, 0.39 + 0.16 * len(lines))}
    figure, ((axes,),) = panels([tops[-1] + height], 1, **size)
    for (r, s), value in np.ndenumerate(values):
        left, top = lefts[s], tops[r]
        image = _draw_image(axes, mels[r, s], extent=(left, left + width, top + height, top), scale=scale)
        axes.add_patch(Rectangle((left, top), width, height, fill=False, linewidth=0.8, clip_on=False))
        axes.text(left + width / 2, top - 0.03, f"{value:+.2f}", ha="center", va="bottom", fontsize=8)
    for top, label in zip(tops, labels):
        axes.text(
            -0.36, top + height / 2, label + "\nHz", rotation=90, ha="right", va="center", ma="center", fontsize=9
        )
    hertz, bands = _band_ticks(scale)
    frame = scale.hop / scale.sample_rate
    seconds = [t for t in MaxNLocator(3, steps=[1, 2, 5, 10]).tick_values(0, n_frames * frame) if t < n_frames * frame]
    shares = (np.array(seconds) / frame + 0.5) / n_frames, 1 - (bands + 0.5) / n_bands
    axes.set_xticks(np.add.outer(lefts, width * shares[0]).ravel(), [f"{t:g}" for t in seconds] * n_columns)
    axes.set_yticks(np.add.outer(tops, height * shares[1]).ravel(), hertz * n_rows)
    axes.tick_params(labelsize=6)
    axes.set_frame_on(False)
    axes.set(xlim=(0, size["width"]), ylim=(tops[-1] + height, 0))
    axes.set_xlabel("time (s)", fontsize=9)
    bar = f"mel level (dB, 0 dB: {scale.zero_db})" if n_rows > 3 else "mel level (dB)"
    return _finish(figure, image, bar=bar, title="\n".join(lines), fontsize=10)


def information_figure(
    shares: np.ndarray, *, factors: Sequence[str], latents: Sequence[str], order: str, title: str
) -> Figure:
    """Heat map of I_kj / H_k, shares (K, D), with K and D labels. Frames mark the two most informative latents of each
    factor, whose gap is beside the row."""
    n_factors, n_latents = shares.shape
    left, right, width = 0.4 + 0.09 * max(map(len, factors)), 2.2, 0.8 * n_latents  # inches
    lines = _wrapped(title, left + width + right)
    size = {"width": width, "gap": (0.0, 0.0), "margins": (left, right, 0.85, 0.3 + 0.17 * len(lines))}
    figure, ((axes,),) = panels([0.7 * n_factors], 1, **size)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (k, j), share in np.ndenumerate(shares):
        colour = "white" if share > 0.6 else "black"
        axes.text(j, k, f"{share:.2f}", ha="center", va="center", fontsize=9, color=colour)
    for k, row in enumerate(shares):
        best = np.argsort(-row, kind="stable")[:2]
        for j, style in zip(best, ("-", ":")):
            frame = {"fill": False, "edgecolor": MODEL, "linewidth": 2, "linestyle": style}
            axes.add_patch(Rectangle((j - 0.47, k - 0.46), 0.94, 0.92, **frame))
        gap = row[best[0]] - row[best[1:]].sum()  # with one latent there is no second
        axes.text(n_latents - 0.4, k, f"gap {gap:.3f}", ha="left", va="center", fontsize=9, color=MODEL)
    axes.set_xticks(range(n_latents), latents, fontsize=8)
    axes.set_yticks(range(n_factors), factors)
    axes.set_xlabel(f"latents by {order}")
    bar = "mutual information / H(factor)"
    return _finish(figure, image, bar=bar, title="\n".join(lines), fontsize=10, distance=0.95)


def audit_figure(
    factors: Sequence[dict],
    *,
    resolution_db: float,
    shares: tuple[str, dict[str, tuple[np.ndarray, np.ndarray]]],
    title: str,
) -> Figure:
    """Panels of a dataset's audit: the size of each factor's steps, and the share of indistinguishable sounds.

    `factors` are as `audit.audit_steps` returns them, with a `label` for the axis; `shares` are an x label and, per
    line, its name, values and shares in [0, 1].
    """
    figure = Figure(figsize=(4.6 * (len(factors) + 1), 4.2), layout="constrained")
    *panels, last = figure.subplots(1, len(factors) + 1, squeeze=False)[0]
    for axes, factor in zip(panels, factors):
        _draw_steps(axes, factor, resolution_db=resolution_db)
        n, nominal = len(factor["steps"]), factor["kind"] == "nominal"
        which = f", the {MAX_PAIRS} closest of {n} pairs" if nominal and n > MAX_PAIRS else ""
        _label(axes, title=f"{factor['factor']}: largest difference of spectrograms{which}")
    label, lines = shares
    for number, (values, share) in enumerate(lines.values()):  # lines that coincide show around each other
        last.plot(values, 100 * share, linewidth=9.0 * 0.6**number, label=str(number))
    title_of = "indistinguishable from a sound with other labels"
    _label(last, title=title_of, xlabel=label, ylabel="share of sounds (%)", ylim=(-3, 103))
    last.legend(last.lines, lines, fontsize=7)  # named, since a legend leaves out labels that begin with _
    figure.suptitle(title, fontsize=11)
    return figure


def _label(axes: Axes, *, title: str, **properties) -> None:
    """Add title, legend and grid, and set further properties such as xlabel."""
    axes.set_title(title, fontsize=9)
    axes.set(**properties)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


def _draw_steps(axes: Axes, factor: dict, *, resolution_db: float) -> None:
    """Distance in dB of every step: from each level to the next one, or of each pair of classes."""
    steps, floor = factor["steps"], 1e-2  # dB: smaller distances are drawn there
    if factor["kind"] == "nominal" and len(steps) > MAX_PAIRS:
        steps = sorted(steps, key=lambda step: step["smallest_db"])[:MAX_PAIRS]
    smallest, median = (np.maximum([step[key] for step in steps], floor) for key in ("smallest_db", "median_db"))
    limit = {"color": "black", "linestyle": "--", "label": f"resolution, {resolution_db:g} dB"}
    if factor["kind"] == "nominal":
        places = np.arange(len(steps))
        axes.barh(places, median, color=ORIGINAL, alpha=0.35, label="median over sounds")
        axes.plot(smallest, places, "o", color=MODEL, label="smallest")
        joint = "\n" if len(steps) < 11 else " / "
        axes.set_yticks(places, [joint.join(step.get("names", ())) for step in steps], fontsize=7)
        axes.axvline(resolution_db, **limit)
        axes.set(xscale="log", xlabel="dB (clipped at 0.01)")
    else:
        values = [step["from"] for step in steps]
        axes.plot(values, median, color=ORIGINAL, marker=".", markersize=4, label="median over sounds")
        axes.plot(values, smallest, color=MODEL, marker=".", markersize=4, linestyle="none", label="smallest")
        axes.axhline(resolution_db, **limit)
        label = f"{factor['label']}, from each level to the next"
        axes.set(yscale="log", ylabel="dB (clipped at 0.01)", xlabel=label)


def training_curves(history: dict[str, list[float]], *, title: str) -> Figure:
    """Training and validation values of every loss term by epoch, one panel per term.

    Scores, where there are any, share one more panel, at the epochs that have them.
    """
    epochs = np.array(history["epoch"])
    terms = [name.removeprefix("train_") for name in history if name.startswith("train_")]
    scores = [name for name in history if name.startswith("score_")]
    n_panels = len(terms) + bool(scores)
    n_columns = min(3, len(terms))
    n_rows = math.ceil(n_panels / n_columns)
    figure = Figure(figsize=(4.2 * n_columns, 0.5 + 2.8 * n_rows), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes, term in zip(grid, terms):
        both = [history[f"{phase}_{term}"] for phase in ("train", "valid")]
        for values, phase, colour in zip(both, ("train", "valid"), (ORIGINAL, MODEL)):
            axes.plot(epochs, values, color=colour, label=phase, marker=".", markersize=3)
        unit = "squares" if term.startswith("cov_") else "nats per tone"  # DIPVAE's covariances have no unit
        _label(axes, title=term, xlabel="epoch", ylabel=unit)
        if term in ("loss", "recon") and np.min(both) > 0:
            axes.set_yscale("log")
    if scores:
        for name in scores:
            known = np.isfinite(history[name])
            axes = grid[len(terms)]
            axes.plot(epochs[known], np.array(history[name])[known], marker=".", label=name.removeprefix("score_"))
        _label(axes, title="scores over active latents", xlabel="epoch", ylim=(0, 1))
    for axes in grid[n_panels:]:
        axes.set_visible(False)
    figure.suptitle(title, fontsize=11)
    return figure

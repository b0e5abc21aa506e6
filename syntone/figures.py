"""Figures: arrays in, files out. Nothing here sees a model, draws a random number or touches pyplot's global state.

Conventions: waves (T,), linear amplitude; mel spectrograms (M, L), dB; every picture of one figure shares its colour scale.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from syntone.files import atomic_write

ORIGINAL, MODEL = "#1f4e79", "#d9601a"
COLOURS = "magma"
DPI = 75
TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000, 16000)


@dataclass(frozen=True)
class Scale:
    """What the axes of a figure mean: Hz, samples, centre of every mel band in Hz, colour range in dB, and what 0 dB is."""

    sample_rate: int
    hop: int
    band_hz: np.ndarray
    db_min: float
    db_max: float
    zero_db: str


@dataclass(frozen=True)
class Sound:
    """One tone to draw: wave (T,), mel (M, L) in dB, and a label."""

    wave: np.ndarray
    mel: np.ndarray
    label: str


def save_figure(path: str | Path, figure: Figure) -> None:
    with atomic_write(path) as handle:
        figure.savefig(handle, format="png", dpi=DPI)


def spectrum_db(wave: np.ndarray, *, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and level in dB of a Hann-windowed wave; 0 dB is a sine of amplitude 1."""
    window = np.hanning(len(wave) + 1)[:-1]
    amplitude = 2 * np.abs(np.fft.rfft(wave * window)) / window.sum()
    return np.fft.rfftfreq(len(wave), 1 / sample_rate), 20 * np.log10(np.maximum(amplitude, 1e-7))


def _draw_wave(axes: Axes, sounds: Sequence[Sound], colours: Sequence[str], *, scale: Scale) -> None:
    """About six periods from the middle of the tones."""
    freqs, level = spectrum_db(sounds[0].wave, sample_rate=scale.sample_rate)
    period = scale.sample_rate / max(freqs[1 + level[1:].argmax()], 20.0)
    n_shown = int(min(len(sounds[0].wave), max(24, 6 * period)))
    start = (len(sounds[0].wave) - n_shown) // 2
    time = (start + np.arange(n_shown)) / scale.sample_rate * 1000
    for sound, colour in zip(sounds, colours):
        axes.plot(time, sound.wave[start : start + n_shown], color=colour, linewidth=1.2)
    axes.set_xlim(time[0], time[-1])
    peak = max(np.abs(sound.wave[start : start + n_shown]).max() for sound in sounds)
    axes.set_ylim(-1.1 * max(peak, 1e-3), 1.1 * max(peak, 1e-3))
    axes.set_ylabel("amplitude")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(alpha=0.3)


def _draw_spectrum(axes: Axes, sounds: Sequence[Sound], colours: Sequence[str], *, scale: Scale) -> None:
    for sound, colour in zip(sounds, colours):
        freqs, level = spectrum_db(sound.wave, sample_rate=scale.sample_rate)
        axes.plot(freqs, level, color=colour, linewidth=0.8, alpha=0.85)
    axes.set_xlim(0, scale.sample_rate / 2)
    axes.set_ylim(-100, 10)
    axes.set_ylabel("level (dB)")
    axes.grid(alpha=0.3)


def _draw_mel(axes: Axes, mel: np.ndarray, *, scale: Scale, hz_ticks: bool = True):
    frame = scale.hop / scale.sample_rate  # frame k is centred on k hops
    image = axes.imshow(
        mel,
        origin="lower",
        aspect="auto",
        cmap=COLOURS,
        vmin=scale.db_min,
        vmax=scale.db_max,
        extent=(-0.5 * frame, (mel.shape[1] - 0.5) * frame, -0.5, len(mel) - 0.5),
        interpolation="nearest",
    )
    if hz_ticks:
        shown = [hz for hz in TICKS_HZ if scale.band_hz[0] <= hz <= scale.band_hz[-1]]
        axes.set_yticks(np.interp(shown, scale.band_hz, np.arange(len(mel))), [f"{hz}" for hz in shown])
        axes.set_ylabel("frequency (Hz)")
    return image


def _colour_bar(figure: Figure, image, axes, *, scale: Scale, fraction: float = 0.03, **shape) -> None:
    figure.colorbar(
        image, ax=axes, label=f"mel level (dB, 0 dB: {scale.zero_db})", fraction=fraction, pad=0.02, **shape
    )


def reconstruction_figure(
    path: str | Path, originals: Sequence[Sound], reconstructions: Sequence[Sound], *, scale: Scale, title: str
) -> None:
    """Rows of tones: waveform and spectrum of both overlaid, mel spectrogram of each. The phases of a reconstruction are
    its own: a mel spectrogram has none."""
    n_rows = len(originals)
    figure = Figure(figsize=(16, 0.8 + 2.4 * n_rows), layout="constrained")
    grid = figure.subplots(n_rows, 4, squeeze=False)
    for axes, original, rebuilt in zip(grid, originals, reconstructions):
        pair = (original, rebuilt)
        _draw_wave(axes[0], pair, (ORIGINAL, MODEL), scale=scale)
        _draw_spectrum(axes[1], pair, (ORIGINAL, MODEL), scale=scale)
        _draw_mel(axes[2], original.mel, scale=scale)
        image = _draw_mel(axes[3], rebuilt.mel, scale=scale)
        axes[0].set_title(original.label, fontsize=10)
        axes[2].set_title("original", fontsize=10)
        axes[3].set_title(rebuilt.label, fontsize=10)
    for axes, label in zip(grid[-1], ("time (ms)", "frequency (Hz)", "time (s)", "time (s)")):
        axes.set_xlabel(label)
    grid[0, 1].legend(grid[0, 1].lines, ("original", "reconstruction"), loc="upper right", fontsize=8)
    _colour_bar(figure, image, list(grid[:, 3]), scale=scale)
    figure.suptitle(title)
    save_figure(path, figure)


def sample_figure(path: str | Path, samples: Sequence[Sound], *, scale: Scale, title: str) -> None:
    """Rows of decoded samples: waveform, spectrum, mel spectrogram."""
    n_rows = len(samples)
    figure = Figure(figsize=(13, 0.8 + 2.4 * n_rows), layout="constrained")
    grid = figure.subplots(n_rows, 3, squeeze=False)
    for axes, sample in zip(grid, samples):
        _draw_wave(axes[0], [sample], [MODEL], scale=scale)
        _draw_spectrum(axes[1], [sample], [MODEL], scale=scale)
        image = _draw_mel(axes[2], sample.mel, scale=scale)
        axes[0].set_title(sample.label, fontsize=10)
    for axes, label in zip(grid[-1], ("time (ms)", "frequency (Hz)", "time (s)")):
        axes.set_xlabel(label)
    _colour_bar(figure, image, list(grid[:, 2]), scale=scale)
    figure.suptitle(title)
    save_figure(path, figure)


def traversal_figure(
    path: str | Path, mels: np.ndarray, *, values: np.ndarray, labels: Sequence[str], scale: Scale, title: str
) -> None:
    """One row a latent, one column a value of it.

    Parameters
    ----------
    mels : (R, S, M, L), dB
    values : (R, S), the value that row r's latent takes in column s
    labels : R row labels
    """
    n_rows, n_steps = values.shape
    figure = Figure(figsize=(1.5 + 1.35 * n_steps, 0.9 + 1.25 * n_rows), layout="constrained")
    grid = figure.subplots(n_rows, n_steps, squeeze=False)
    for r in range(n_rows):
        for s in range(n_steps):
            axes = grid[r, s]
            image = _draw_mel(axes, mels[r, s], scale=scale, hz_ticks=s == 0)
            axes.set_title(f"{values[r, s]:+.2f}", fontsize=8, pad=2)
            if s:
                axes.set_yticks([])
            else:
                axes.tick_params(axis="y", labelsize=6)
                axes.set_ylabel(labels[r] + "\nHz", fontsize=9)
            if r < n_rows - 1:
                axes.set_xticks([])
            else:
                axes.tick_params(axis="x", labelsize=6)
                axes.set_xlabel("s", fontsize=8)
    _colour_bar(figure, image, list(grid.ravel()), scale=scale)
    figure.suptitle(title, fontsize=10)
    save_figure(path, figure)


def information_figure(
    path: str | Path, shares: np.ndarray, *, factors: Sequence[str], latents: Sequence[str], title: str
) -> None:
    """Heat map of I_kj / H_k with the two most informative latents of each factor framed and their gap beside the row.

    Parameters
    ----------
    shares : (K, D), mutual information in units of the factor's entropy
    factors, latents : K and D labels
    """
    n_factors, n_latents = shares.shape
    figure = Figure(figsize=(4.0 + 0.8 * n_latents, 1.9 + 0.7 * n_factors), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for k in range(n_factors):
        for j in range(n_latents):
            axes.text(
                j,
                k,
                f"{shares[k, j]:.2f}",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if shares[k, j] > 0.6 else "black",
            )
        first, second = np.argsort(-shares[k], kind="stable")[:2] if n_latents > 1 else (0, None)
        for j, style in ((first, "-"), (second, ":")):
            if j is not None:
                axes.add_patch(
                    Rectangle(
                        (j - 0.47, k - 0.46), 0.94, 0.92, fill=False, edgecolor=MODEL, linewidth=2, linestyle=style
                    )
                )
        gap = shares[k, first] - (shares[k, second] if second is not None else 0.0)
        axes.text(n_latents - 0.4, k, f"gap {gap:.3f}", ha="left", va="center", fontsize=9, color=MODEL)
    axes.set_xticks(range(n_latents), latents, fontsize=8)
    axes.set_yticks(range(n_factors), factors)
    axes.set_xlabel("latents by mean KL")
    figure.colorbar(image, ax=axes, label="mutual information / H(factor)", pad=0.12)
    figure.suptitle(title, fontsize=10)
    save_figure(path, figure)


def dataset_figure(path: str | Path, rows: Sequence[Sequence[Sound]], *, scale: Scale, title: str) -> None:
    """Tones of a dataset: a few periods, spectrum and mel spectrogram of each; sounds of one row stand beside each other."""
    n_columns = len(rows[0])
    figure = Figure(figsize=(8.2 * n_columns, 0.8 + 2.3 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 3 * n_columns, squeeze=False)
    for line, sounds in zip(grid, rows):
        for panels, sound in zip(np.split(line, n_columns), sounds):
            _draw_wave(panels[0], [sound], [ORIGINAL], scale=scale)
            _draw_spectrum(panels[1], [sound], [ORIGINAL], scale=scale)
            image = _draw_mel(panels[2], sound.mel, scale=scale)
            panels[1].set_title(sound.label, fontsize=11)
    for axes, label in zip(grid[-1], ("time (ms)", "frequency (Hz)", "time (s)") * n_columns):
        axes.set_xlabel(label)
    _colour_bar(figure, image, list(grid.ravel()), scale=scale, fraction=0.01, aspect=60)
    figure.suptitle(title, fontsize=13)
    save_figure(path, figure)


def audit_figure(
    path: str | Path,
    factors: Sequence[dict],
    *,
    resolution_db: float,
    shares: tuple[str, dict[str, tuple[np.ndarray, np.ndarray]]],
    title: str,
) -> None:
    """A panel a factor with how far apart its steps are, and one with where the indistinguishable tones lie.

    Parameters
    ----------
    factors : as `audit.audit_steps` returns them, with a `label` for the axis
    shares : an x label, and for each line its name, values and shares in [0, 1]
    """
    figure = Figure(figsize=(4.6 * (len(factors) + 1), 4.2), layout="constrained")
    panels = figure.subplots(1, len(factors) + 1, squeeze=False)[0]
    for axes, factor in zip(panels, factors):
        axes.set_title(f"{factor['factor']}: largest difference over a spectrogram", fontsize=9)
        _draw_steps(axes, factor, resolution_db=resolution_db)
    axes, (label, lines) = panels[-1], shares
    for number, (name, (values, share)) in enumerate(lines.items()):
        axes.plot(
            values, 100 * share, linewidth=9.0 * 0.6**number, label=name
        )  # those that coincide show around another
    axes.set_title("tones indistinguishable from one with other labels", fontsize=9)
    axes.set_xlabel(label)
    axes.set_ylabel("share of tones (%)")
    axes.set_ylim(-3, 103)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.suptitle(title, fontsize=11)
    save_figure(path, figure)


def _draw_steps(axes: Axes, factor: dict, *, resolution_db: float) -> None:
    """Distance in dB of every step: from each level to the next one, or of each pair of classes."""
    steps, floor = factor["steps"], 1e-2  # dB: what lies below is drawn there
    smallest, median = (np.maximum([step[key] for step in steps], floor) for key in ("smallest_db", "median_db"))
    if factor["kind"] == "nominal":
        places = np.arange(len(steps))
        axes.barh(places, median, color=ORIGINAL, alpha=0.35, label="median over tones")
        axes.plot(smallest, places, "o", color=MODEL, label="smallest")
        axes.set_yticks(places[:40], ["\n".join(step.get("names", ())) for step in steps][:40], fontsize=7)
        axes.axvline(resolution_db, color="black", linestyle="--", label=f"resolution, {resolution_db:g} dB")
        axes.set_xscale("log")
        axes.set_xlabel("dB (0.01: that or less)")
    else:
        values = [step["from"] for step in steps]
        axes.plot(values, median, color=ORIGINAL, marker=".", markersize=4, label="median over tones")
        axes.plot(values, smallest, color=MODEL, marker=".", markersize=4, linestyle="none", label="smallest")
        axes.axhline(resolution_db, color="black", linestyle="--", label=f"resolution, {resolution_db:g} dB")
        axes.set_yscale("log")
        axes.set_ylabel("dB (0.01: that or less)")
        axes.set_xlabel(f"{factor['label']}, from each level to the next")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


def tone_gif(
    path: str | Path, frames: Sequence[Sequence[Sound]], *, scale: Scale, title: str, seconds_per_frame: float = 1.0
) -> None:
    """An animation with one or two sounds a frame: their spectra overlaid and the mel spectrogram of each."""
    from matplotlib.animation import PillowWriter

    n_sounds = len(frames[0])
    figure = Figure(figsize=(4.6 + 3.2 * n_sounds, 3.3), layout="constrained")
    FigureCanvasAgg(figure)
    writer = PillowWriter(fps=1 / seconds_per_frame)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=Path(path).parent, prefix=".") as folder:  # a full disk is that of the target
        drawn = Path(folder) / "drawn.gif"  # the writer takes names only, and goes by their end
        with writer.saving(figure, str(drawn), dpi=DPI):
            for sounds in frames:
                figure.clear()
                axes = figure.subplots(1, 1 + n_sounds, width_ratios=(1.4, *[1] * n_sounds))
                colours = (ORIGINAL, MODEL) if n_sounds == 2 else (MODEL,)
                _draw_spectrum(axes[0], sounds, colours, scale=scale)
                axes[0].set_xlabel("frequency (Hz)")
                if n_sounds == 2:
                    axes[0].legend(axes[0].lines, ("original", "reconstruction"), loc="upper right", fontsize=7)
                for panel, sound in zip(axes[1:], sounds):
                    image = _draw_mel(panel, sound.mel, scale=scale)
                    panel.set_title(sound.label, fontsize=9)
                    panel.set_xlabel("time (s)")
                figure.colorbar(image, ax=axes[-1], label="mel level (dB)")
                figure.suptitle(title, fontsize=11)
                writer.grab_frame()
        with atomic_write(path) as handle:
            handle.write(drawn.read_bytes())


def training_curves(path: str | Path, history: dict[str, list[float]], *, title: str) -> None:
    """Every loss term over the epochs, training and validation, one panel a term; scores, where there are any, in one
    panel more, at the epochs that have them."""
    terms = [name.removeprefix("train_") for name in history if name.startswith("train_")]
    scores = [name for name in history if name.startswith("score_")]
    n_columns = min(3, len(terms))
    n_rows = math.ceil((len(terms) + bool(scores)) / n_columns)
    figure = Figure(figsize=(4.2 * n_columns, 0.5 + 2.8 * n_rows), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes, term in zip(grid, terms):
        for phase, colour in (("train", ORIGINAL), ("valid", MODEL)):
            axes.plot(history["epoch"], history[f"{phase}_{term}"], color=colour, label=phase, marker=".", markersize=3)
        axes.set_title(term, fontsize=10)
        axes.set_xlabel("epoch")
        axes.set_ylabel("squares" if term.startswith("cov_") else "nats per tone")  # DIPVAE's covariances have no unit
        axes.grid(alpha=0.3)
        if term in ("loss", "recon") and min(history[f"train_{term}"] + history[f"valid_{term}"]) > 0:
            axes.set_yscale("log")
    grid[0].legend(fontsize=8)
    for axes in grid[len(terms) + bool(scores) :]:
        axes.set_visible(False)
    if scores:
        axes = grid[len(terms)]
        for name in scores:
            known = np.isfinite(history[name])
            axes.plot(
                np.array(history["epoch"])[known],
                np.array(history[name])[known],
                marker=".",
                label=name.removeprefix("score_"),
            )
        axes.set_title("scores over active latents", fontsize=10)
        axes.set_xlabel("epoch")
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.suptitle(title, fontsize=11)
    save_figure(path, figure)

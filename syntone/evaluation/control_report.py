"""Controllability of checkpoints: measured on their own data, as rows of the table, as controllability.csv, and drawn."""

from matplotlib.figure import Figure
import numpy as np
import torch
from tqdm import tqdm

from syntone.dataset.file import Dataset
from syntone.dataset.nuisances import FACTORS
from syntone.evaluation import codes as evaluation
from syntone.evaluation.control_figure import MAX_LATENTS, controllability_figure
from syntone.evaluation.controllability import N_BASES, N_STEPS, Control, controllability, tone_limit
from syntone.evaluation.matching import Match, Templates, loudness_patterns, make_templates, match
from syntone.evaluation.load import Entry
from syntone.evaluation.scores import Row

METRIC = "controllability"
CSV_COLUMNS = (
    "model",
    "seed",
    "factor",
    "latent",
    "unit",
    "change",
    "normalised",
    "smoothness",
    "monotonicity",
    "score",
    "no_tone",
)
DECODED_ROWS = 512  # in a block
MAX_PAIRS = 20_000_000  # of a tone and a class; 160 MB for each of several arrays
MIN_RANGE = 0.02  # ceiling - floor below this says nothing, as for all scores
Key = tuple[str, int]  # name of the model, seed


def templates_of(entry: Entry) -> Templates:
    """All tones of the entry's dataset, by the factors that vary."""
    labels, dataset = entry.dataset.labels(), entry.dataset
    columns = [dataset.factor_names.index(name) for name in labels["factor_names"]]
    patterns = loudness_patterns(entry.features, entry.front_end)
    return make_templates(
        patterns,
        factor_values=dataset.factor_values[:, columns],
        **labels,
        units={name: factor.unit for name, factor in FACTORS.items()},
    )


def measure_control(entry: Entry, codes: evaluation.Codes, templates: Templates, *, limit: float, seed: int) -> Control:
    """What every active latent of one checkpoint moves; latents by mean KL, base tones out of the validation tones."""
    rng = np.random.default_rng(seed)
    device = templates.patterns.device

    def measure(z: np.ndarray) -> Match:
        blocks = np.array_split(z, len(z) // DECODED_ROWS + 1)
        patterns = [
            loudness_patterns(evaluation.decode(entry.model, block, device=device), entry.front_end) for block in blocks
        ]
        return match(torch.cat(patterns), templates)

    bases = evaluation.choose_rows(entry.valid_rows, entry.dataset.y, n=N_BASES, rng=rng)
    return controllability(
        measure,
        codes=codes.codes,
        latents=codes.order[codes.active[codes.order]],
        bases=bases,
        templates=templates,
        limit=limit,
        generator=rng,
    )


def measure_controls(entries: list[Entry], codes_of: dict[Key, evaluation.Codes], *, seed: int) -> dict[Key, Control]:
    """What the latents of every checkpoint move; templates are made once for all that share features. Nothing of a dataset
    with a nominal factor of so many classes, such as one for each recording, that their pairs would fill the memory."""
    found, templates, limit, made_of = {}, None, 0.0, None
    with tqdm(total=len(entries), desc=METRIC, unit="checkpoint", delay=2, disable=None) as bar:
        for entry, (key, codes) in zip(entries, codes_of.items()):
            bar.update()
            n_pairs = max(
                (
                    len(entry.dataset) * len(np.unique(column))
                    for column, kind in zip(entry.dataset.factors.T, entry.dataset.factor_kinds)
                    if kind == "nominal"
                ),
                default=0,
            )
            if n_pairs > MAX_PAIRS:
                bar.write(f"{METRIC} of {key[0]}, seed {key[1]}, is left out: a nominal factor has too many classes")
                continue
            if made_of is not entry.features:  # checkpoints of one dataset mostly follow one another
                templates, made_of = templates_of(entry), entry.features
                limit = tone_limit(templates, generator=np.random.default_rng(seed))
            found[key] = measure_control(entry, codes, templates, limit=limit, seed=seed)
    return found


def control_rows(control: Control, *, model: str, seed: int) -> list[Row]:
    """The score with its floor and ceiling, the coverage of every factor, and the share of steps that are no tone. No score
    where fewer than two factors can be moved."""
    rows = []
    if np.isfinite(control.score):
        floor = float(np.mean(control.floors)) if control.floors else None
        adjusted = (control.score - floor) / (1 - floor) if floor is not None and floor < 1 - MIN_RANGE else None
        spread = float(np.std(control.floors)) if control.floors else None
        rows.append(
            Row(
                model,
                seed,
                METRIC,
                "all",
                control.score,
                floor,
                1.0 if control.floors else None,
                adjusted,
                spread,
            )
        )
    rows.append(Row(model, seed, f"{METRIC}: coverage", "all", float(control.coverage.mean())))
    rows += [
        Row(model, seed, f"{METRIC}: coverage", factor, float(value))
        for factor, value in zip(control.factors, control.coverage)
    ]
    return rows + [Row(model, seed, f"{METRIC}: steps that are no tone", "all", control.no_tone_share)]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def control_details(control: Control) -> dict:
    """The matrices (K, J) for the JSON, None where a number is not defined."""
    matrices = {
        name: [[_number(value) for value in row] for row in getattr(control, name)]
        for name in ("change", "normalised", "smoothness", "monotonicity")
    }
    return {
        "factors": list(control.factors),
        "units": [_unit(control, k) for k in range(len(control.factors))],
        "seen_by_the_front_end": control.seen.tolist(),
        "latents": control.latents.tolist(),
        **matrices,
        "score_of_latents": [_number(value) for value in control.score_of],
        "score": _number(control.score),
        "no_tone_limit": control.limit,
        "no_tone": control.no_tone.tolist(),
        "coverage": control.coverage.tolist(),
        "floors": list(control.floors),
    }


def control_table(controls: dict[Key, Control]) -> tuple[tuple[str, ...], list[list]]:
    """The matrices of all checkpoints as columns and rows of a long CSV; None where a number is not defined."""
    rows = []
    for (model, seed), control in controls.items():
        for k, factor in enumerate(control.factors):
            for j, latent in enumerate(control.latents):
                numbers = (
                    control.change[k, j],
                    control.normalised[k, j],
                    control.smoothness[k, j],
                    control.monotonicity[k, j],
                    control.score_of[j],
                    control.no_tone[j],
                )
                rows.append([model, seed, factor, f"z{latent}", _unit(control, k), *map(_number, numbers)])
    return CSV_COLUMNS, rows


def _unit(control: Control, k: int) -> str:
    return "probability" if control.nominal[k] else control.units[k]


def draw_control(control: Control, codes: evaluation.Codes, *, dataset: Dataset, model: str) -> Figure:
    """The figure of what each active latent moves."""
    n_factors, latents = len(control.factors), control.latents
    classes, labels, measured, limits = [], [], [], []
    for k, name in enumerate(control.factors):
        values = control.measured[k] if control.seen[k] else None
        values = values - control.low[k] if values is not None and control.units[k] == "cents" else values
        low = 0.0 if control.units[k] == "cents" else control.low[k]
        measured.append(values)
        limits.append((low, low + control.span[k]))
        classes.append(_class_names(dataset, name) if control.nominal[k] else [])
        labels.append(
            {"cents": f"{name}\n(cents above lowest)", "": name}.get(control.units[k], f"{name} ({control.units[k]})")
            if not control.nominal[k]
            else f"probability of {name}"
        )
    heads = [
        f"z{j}, KL {codes.kl[j]:.2f} nats\n"
        + ("no effect" if np.isnan(score) else f"score {score:.2f}")
        + f", {100 * share:.0f} % no tone"
        for j, score, share in zip(latents, control.score_of, control.no_tone)
    ]
    notes = [
        [
            "nothing moves"
            if np.isnan(control.monotonicity[k, j])
            else f"mono {control.monotonicity[k, j]:.2f}  smooth {control.smoothness[k, j]:.2f}"
            for j in range(len(latents))
        ]
        for k in range(n_factors)
    ]
    covered = [
        f"at most {value:.2f}\nof its range" if seen else "not in these\nfeatures"
        for value, seen in zip(control.coverage, control.seen)
    ]
    return controllability_figure(
        normalised=control.normalised,
        cells=_cells(control),
        factors=control.factors,
        rows_right=covered,
        latents=heads,
        positions=control.positions,
        measured=measured,
        axes_labels=labels,
        limits=limits,
        classes=classes,
        notes=notes,
        title=_title(control, model),
    )


def _cells(control: Control) -> list[list[str]]:
    texts = []
    for k in range(len(control.factors)):
        unit = "" if control.nominal[k] else " " + control.units[k]
        form = "{:.0f}" if control.units[k] == "cents" else "{:.1f}" if control.units[k] == "dB" else "{:.2f}"
        texts.append(
            [
                (form.format(change) + unit if control.seen[k] else "–")
                + (f"\n{share:.2f}" if control.units[k] and control.seen[k] else "")
                for change, share in zip(control.change[k], control.normalised[k])
            ]
        )
    return texts


def _class_names(dataset: Dataset, name: str) -> list[str]:
    column = dataset.factor_names.index(name)
    first = np.unique(dataset.factors[:, column], return_index=True)[1]
    return [dataset.level_name(name, value) for value in dataset.factor_values[first, column]]


def _title(control: Control, model: str) -> str:
    if np.isnan(control.score):
        score = "a score needs two factors"
    else:
        score = f"controllability {control.score:.3f}"
        if control.floors:
            score += f" (one factor a latent: 1, random: {np.mean(control.floors):.3f})"
    n_bases = control.measured[0].shape[0]
    shown = (
        "" if len(control.latents) <= MAX_LATENTS else f"; the {MAX_LATENTS} of {len(control.latents)} with the most KL"
    )
    return (
        f"{model}, what each latent moves: {score}\nmean change over {n_bases} base tones, each latent in {N_STEPS} steps "
        f"between its 2 % and 98 % quantile; dark: the factor's whole range{shown}. No tone, and left out: a step that the "
        f"best match misses by more than {100 * control.limit:.0f} % of it"
    )

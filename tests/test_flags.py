"""Flags that no run can have are refused in one line, before anything is read or written."""

import argparse
import functools
import sys
from pathlib import Path

import pytest
from sandbox import GOOD, MAINS, check_refused, in_process

from syntone.cli import Parser


def parser_of(script: str, monkeypatch) -> argparse.ArgumentParser:
    """The parser of a script, taken from it at its first call."""
    seen = []
    monkeypatch.setattr(Parser, "parse_args", lambda parser, *rest: seen.append(parser) or sys.exit(0))
    with pytest.raises(SystemExit):
        MAINS[script]([])
    monkeypatch.undo()
    return seen[0]


@pytest.mark.parametrize("script", MAINS)
def test_every_flag_refuses_what_it_cannot_have(world, capfd, script, monkeypatch):
    """Numbers refuse text, infinity and too small a number; choices refuse other words; switches refuse values."""
    with monkeypatch.context() as patch:
        actions = parser_of(script, patch)._actions
    tried = 0
    for action in actions:
        flag = action.option_strings[-1]
        if action.choices:
            wrong = {"wrong": "invalid choice"}
        elif action.nargs == 0 and flag != "--help":
            wrong = {"1": "ignored explicit argument"}
        elif action.type not in (None, Path):
            wrong = {"text": "expected a", "1e400": "expected a"}
            wrong |= {} if flag in ("--snr_db", "--db_min", "--db_max") else {"-3": "expected a"}
        else:
            continue
        for value, words in wrong.items():
            run = functools.partial(in_process, script, [*GOOD[script].split(), f"{flag}={value}"], capfd)
            check_refused(run, script=script, pattern=f"{flag}: {words}")
            tried += 1
    assert tried >= 8


TOGETHER = [
    ("create.py", "--freq_end 4000.1", "--freq_end: 4000.1 Hz is above half the sample rate"),
    ("create.py", "--freq_start 3001", "--freq_start: 3001 is above --freq_end 3000"),
    ("create.py", "--amp_start 2", "--amp_start: 2 is above --amp_end 1"),
    ("create.py", "--freq_start 3000", "--num_freqs: 2 levels from 3000 to 3000 are all the same"),
    ("create.py", "--amp_start 1", "--num_amps: 2 levels from 1 to 1 are all the same"),
    ("create.py", "--waveforms sine square sine", "--waveforms: a waveform occurs twice"),
    ("create.py", "--amp_end 1e7", "--amp_end: expected a finite number from 1e-30 to"),
    ("create.py", "--amp_start 1e-40", "--amp_start: expected a finite number from 1e-30 to"),
    ("create.py", "--duration 1e-9", "--duration: 1e-09 s at 8000 Hz is 8e-06 samples"),
    ("create.py", "--snr_db 300", "--snr_db: expected a finite number from -200 to 200"),
    ("create.py", "--onset_jitter 1", "--onset_jitter, --factor attack: latest onset and longest"),
    ("create.py", "--detune_cents 1300", "--detune_cents: expected a finite number from 0 to 1200"),
    ("create.py", "--freq_end 4000 --detune_cents 10", "--freq_end: 4000 Hz \\(with detuning and vibrato 4023.17 Hz"),
    ("create.py", "--factor colour 0 1 2", "--factor: unknown factor 'colour'"),
    ("create.py", "--factor noise -60 0", "--factor: expected 4 arguments"),
    ("create.py", "--factor noise low high 2", "--factor noise: expected a finite number, got 'low'"),
    ("create.py", "--factor noise nan 0 2", "--factor noise: expected a finite number, got 'nan'"),
    ("create.py", "--factor attack 0 0.1 0", "--factor attack: expected a whole number from 1 to"),
    ("create.py", "--factor attack 0.1 0 2", "--factor attack: from 0.1 to 0"),
    (
        "create.py",
        "--factor attack 0 0.3 2",
        "--onset_jitter, --factor attack: latest onset and longest attack take 0.3 s",
    ),
    ("create.py", "--factor attack 0 0.1 2 --factor attack 0 0.1 2", "--factor: a factor occurs twice"),
    ("create.py", "--factor attack 0 0.1 1", "--factor attack: one level cannot be both 0 and 0.1; give more levels"),
    ("create.py", "--factor phase 0 1 2", "--factor phase: 0 and 1 cycles are the same phase"),
    (
        "create.py",
        "--factor phase 0 0.5 2 --phase random",
        "--phase, --factor phase: phase cannot be both random and a factor",
    ),
    ("create.py", "--factor noise -60 0 2 --snr_db 20", "--snr_db, --factor noise: both set the noise"),
    ("create.py", "--factor brightness -6 0 2", "--factor brightness: .* give --oscillator bandlimited"),
    ("create.py", "--hold_out colour=red", "hold_out: .*colour"),
    ("create.py", "--correlate amplitude frequency nan", "--correlate: sigma, .* got 'nan'"),
    ("create.py", "--from_wav nowhere --labels text.txt", "--(from_wav|sample_rate|amp|freq|num)"),
    ("create.py", "--labels text.txt", "--from_wav, --labels: one needs the other"),
    ("create.py", "--audit tones.npz", "--duration, --file_path, .*: no effect on an existing file"),
    ("create.py", "--audit --figures_dir text.txt", "--figures_dir: text.txt is a file"),
    ("create.py", "--samples --audio_dir text.txt", "--audio_dir: text.txt is a file"),
    ("create.py", "--file_path text.txt --overwrite", "--file_path: text.txt does not end in .npz"),
    ("trainvae.py", "--output_dir text.txt", "--output_dir: text.txt is a file"),
    ("eval.py", "--output_dir text.txt", "--output_dir: text.txt is a file"),
    ("eval.py", "--figures_dir text.txt", "--figures_dir: text.txt is a file"),
    ("trainvae.py", "--dataset text.txt", "text.txt: cannot be read as a dataset"),
    ("trainvae.py", "--dataset checkpoints/VAE_seed0.pt", "checkpoints/VAE_seed0.pt: .* missing"),
    ("trainvae.py", "--eval_every 1 --metrics infomec --latent_dim 1", "--metrics: infomec is not defined for"),
    ("eval.py", "--model nowhere.pt", "nowhere.pt: no such file"),
    ("eval.py", "--model checkpoints", "checkpoints: no such file"),
    ("eval.py", "--model tones.npz", "tones.npz: not a checkpoint that can be read safely"),
    ("eval.py", "--model text.txt", "text.txt: not a checkpoint that can be read safely"),
    (
        "eval.py",
        "--model checkpoints/VAE_seed0.pt checkpoints/VAE_seed0.pt",
        "checkpoints/VAE_seed0.pt: VAE with seed 0 was",
    ),
    ("eval.py", "--dataset nowhere.npz", "nowhere.npz: no such file"),
    ("eval.py", "--dataset text.txt", "text.txt: cannot be read as a dataset"),
]

# Refused before memory or disk is taken; 1 where the disk is what is too small.
TOO_LARGE = [
    ("create.py", "--duration 1e12", r"--duration: .* samples", 2),
    ("create.py", "--num_freqs 2000000000", "--num_freqs: ", 2),
    ("create.py", "--num_freqs 1000000 --num_amps 1000000", r"--file_path: new.npz needs 3\d,\d{3},", 1),
]


@pytest.mark.parametrize("script, more, pattern, status", [*((*case, 2) for case in TOGETHER), *TOO_LARGE])
def test_flags_that_do_not_fit_together_are_refused(world, capfd, script, more, pattern, status):
    argv = [*GOOD[script].split(), *more.split()]
    check_refused(lambda: in_process(script, argv, capfd), script=script, pattern=pattern, status=status)


def test_the_commands_that_cases_spoil_are_good(world, capfd):
    for script, argv in GOOD.items():
        assert in_process(script, argv.split(), capfd)[0] == 0

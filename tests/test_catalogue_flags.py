"""The catalogue of bad inputs: every flag of the three scripts with values that it cannot have."""

import contextlib
import io
import re

import pytest
from catalogue import GOOD, MAINS, check_refused, in_process

NO_WHOLE = ["text", "nan", "inf", "2.5", "-3", "2147483648", "9" * 500]
NO_NUMBER = ["text", "nan", "inf", "-inf", "1e400"]
COUNTS = {
    "create.py": ["sample_rate", "num_freqs", "num_amps"],
    "trainvae.py": [
        "epochs",
        "batch_size",
        "latent_dim",
        "eval_every",
        "at_once",
        "n_mels",
        "level_rows",
        "anneal_epochs",
        "hidden",
        "channels",
    ],
}
SIZES = {
    "create.py": ["duration", "freq_start", "freq_end", "amp_start", "amp_end"],
    "trainvae.py": ["lr", "sigma", "memory", "anneal_from", "range_db"],
}
WEIGHTS = {
    "create.py": ["onset_jitter", "detune_cents"],
    "trainvae.py": ["beta", "gamma", "alpha", "lambda_od", "lambda_d", "capacity", "save_seconds", "smoothing"],
}
SEEDS = {"create.py": ["seed"], "trainvae.py": ["seeds"], "eval.py": ["seed"]}
CHOICES = {
    "create.py": ["preset", "waveforms", "oscillator", "level", "freq_scale", "amp_scale", "phase", "fit"],
    "trainvae.py": ["features", "estimator", "device", "metrics", "precision"],
    "eval.py": ["state", "device", "metrics"],
}


def cases_of(flags: dict[str, list[str]], values: list[str], wanted: str):
    return [
        (script, f"--{flag}={value}", f"--{flag}: expected {wanted}")
        for script, names in flags.items()
        for flag in names
        for value in values
    ]


ONE_BY_ONE = [
    *cases_of(COUNTS, [*NO_WHOLE, "0", ""], "a whole number from 1 up"),
    *cases_of(SEEDS, NO_WHOLE, "a whole number from 0 up"),
    *cases_of(SIZES, [*NO_NUMBER, "0", "-1"], "a finite number above 0"),
    *cases_of(WEIGHTS, [*NO_NUMBER, "-1e-9"], "a finite number from 0 up"),
    *[(script, "--no_such_flag 1", "unrecognized arguments: --no_such_flag") for script in GOOD],
    *[(script, "positional", "unrecognized arguments: positional") for script in GOOD],
    *[
        (script, f"--{flag} wrong", f"--{flag}: invalid choice: 'wrong'")
        for script, flags in CHOICES.items()
        for flag in flags
    ],
    *[("create.py", f"--snr_db={value}", "--snr_db: expected a finite number") for value in NO_NUMBER],
    *[
        ("trainvae.py", f"--{flag}={value}", f"--{flag}: expected a finite number")
        for flag in ("db_min", "db_max")
        for value in NO_NUMBER
    ],
    ("create.py", "--overwrite=1", "--overwrite: ignored explicit argument '1'"),
    ("trainvae.py", "--no_graphs=1", "--no_graphs: ignored explicit argument '1'"),
    ("eval.py", "--no_figures=1", "--no_figures: ignored explicit argument '1'"),
    ("eval.py", "--self_test=1", "--self_test: ignored explicit argument '1'"),
    ("create.py", "--waveforms", "--waveforms: expected at least one argument"),
    ("create.py", "--file_path", "--file_path: expected one argument"),
    ("trainvae.py", "--epoch 3", "unrecognized arguments: --epoch 3"),  # no abbreviations
]

TOGETHER = [
    ("create.py", "--freq_end 4000.1", "--freq_end: 4000.1 Hz is above half the sample rate"),
    ("create.py", "--freq_start 3001", "--freq_start: 3001 is above --freq_end 3000"),
    ("create.py", "--amp_start 2", "--amp_start: 2 is above --amp_end 1"),
    ("create.py", "--freq_start 3000", "--num_freqs: 2 levels from 3000 to 3000 are all the same"),
    ("create.py", "--amp_start 1", "--num_amps: 2 levels from 1 to 1 are all the same"),
    ("create.py", "--waveforms sine square sine", "--waveforms: a waveform is named twice"),
    ("create.py", "--amp_end 1e7", "--amp_start, --amp_end: float32 samples hold amplitudes from"),
    ("create.py", "--amp_start 1e-40", "--amp_start, --amp_end: float32 samples hold amplitudes from"),
    ("create.py", "--duration 1e-9", "--duration: 1e-09 s at 8000 Hz is 8e-06 samples"),
    ("create.py", "--snr_db 300", "--snr_db: 300 dB is beyond"),
    ("create.py", "--onset_jitter 1", "--onset_jitter: 1 s leaves nothing of a tone"),
    ("create.py", "--detune_cents 1300", "--detune_cents: 1300 is more than an octave"),
    ("create.py", "--freq_end 4000 --detune_cents 10", "--freq_end: 4000 Hz reaches 4023.17 Hz with its detuning"),
    ("create.py", "--factor colour 0 1 2", "--factor: 'colour' is unknown"),
    ("create.py", "--factor noise -60 0", "--factor: expected 4 arguments"),
    ("create.py", "--factor noise low high 2", "--factor noise: expected two numbers and a count"),
    ("create.py", "--factor noise nan 0 2", "--factor noise: from nan to 0"),
    ("create.py", "--factor attack 0 0.1 0", "--factor attack: 0 levels"),
    ("create.py", "--factor attack 0.1 0 2", "--factor attack: from 0.1 to 0"),
    ("create.py", "--factor attack 0 0.3 2", "--factor attack: an attack of 0.3 s .* does not end within"),
    ("create.py", "--factor attack 0 0.1 2 --factor attack 0 0.1 2", "--factor: a factor is named twice"),
    ("create.py", "--factor phase 0 1 2", "--factor phase: 0 and 1 cycles are the same phase"),
    ("create.py", "--factor phase 0 0.5 2 --phase random", "--phase, --factor phase: a phase cannot be drawn and be"),
    ("create.py", "--factor noise -60 0 2 --snr_db 20", "--snr_db, --factor noise: both set the noise"),
    ("create.py", "--factor brightness -6 0 2", "--factor brightness: it tilts partials, which a naive oscillator"),
    ("create.py", "--hold_out colour=red", "--hold_out: .*colour"),
    ("create.py", "--hold_out timbre", "--hold_out: "),
    ("create.py", "--hold_out timbre=organ", "--hold_out: .*organ"),
    ("create.py", "--hold_out frequency=9000:9999", "--hold_out: "),
    ("create.py", "--correlate timbre frequency 0.2", "--correlate: "),
    ("create.py", "--correlate amplitude frequency nan", "--correlate: sigma is 'nan'"),
    ("create.py", "--correlate amplitude frequency 0", "--correlate: sigma is '0'"),
    ("create.py", "--correlate amplitude amplitude 0.2", "--correlate: "),
    ("create.py", "--from_wav nowhere --labels text.txt", "--(from_wav|sample_rate|amp|freq|num)"),
    ("create.py", "--labels text.txt", "--labels: names the factors of --from_wav, which is not given"),
    ("create.py", "--audit nowhere.npz", "--audit: nowhere.npz is no file"),
    ("create.py", "--samples nowhere.npz", "--samples: nowhere.npz is no file"),
    ("create.py", "--audit text.txt", "text.txt: not a whole .txt file"),
    ("create.py", "--figures_dir text.txt", "--figures_dir: text.txt is a file"),
    ("create.py", "--audio_dir text.txt", "--audio_dir: text.txt is a file"),
    ("create.py", "--file_path text.txt --overwrite", "--file_path: text.txt does not end in .npz"),
    ("trainvae.py", "--output_dir text.txt", "--output_dir: text.txt is a file"),
    ("eval.py", "--output_dir text.txt", "--output_dir: text.txt is a file"),
    ("eval.py", "--figures_dir text.txt", "--figures_dir: text.txt is a file"),
    ("trainvae.py", "--metrics mig", "--metrics: are scores while training"),
    ("trainvae.py", "--batch_size 1", "--batch_size: 1 leaves the estimators nothing to compare"),
    ("trainvae.py", "--resume --overwrite", "--resume, --overwrite: one continues what the other throws away"),
    ("trainvae.py", "--model VAE VAE", "--model: a value is given twice"),
    ("trainvae.py", "--seeds 1 2 1", "--seeds: a value is given twice"),
    ("trainvae.py", "--model GAN", "--model: 'GAN' is unknown"),
    ("trainvae.py", "--model VAE --beta 2", "--beta: none of VAE has it"),
    ("trainvae.py", "--model BetaVAE --estimator mws", "--estimator: none of BetaVAE has it"),
    ("trainvae.py", "--model FactorVAE --alpha 2", "--alpha: none of FactorVAE has it"),
    ("trainvae.py", "--model BTCVAE --lambda_od 2", "--lambda_od: none of BTCVAE has it"),
    ("trainvae.py", "--model CapacityVAE --lambda_d 2", "--lambda_d: none of CapacityVAE has it"),
    ("trainvae.py", "--model DIPVAE --capacity 2", "--capacity: none of DIPVAE has it"),
    ("trainvae.py", "--sigma 1e-200", "--sigma: 1e-200 takes the loss out of the range"),
    ("trainvae.py", "--sigma 1e200", r"--sigma: 1e\+200 takes the loss out of the range"),
    ("trainvae.py", "--model BetaVAE --beta 1e300", r"--beta: 1e\+300 takes the loss out of the range"),
    ("trainvae.py", "--model BTCVAE --gamma 1e10", r"--gamma: 1e\+10 takes the loss out of the range"),
    ("trainvae.py", "--model BTCVAE --alpha 1e10", r"--alpha: 1e\+10 takes the loss out of the range"),
    ("trainvae.py", "--model DIPVAE --lambda_od 1e10", r"--lambda_od: 1e\+10 takes the loss out of the range"),
    ("trainvae.py", "--model DIPVAE --lambda_d 1e10", r"--lambda_d: 1e\+10 takes the loss out of the range"),
    ("trainvae.py", "--model CapacityVAE --capacity 1e10", r"--capacity: 1e\+10 takes the loss out of the range"),
    ("trainvae.py", "--anneal_from 1e10", r"--anneal_from: 1e\+10 takes the loss out of the range"),
    ("trainvae.py", "--features paper --smoothing 5", "--smoothing: --features paper has no such thing"),
    ("trainvae.py", "--features paper --db_min -60", "--db_min: --features paper has no such thing"),
    ("trainvae.py", "--level_rows 8", "--level_rows: --features logmel has no such thing"),
    ("trainvae.py", "--range_db 30", "--range_db: --features logmel has no such thing"),
    ("trainvae.py", "--anneal_from 1e-7", r"--anneal_from: 1e-07 takes the loss out of the range"),
    ("trainvae.py", "--smoothing 1001", "--smoothing: 1001 is more than can be computed; give at most 1000"),
    ("trainvae.py", "--n_mels 4096", "--n_mels: 4096 is more than can be computed; give at most 2048"),
    ("trainvae.py", "--db_min 10", "--db_min, --db_max: from 10 to 6 dB is no range"),
    ("trainvae.py", "--db_max 1001", "--db_min, --db_max: from -80 to 1001 dB is no range"),
    ("trainvae.py", "--features gainshape --range_db 1001", "--range_db: 1001 is more than can be computed"),
    ("trainvae.py", "--features gainshape --level_rows 2049", "--level_rows: 2049 is more than can be computed"),
    ("trainvae.py", "--dataset text.txt", "text.txt: not a whole .txt file"),
    ("trainvae.py", "--dataset checkpoints/VAE_seed0.pt", "checkpoints/VAE_seed0.pt: .* missing"),
    ("trainvae.py", "--dataset nowhere.npz", "--dataset: nowhere.npz is no file"),
    ("trainvae.py", "--dataset checkpoints", "--dataset: checkpoints is no file"),
    ("trainvae.py", "--dataset=", r"--dataset: \. is no file"),
    ("trainvae.py", "--eval_every 1 --metrics infomec --latent_dim 1", "--metrics: infomec is not defined for"),
    ("eval.py", "--model nowhere.pt", "--model: nowhere.pt is no file"),
    ("eval.py", "--model checkpoints", "--model: checkpoints is no file"),
    ("eval.py", "--model tones.npz", "tones.npz: not a checkpoint that can be read safely"),
    ("eval.py", "--model text.txt", "text.txt: not a checkpoint that can be read safely"),
    (
        "eval.py",
        "--model checkpoints/VAE_seed0.pt checkpoints/VAE_seed0.pt",
        "checkpoints/VAE_seed0.pt: VAE with seed 0 was",
    ),
    ("eval.py", "--dataset nowhere.npz", "checkpoints/VAE_seed0.pt: was trained on nowhere.npz, which is not there"),
    ("eval.py", "--dataset text.txt", "text.txt: not a whole .txt file"),
]

# Refused before memory or disk is taken, with the bytes that it would need; 1 where the disk is what is too small.
TOO_LARGE = [
    ("create.py", "--duration 1e12", r"--duration: .* would take 64,000,000,000,000,000 bytes", 2),
    ("create.py", "--sample_rate 2147483647", r"--duration: .* would take 4,294,967,29. bytes", 2),
    ("create.py", "--num_freqs 2000000000", "--num_freqs: 2000000000 levels; give at most 1000000", 2),
    ("create.py", "--num_amps 2000000000", "--num_amps: 2000000000 levels; give at most 1000000", 2),
    (
        "create.py",
        "--num_freqs 1000000 --num_amps 1000000",
        r"--file_path: new.npz would take 3\d,\d{3},\d{3},\d{3},\d{3},\d{3} b",
        1,
    ),
    (
        "trainvae.py",
        "--latent_dim 2147483647",
        r"--latent_dim, --hidden, --channels, --batch_size: VAE would take [\d,]{17,} bytes",
        2,
    ),
    (
        "trainvae.py",
        "--hidden 2147483647",
        r"--latent_dim, --hidden, --channels, --batch_size: VAE would take [\d,]{15,} bytes",
        2,
    ),
    (
        "trainvae.py",
        "--channels 100000000 8",
        r"--latent_dim, --hidden, --channels, --batch_size: VAE would take [\d,]{12,} bytes",
        2,
    ),
    (
        "trainvae.py",
        "--latent_dim 100000000 --model FactorVAE --batch_size 2147483647",
        r"--latent_dim, --hidden, --channels, --batch_size: FactorVAE would take [\d,]{17,} bytes",
        2,
    ),
]


@pytest.mark.catalogue
@pytest.mark.parametrize(
    "script, more, pattern, status", [*((*case, 2) for case in [*ONE_BY_ONE, *TOGETHER]), *TOO_LARGE]
)
def test_flag_is_refused(world, capfd, script, more, pattern, status):
    argv = [*GOOD[script].split(), *more.split()]
    check_refused(lambda: in_process(script, argv, capfd), script=script, pattern=pattern, status=status)


def test_the_commands_that_cases_spoil_are_good(world, capfd):
    for script, argv in GOOD.items():
        assert in_process(script, argv.split(), capfd)[0] == 0


def test_every_flag_is_in_the_catalogue():
    """A flag that is added is refused something here, too."""
    words = " ".join(f"{script} {more}" for script, more, *_ in [*ONE_BY_ONE, *TOGETHER, *TOO_LARGE])
    for script, main in MAINS.items():
        flags = set(re.findall(r"^ +--(\w+)", help_of(main), flags=re.MULTILINE))
        assert len(flags) > 8
        covered = {flag for flag in flags if re.search(rf"{re.escape(script)} [^.]*?--{flag}\b", words)}
        assert flags - covered == set()


def help_of(main) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
        main(["--help"])
    return text.getvalue()

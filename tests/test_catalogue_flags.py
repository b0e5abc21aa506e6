"""The catalogue of bad inputs: every flag of the three scripts with values that it cannot have."""

import pytest

from catalogue import GOOD, check_refused, in_process

NO_WHOLE = ["text", "nan", "inf", "2.5", "-3", "2147483648", "9" * 500]
NO_NUMBER = ["text", "nan", "inf", "-inf", "1e400"]
COUNTS = {"create.py": ["sample_rate", "num_freqs", "num_amps"],
          "trainvae.py": ["epochs", "batch_size", "latent_dim", "eval_every"]}
SIZES = {"create.py": ["duration", "freq_start", "freq_end", "amp_start", "amp_end"], "trainvae.py": ["lr", "sigma"]}
WEIGHTS = {"trainvae.py": ["beta", "gamma", "alpha", "save_seconds"]}
SEEDS = {"trainvae.py": ["seeds"], "eval.py": ["seed"]}


def cases_of(flags: dict[str, list[str]], values: list[str], wanted: str):
    return [(script, f"--{flag}={value}", f"--{flag}: expected {wanted}") for script, names in flags.items()
            for flag in names for value in values]


ONE_BY_ONE = [
    *cases_of(COUNTS, [*NO_WHOLE, "0", ""], "a whole number from 1 up"),
    *cases_of(SEEDS, NO_WHOLE, "a whole number from 0 up"),
    *cases_of(SIZES, [*NO_NUMBER, "0", "-1"], "a finite number above 0"),
    *cases_of(WEIGHTS, [*NO_NUMBER, "-1e-9"], "a finite number from 0 up"),
    *[(script, "--no_such_flag 1", "unrecognized arguments: --no_such_flag") for script in GOOD],
    *[(script, "positional", "unrecognized arguments: positional") for script in GOOD],
    *[("trainvae.py" if flag != "state" else "eval.py", f"--{flag} wrong", f"--{flag}: invalid choice: 'wrong'")
      for flag in ("features", "estimator", "device", "metrics", "state")],
    ("eval.py", "--device wrong", "--device: invalid choice: 'wrong'"),
    ("eval.py", "--metrics wrong", "--metrics: invalid choice: 'wrong'"),
    ("create.py", "--waveforms wrong", "--waveforms: invalid choice: 'wrong'"),
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
    ("trainvae.py", "--batch_size 1", "--batch_size: 1 leaves the estimators nothing to compare"),
    ("trainvae.py", "--resume --overwrite", "--resume, --overwrite: one continues what the other throws away"),
    ("trainvae.py", "--model VAE VAE", "--model: a value is given twice"),
    ("trainvae.py", "--seeds 1 2 1", "--seeds: a value is given twice"),
    ("trainvae.py", "--model GAN", "--model: 'GAN' is unknown"),
    ("trainvae.py", "--model VAE --beta 2", "--beta: none of VAE has it"),
    ("trainvae.py", "--model BetaVAE --estimator mws", "--estimator: none of BetaVAE has it"),
    ("trainvae.py", "--model FactorVAE --alpha 2", "--alpha: none of FactorVAE has it"),
    ("trainvae.py", "--sigma 1e-200", "--sigma: 1e-200 takes the loss out of the range"),
    ("trainvae.py", "--sigma 1e200", r"--sigma: 1e\+200 takes the loss out of the range"),
    ("trainvae.py", "--model BetaVAE --beta 1e300", r"--beta: 1e\+300 takes the loss out of the range"),
    ("trainvae.py", "--model BTCVAE --gamma 1e10", r"--gamma: 1e\+10 takes the loss out of the range"),
    ("trainvae.py", "--model BTCVAE --alpha 1e10", r"--alpha: 1e\+10 takes the loss out of the range"),
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
    ("eval.py", "--model checkpoints/VAE_seed0.pt checkpoints/VAE_seed0.pt", "checkpoints/VAE_seed0.pt: VAE with seed 0 was"),
    ("eval.py", "--dataset nowhere.npz", "checkpoints/VAE_seed0.pt: was trained on nowhere.npz, which is not there"),
    ("eval.py", "--dataset text.txt", "text.txt: not a whole .txt file"),
]

# Refused before memory or disk is taken, with the bytes that it would need; 1 where the disk is what is too small.
TOO_LARGE = [
    ("create.py", "--duration 1e12", r"--duration: .* would take 64,000,000,000,000,000 bytes", 2),
    ("create.py", "--sample_rate 2147483647", r"--duration: .* would take 4,294,967,29. bytes", 2),
    ("create.py", "--num_freqs 2000000000", "--num_freqs: 2000000000 levels; give at most 1000000", 2),
    ("create.py", "--num_amps 2000000000", "--num_amps: 2000000000 levels; give at most 1000000", 2),
    ("create.py", "--num_freqs 1000000 --num_amps 1000000", r"--file_path: new.npz would take 3\d,\d{3},\d{3},\d{3},\d{3},\d{3} b", 1),
    ("trainvae.py", "--latent_dim 2147483647", r"--latent_dim, --batch_size: VAE would take [\d,]{17,} bytes", 2),
    ("trainvae.py", "--latent_dim 100000000 --model FactorVAE --batch_size 2147483647",
     r"--latent_dim, --batch_size: FactorVAE would take [\d,]{17,} bytes", 2),
]


@pytest.mark.catalogue
@pytest.mark.parametrize("script, more, pattern, status", [*((*case, 2) for case in [*ONE_BY_ONE, *TOGETHER]), *TOO_LARGE])
def test_flag_is_refused(world, capfd, script, more, pattern, status):
    argv = [*GOOD[script].split(), *more.split()]
    check_refused(lambda: in_process(script, argv, capfd), script=script, pattern=pattern, status=status)


def test_the_commands_that_cases_spoil_are_good(world, capfd):
    for script, argv in GOOD.items():
        assert in_process(script, argv.split(), capfd)[0] == 0

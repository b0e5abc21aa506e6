"""How fast models train, beside pythae and beside a loader that computes mel spectrograms tone by tone.

    python benchmarks/train.py
    python benchmarks/train.py --model BetaVAE --rounds 3 --threads 1
    python benchmarks/train.py --device cuda --steps 500

Every contender lives in a process of its own and trains `--steps` steps a round, one contender after the other, so that
all meet the same noise; what is printed is the median over the rounds. All start from the same weights on the same
tones with one objective (sigma 1, the weights of the papers) and one Adam; after the last round the reconstruction
error of each on tones it has not seen is printed: 0.5 sum (x - x_hat)^2 a tone, x_hat decoded from the posterior mean.

pythae 0.1.2 (Chadebec et al. 2022) is the VAE library that is measured; its FactorVAE reconstructs one half of a batch
and takes the other for the permutation, so it is given 64 and, to reconstruct as many tones a step, 128. Its network
here is the one of the literature (Higgins et al. 2017: four convolutions of 32, 32, 64, 64 channels), and so is "same
network". The loader of librosa computes every tone's features anew whenever it is drawn, as the paper's published
trainer does.
"""

import argparse
import contextlib
import functools
import io
import itertools
import multiprocessing
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models import build_model  # noqa: E402
from syntone.dataset.grid import Grid, render  # noqa: E402
from syntone.device import build_optimizer, to_device, tune  # noqa: E402
from syntone.features.front_end import FrontEnd, compute_features  # noqa: E402
from syntone.training.loop import batch_sizes, run_pass  # noqa: E402

MODELS = ("BetaVAE", "BTCVAE", "FactorVAE")
BATCH, N_VALID, LATENTS, LR = 64, 256, 8, 1e-3
LITERATURE = (32, 32, 64, 64)  # channels of the network that papers on disentanglement use (Higgins et al. 2017)
WEIGHTS = {"BetaVAE": {"beta": 4.0}, "BTCVAE": {"alpha": 1.0, "beta": 6.0, "gamma": 1.0}, "FactorVAE": {"gamma": 10.0}}
PYTHAE, SAME, DEFAULT = "pythae", "syntone, same network", "syntone, default network"


def make_waves() -> tuple[np.ndarray, FrontEnd]:
    """2,304 tones of 1 s at 16 kHz in a random order."""
    freqs, amps = np.geomspace(400, 6000, 72).tolist(), np.linspace(0.1, 1, 8).tolist()
    grid = Grid(
        sample_rate=16000,
        n_samples=16000,
        freqs=tuple(freqs),
        amps=tuple(amps),
        waveforms=("sine", "triangle", "square", "sawtooth"),
    )
    waves = np.concatenate(list(render(grid)))
    return waves[np.random.default_rng(0).permutation(len(waves))], FrontEnd(
        "logmel", sample_rate=16000, n_samples=16000
    )


def literature_network(shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder: convolutions of kernel 4 and stride 2, a hidden layer of 256, ReLU."""
    height, width = shape[1] // 16, shape[2] // 16
    down, up = [], []
    for n_in, n_out in zip((1, *LITERATURE), LITERATURE):
        down += [nn.Conv2d(n_in, n_out, 4, 2, 1), nn.ReLU()]
    for n_in, n_out in zip(LITERATURE[::-1], (*LITERATURE[-2::-1], 1)):
        up += [nn.ReLU(), nn.ConvTranspose2d(n_in, n_out, 4, 2, 1)]
    flat = LITERATURE[-1] * height * width
    encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(flat, 256), nn.ReLU(), nn.Linear(256, 2 * LATENTS))
    decoder = nn.Sequential(
        nn.Linear(LATENTS, 256), nn.ReLU(), nn.Linear(256, flat), nn.Unflatten(1, (LITERATURE[-1], height, width)), *up
    )
    return encoder, decoder


def our_model(name: str, shape: tuple[int, int, int], n_data: int, *, default_network: bool) -> nn.Module:
    torch.manual_seed(0)
    more = {"n_data": n_data} if name == "BTCVAE" else {}
    model = build_model(name, input_shape=shape, latent_dim=LATENTS, sigma=1.0, **WEIGHTS[name], **more)
    if not default_network:
        model.encoder, model.decoder = literature_network(shape)
    return model


class Ours:
    """The passes of the training loop."""

    def __init__(
        self,
        name: str,
        features: torch.Tensor,
        n_train: int,
        *,
        device: torch.device,
        default_network: bool,
        precision: str = "float32",
    ) -> None:
        self.model = to_device(
            our_model(name, tuple(features.shape[1:]), n_train, default_network=default_network), device
        )
        optimizer = build_optimizer(self.model.parameter_groups(LR), device=device)
        how = {"batch_size": BATCH, "device": device, "precision": precision, "optimizer": optimizer}
        self.run = functools.partial(run_pass, self.model, features, generator=torch.Generator(device), **how)
        self.n_train = n_train

    def train(self, n_steps: int) -> int:
        done = 0
        while done < n_steps:
            sizes = batch_sizes(self.n_train, BATCH)[: n_steps - done]
            self.run(torch.randperm(self.n_train)[: sum(sizes)])
            done += len(sizes)
        return n_steps * BATCH

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        return self.model.decode(self.model.encode(x)[0])


class Pythae:
    """pythae's own model, trainer and loader around our encoder and decoder modules."""

    def __init__(
        self, name: str, features: torch.Tensor, n_train: int, *, device: torch.device, batch: int = BATCH
    ) -> None:
        from pythae.data.datasets import BaseDataset
        from pythae.models import BetaTCVAE, BetaTCVAEConfig, BetaVAE, BetaVAEConfig, FactorVAE, FactorVAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
        from pythae.trainers import AdversarialTrainer, AdversarialTrainerConfig, BaseTrainer, BaseTrainerConfig

        ours = our_model(name, tuple(features.shape[1:]), n_train, default_network=False)

        class TheirEncoder(BaseEncoder):
            def __init__(self) -> None:
                super().__init__()
                self.body = ours.encoder

            def forward(self, x):
                mu, logvar = self.body(x).chunk(2, dim=1)
                return ModelOutput(embedding=mu, log_covariance=logvar)

        class TheirDecoder(BaseDecoder):
            def __init__(self) -> None:
                super().__init__()
                self.body = ours.decoder

            def forward(self, z):
                return ModelOutput(reconstruction=self.body(z))

        kinds = {
            "BetaVAE": (BetaVAE, BetaVAEConfig),
            "BTCVAE": (BetaTCVAE, BetaTCVAEConfig),
            "FactorVAE": (FactorVAE, FactorVAEConfig),
        }
        kind, config = kinds[name]
        self.model = kind(
            config(input_dim=tuple(features.shape[1:]), latent_dim=LATENTS, **WEIGHTS[name]),
            TheirEncoder(),
            TheirDecoder(),
        )
        dataset = BaseDataset(features[:n_train].cpu(), torch.zeros(n_train))
        common = {"per_device_train_batch_size": batch, "no_cuda": device.type == "cpu", "output_dir": os.devnull}
        if name == "FactorVAE":
            trainer, flags = (
                AdversarialTrainer,
                AdversarialTrainerConfig(autoencoder_learning_rate=LR, discriminator_learning_rate=1e-4, **common),
            )
        else:
            trainer, flags = BaseTrainer, BaseTrainerConfig(learning_rate=LR, **common)
        self.trainer = trainer(self.model, dataset, training_config=flags)
        self.trainer._set_output_dir = lambda: None  # it writes nothing here
        self.trainer.prepare_training()
        self.dataset, self.batch, self.reconstructs = dataset, batch, 0.5 if name == "FactorVAE" else 1.0
        self.epoch = 0

    def train(self, n_steps: int) -> int:
        """The trainer's own epoch, over as many tones as the steps take."""
        whole, done = self.trainer.train_loader, 0
        size = len(self.dataset) // self.batch
        while done < n_steps:
            steps = min(size, n_steps - done)
            self.epoch += 1
            chosen = torch.utils.data.Subset(
                self.dataset, torch.randperm(len(self.dataset))[: steps * self.batch].tolist()
            )
            self.trainer.train_loader = self.trainer.get_train_dataloader(chosen)
            self.trainer.callback_handler.on_epoch_begin(
                training_config=self.trainer.training_config,
                epoch=self.epoch,
                train_loader=self.trainer.train_loader,
                eval_loader=None,
            )
            self.trainer.train_step(self.epoch)
            done += steps
        self.trainer.train_loader = whole
        return int(n_steps * self.batch * self.reconstructs) if self.batch != BATCH else n_steps * self.batch

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        return self.model.decoder(self.model.encoder(x)["embedding"])["reconstruction"]


class LibrosaTones(torch.utils.data.Dataset):
    """Features computed by librosa whenever a tone is drawn."""

    def __init__(self, waves: np.ndarray, front_end: FrontEnd) -> None:
        self.waves, self.front_end = waves, front_end

    def __len__(self) -> int:
        return len(self.waves)

    def __getitem__(self, row: int) -> torch.Tensor:
        import librosa

        e = self.front_end
        mel = librosa.feature.melspectrogram(
            y=self.waves[row], sr=e.sample_rate, n_fft=e.n_fft, hop_length=e.hop, n_mels=e.n_mels, pad_mode="constant"
        )
        db = np.clip(librosa.power_to_db(mel, ref=e.reference, amin=1e-12, top_db=None), e.db_min, e.db_max)
        return torch.from_numpy((db - e.db_min) / (e.db_max - e.db_min)).float()[None]


class Librosa:
    """Our default network as a published trainer would train it: tones one by one, torch's defaults."""

    def __init__(
        self, name: str, waves: np.ndarray, front_end: FrontEnd, n_train: int, *, device: torch.device
    ) -> None:
        self.device = device
        self.model = our_model(name, front_end.shape, n_train, default_network=True).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameter_groups(LR))
        self.loader = torch.utils.data.DataLoader(LibrosaTones(waves[:n_train], front_end), BATCH, shuffle=True)

    def train(self, n_steps: int) -> int:
        for x in itertools.islice(self.loader, n_steps):  # a break would come after one batch more is computed
            loss = self.model.losses(x.to(self.device))["loss"]
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            loss.item()
        return n_steps * BATCH


def contestant(name: str, label: str, *, device: torch.device):
    """The contender of that label, and the tones it has not seen."""
    waves, front_end = make_waves()
    n_train = len(waves) - N_VALID
    if label == "librosa loader":
        return Librosa(name, waves, front_end, n_train, device=device), None
    features = compute_features(waves, front_end, device=device)
    if label.startswith(PYTHAE):
        return Pythae(name, features, n_train, device=device, batch=128 if "128" in label else BATCH), features[
            n_train:
        ]
    return Ours(
        name,
        features,
        n_train,
        device=device,
        default_network=not label.startswith(SAME),
        precision="bfloat16" if "bfloat16" in label else "float32",
    ), features[n_train:]


def work(pipe, name: str, label: str, device_name: str, threads: int) -> None:
    """A process of its own: trains when told how many steps, answers with tones per second; None asks for the error."""
    torch.set_num_threads(threads)
    device = torch.device(device_name)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):  # pythae's bars
        one, unseen = contestant(name, label, device=device)
        while (n_steps := pipe.recv()) is not None:
            started = time.perf_counter()
            tones = one.train(n_steps)
            if device.type == "cuda":
                torch.cuda.synchronize()
            pipe.send(tones / (time.perf_counter() - started))
        error = float("nan")
        if unseen is not None:
            with torch.no_grad():
                error = 0.5 * (unseen - one.reconstruct(unseen)).square().sum().item() / len(unseen)
        pipe.send(error)


def measure(name: str, labels: list[str], args: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Median tones per second and the reconstruction error after the last round, of every contender."""
    context = multiprocessing.get_context("spawn")
    pipes, speeds = {}, {label: [] for label in labels}
    for label in labels:
        pipes[label], theirs = context.Pipe()
        context.Process(target=work, args=(theirs, name, label, args.device, args.threads), daemon=True).start()
    for counted in [False] + [True] * args.rounds:  # the first round warms up
        for label, pipe in pipes.items():
            # a tenth of the steps is enough of the loader, which takes most of the time
            pipe.send(max(2, args.steps // 10) if label == "librosa loader" else args.steps)
            speed = pipe.recv()
            if counted:
                speeds[label].append(speed)
    errors = {}
    for label, pipe in pipes.items():
        pipe.send(None)
        errors[label] = pipe.recv()
    return {label: (statistics.median(speeds[label]), errors[label]) for label in labels}


def flops_of_a_tone(name: str, *, default_network: bool) -> float:
    """Floating-point operations of a training step, a tone: what torch counts in products and convolutions."""
    from torch.utils.flop_counter import FlopCounterMode

    model = our_model(name, (1, 128, 32), 1000, default_network=default_network)
    with FlopCounterMode(display=False) as counter:
        model.losses(torch.rand(BATCH, 1, 128, 32))["loss"].backward()
    return counter.get_total_flops() / BATCH


def matrix_product(device: torch.device, repeats: int = 30) -> float:
    """FLOP/s of a float32 product of matrices of 2048 x 2048, the median over repeats."""
    a, b, seconds = torch.rand(2048, 2048, device=device), torch.rand(2048, 2048, device=device), []
    for _ in range(repeats):
        started = time.perf_counter()
        (a @ b)[0, 0].item()
        seconds.append(time.perf_counter() - started)
    return 2 * 2048**3 / statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--steps", type=int, default=32, help="steps of 64 tones a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.set_num_threads(args.threads)
    tune(device)
    peak = matrix_product(device)
    machine = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()}, {os.cpu_count()} cores"
    print(
        f"{machine}, {args.threads} threads, Python {platform.python_version()}, torch {torch.__version__}, product of "
        f"matrices {peak / 1e9:.0f} GFLOP/s; medians of {args.rounds} rounds of {args.steps} steps of {BATCH} tones"
    )
    print(
        "| model | contender | tones/s | against pythae | GFLOP/s (of a product's) | reconstruction error |\n"
        "|---|---|---|---|---|---|"
    )
    for name in args.model:
        labels = [PYTHAE, SAME, f"{SAME}, bfloat16", DEFAULT, f"{DEFAULT}, bfloat16", "librosa loader"]
        if name == "FactorVAE":
            labels.insert(1, f"{PYTHAE}, batches of 128")
        found = measure(name, labels, args)
        for label in labels:
            speed, error = found[label]
            rate = ""
            if label in (SAME, DEFAULT):
                done = speed * flops_of_a_tone(name, default_network=label == DEFAULT)
                rate = f"{done / 1e9:.0f} ({done / peak:.0%})"
            print(
                f"| {name} | {label} | {speed:,.0f} | {speed / found[PYTHAE][0]:.2f} | {rate} | "
                f"{'' if np.isnan(error) else f'{error:.2f}'} |",
                flush=True,
            )
        print(
            f"| {name} | default network against librosa loader | | "
            f"{found[DEFAULT][0] / found['librosa loader'][0]:.1f} times | | |",
            flush=True,
        )


if __name__ == "__main__":
    main()

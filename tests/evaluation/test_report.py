"""Figures, sounds and the report of eval.py: every file is there and in the page, names are text, a browser plays it.

That equal evaluations give equal files is tested in test_determinism.py.
"""

import base64
import io
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

import eval as evaluate_script
import trainvae
from models import MODELS, VAE
from syntone.dataset.file import Dataset, load_npz
from syntone.evaluation import report
from syntone.evaluation.codes import with_posterior
from syntone.evaluation.load import Entry
from syntone.evaluation.media import Media, Picture
from syntone.evaluation.scores import Row
from syntone.features.front_end import FrontEnd
from syntone.figures import Sound

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NASTY = '<script>alert("1")</script>\'&\u202e'
COMMON = {"sample_rate": 8000, "n_samples": 800}
VOID = {"meta", "link", "img", "br"}


class OwnVAE(VAE):
    """A user's own model: a KL that is paid for above two nats only."""

    def regularizer(self, z, mu, logvar, kl, *, generator):
        excess = (kl - 2.0).relu()
        return excess, {"excess": excess}


class Page(HTMLParser):
    """Elements by their tags, cells of the table, and all text; every tag must be closed in turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements, self.cells, self.words, self._open = {}, [], [], []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.setdefault(tag, []).append(dict(attrs))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if {"td", "th"} & set(self._open):
            self.cells[-1][-1] += data

    def values(self, attribute: str) -> list[str]:
        return [found[attribute] for group in self.elements.values() for found in group if attribute in found]


def decoded(uri: str, mime: str) -> bytes:
    start = f"data:{mime};base64,"
    assert uri.startswith(start)
    return base64.b64decode(uri[len(start) :], validate=True)


@pytest.fixture(scope="module")
def evaluated(dataset_path, tmp_path_factory, fewer_tones):
    """A model of the paper and one of a user's own, of two front ends, evaluated together."""
    folder = tmp_path_factory.mktemp("evaluated")
    flags = ["--dataset", str(dataset_path), "--output_dir", str(folder), "--epochs", "1", "--device", "cpu"]
    MODELS["OwnVAE"] = OwnVAE
    try:
        assert trainvae.main([*flags, "--model", "BTCVAE", "--features", "paper"]) == 0
        assert trainvae.main([*flags, "--model", "OwnVAE"]) == 0
        paths = [str(folder / f"{name}_seed0.pt") for name in ("OwnVAE", "BTCVAE")]
        argv = ["--model", *paths, "--output_dir", str(folder / "results"), "--metrics", "mig", "modularity"]
        assert evaluate_script.main([*argv, "--device", "cpu", "--baselines", "none"]) == 0
        yield folder
    finally:
        del MODELS["OwnVAE"]


@pytest.fixture(scope="module")
def shown(evaluated) -> Page:
    return Page((evaluated / "results" / "report.html").read_text(encoding="utf-8"))


def test_every_file_of_the_contract_is_there_also_for_a_model_of_ones_own(evaluated):
    figures = {"Original_vs_Reconstructed.gif", "Generated_Samples.gif"}
    for name in ("BTCVAE", "OwnVAE"):
        figures |= {
            f"Original_vs_Reconstructed_{name}.png",
            f"Generated_sample_{name}.png",
            f"{name}_Latent_Space_Interpolation.png",
            f"{name}_Mutual_Information.png",
        }
        sounds = {path.name for path in (evaluated / "results" / "audio" / name).iterdir()}
        assert {"original_1.wav", "reconstruction_1.wav", "sample_1.wav", "sounds.csv"} <= sounds
        assert {f"traversal_z{j}.wav" for j in range(8)} <= sounds
    assert figures == {path.name for path in (evaluated / "results" / "Figures").iterdir()}
    tables = {path.name for path in (evaluated / "results").iterdir() if path.is_file()}
    assert tables == {"metrics.csv", "metrics.json", "table.md", "table.tex", "report.html"}
    assert all("OwnVAE" in (evaluated / "results" / name).read_text() for name in tables)


def test_originals_sound_as_they_are(evaluated, dataset_path):
    dataset = load_npz(dataset_path)
    waves = np.array(dataset.x)
    for number in range(1, 5):
        sample_rate, wave = wavfile.read(evaluated / "results" / "audio" / "BTCVAE" / f"original_{number}.wav")
        assert sample_rate == dataset.sample_rate and (waves == wave).all(axis=1).sum() == 1


def test_the_table_is_that_of_the_markdown_file(evaluated, shown):
    lines = (evaluated / "results" / "table.md").read_text().splitlines()
    expected = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert len(expected) > 5 and shown.cells == expected
    assert lines[-1] in shown.words


def test_every_figure_is_in_the_page(evaluated, shown):
    files = {path.name: path.read_bytes() for path in (evaluated / "results" / "Figures").iterdir()}
    names = [word for word in shown.words if word.endswith((".png", ".gif"))]  # in the captions
    assert sorted(names) == sorted(files)
    for name, image in zip(names, shown.elements["img"]):
        data = decoded(image["src"], "image/gif" if name.endswith("gif") else "image/png")
        assert data == files[name]
        opened = Image.open(io.BytesIO(data))
        opened.load()
        assert opened.size == (int(image["width"]), int(image["height"]))
        kind = {"Original_vs_Reconstructed.gif": "original", "Generated_Samples.gif": "sample"}.get(name)
        sounds = list((evaluated / "results" / "audio" / "OwnVAE").glob(f"{kind}_*.wav"))
        assert getattr(opened, "n_frames", 1) == (len(sounds) if kind else 1)
        assert image["alt"].startswith(("BTCVAE: ", "OwnVAE: "))
        assert image["alt"].split(":")[0] in name or (name.endswith("gif") and image["alt"].startswith("OwnVAE"))


def test_every_sound_is_in_the_page_with_its_samples(evaluated, shown):
    files = {
        str(path.relative_to(evaluated / "results" / "audio")): path
        for path in (evaluated / "results" / "audio").rglob("*.wav")
    }
    players = {player["data-file"]: player for player in shown.elements["audio"]}
    assert len(files) == 2 * (4 + 4 + 4 + 8) == len(shown.elements["audio"]) and set(players) == set(files)
    for name, path in files.items():
        partner = re.sub(
            "original|reconstruction",
            lambda word: {"original": "reconstruction", "reconstruction": "original"}[word[0]],
            name,
        )  # the two of a card have one gain
        sample_rate, wave = wavfile.read(path)
        peak = max(np.abs(wave).max(), np.abs(wavfile.read(files[partner])[1]).max(), 1.0)
        found_rate, found = wavfile.read(io.BytesIO(decoded(players[name]["src"], "audio/wav")))
        assert found.dtype == np.int16 and found_rate == sample_rate == 8000 and found.shape == wave.shape
        assert np.abs(found / 32767 - wave.astype(float) / peak).max() <= 0.5 / 32767 + 1e-9  # half a step of rounding
        label = players[name]["aria-label"]
        assert label.startswith(name.split("/")[0]) and ("dB down" in label) == bool(peak > 1.0)
        assert players[name]["preload"] == "none" and "controls" in players[name]


def test_sounds_and_data_are_described(evaluated, shown):
    labels = {player["data-file"]: player["aria-label"] for player in shown.elements["audio"]}
    assert re.search(
        r"original: (sine|triangle|square|sawtooth), amplitude [\d.]+, \d+ Hz", labels["OwnVAE/original_1.wav"]
    )
    document = json.loads((evaluated / "results" / "metrics.json").read_text())
    kl = next(entry["kl_nats"] for entry in document["latents"] if entry["model"] == "OwnVAE")
    for latent, nats in enumerate(kl):
        label = labels[f"OwnVAE/traversal_z{latent}.wav"]
        assert f"z{latent}: {nats:.2f} nats" in label and ("inactive" in label) == (nats <= 0.01)
    described = " ".join(shown.words)
    for words in (
        "OwnVAE: tones.npz: 72 sounds of 0.5 s at 8,000 Hz",
        "BTCVAE: tones.npz: 72 sounds",  # apart: the front ends differ
        "(3 levels, 0.1 to 1)",
        "every combination once",
        "1 epoch,",
        "beta 6",
        "torch ",
        "numpy ",
    ):
        assert words in described


def test_the_page_needs_and_names_nothing_outside_itself(evaluated, shown):
    html = (evaluated / "results" / "report.html").read_text(encoding="utf-8")
    assert all(value.startswith(("data:", "#")) for value in shown.values("src") + shown.values("href"))
    assert not set(shown.elements) & {"script", "iframe", "object", "embed", "form", "base", "source", "track"}
    assert shown.values("srcset") == shown.values("style") == shown.values("onclick") == []
    assert "http://" not in html and "https://" not in html and "file:" not in html
    assert not re.search(r"url\(|@import", html)
    assert str(evaluated) not in html and os.path.expanduser("~") + "/" not in html
    policy = next(
        meta["content"] for meta in shown.elements["meta"] if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:; style-src 'sha256-")
    ids = shown.values("id")
    assert len(ids) == len(set(ids)) and {value[1:] for value in shown.values("href") if value[0] == "#"} <= set(ids)


def test_without_figures_the_page_holds_the_table(evaluated, shown, tmp_path, capsys):
    path = str(evaluated / "BTCVAE_seed0.pt")
    argv = ["--model", path, "--output_dir", str(tmp_path), "--metrics", "mig", "modularity", "--no_figures"]
    assert evaluate_script.main([*argv, "--device", "cpu", "--baselines", "none"]) == 0
    found = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    column = shown.cells[0].index("BTCVAE")
    assert found.cells == [[line[0], line[column]] for line in shown.cells]
    assert not {"img", "audio"} & set(found.elements) and "no figures and sounds (--no_figures)" in found.words
    assert f"report: {tmp_path / 'report.html'}" in capsys.readouterr().out.splitlines()[-1]


def made_up(words: str, *, n_samples: int = 800) -> tuple[list, list, Media]:
    """Rows, entries and media of one checkpoint, made of arrays; all that can be named is named by the words."""
    recipe = {"what": words, "level_names": {words: [words, words]}}
    dataset = Dataset(
        path=Path("data") / words.replace("/", ""),
        x=np.zeros((2, n_samples), np.float32),
        factors=np.arange(2)[:, None],
        factor_values=np.arange(2.0)[:, None],
        factor_names=(words,),
        factor_kinds=("nominal",),
        sample_rate=8000,
        recipe=json.dumps(recipe),
    )
    checkpoint = SimpleNamespace(epoch=1, best_epoch=1, seed=0, model_config={words: words}, options={words: [words]})
    front_end = FrontEnd("logmel", sample_rate=8000, n_samples=n_samples)
    codes = with_posterior(np.zeros((2, 1)), np.ones(1))
    entry = Entry(words, words, 0, dataset, codes, np.arange(2), words, checkpoint=checkpoint, front_end=front_end)
    kinds = ("original", "reconstruction", "sample", "traversal")
    sounds = [Sound(np.zeros(n_samples), np.zeros((2, 2)), words, kind, f"{words}_1") for kind in kinds]
    parts = ("reconstruction", "sample", "traversal", "information", "animation")
    gif = io.BytesIO()
    Image.new("L", (3, 2)).save(gif, format="gif")
    pictures = [Picture(f"{words}.gif", gif.getvalue(), part, words) for part in parts]
    return [Row(words, 0, words, None, 0.5)], [entry], Media(words, 8000, pictures, sounds)


def test_names_are_text_whatever_they_hold():
    rows, entries, media = made_up(NASTY)
    html = report.render(rows, entries, [media], state="best", seed=0)
    found = Page(html)
    assert "script" not in found.elements and NASTY not in html and "\u202e" not in html
    assert len(found.elements["audio"]) == 4 and len(found.elements["img"]) == 5
    clean = NASTY.replace("\u202e", "\ufffd")
    assert found.cells[-1] == [clean, "0.500"] and found.elements["audio"][0]["data-file"] == f"{clean}/{clean}_1.wav"
    assert " ".join(found.words).count(clean) > 20


def test_what_no_html_may_hold_is_replaced():
    assert report.printable("a\0\x1b[1m\ud800\u202e\u3000\nb") == "a\ufffd\ufffd[1m\ufffd\ufffd\u3000\nb"


def test_sounds_beyond_the_limit_are_left_out_by_kind_and_named(monkeypatch):
    rows, entries, media = made_up("VAE")
    assert report.kinds_left_out([media]) == []
    monkeypatch.setattr(report, "MAX_SOUND_BYTES", 3 * 800 * 2 * 4 // 3)
    assert report.kinds_left_out([media]) == ["traversal"]
    found = Page(report.render(rows, entries, [media], state="last", seed=0))
    assert [player["data-file"] for player in found.elements["audio"]] == 3 * ["VAE/VAE_1.wav"]
    assert "traversal sounds; they are in audio/" in " ".join(found.words)


PROBE = """<script>
addEventListener("load", async () => {
  const players = [...document.querySelectorAll("audio")], images = [...document.images];
  const duration = player => new Promise(resolve => {
    player.onloadedmetadata = () => resolve(player.duration);
    player.onerror = () => resolve(-1);
    player.preload = "metadata";
    player.load();
  });
  const samples = async player => {  // decoded to the end, not the header alone
    const bytes = Uint8Array.from(atob(player.src.split(",")[1]), letter => letter.charCodeAt(0));
    return (await new OfflineAudioContext(1, 1, 8000).decodeAudioData(bytes.buffer)).length;
  };
  const found = {
    images: images.map(image => [image.complete, image.naturalWidth, image.naturalHeight]),
    durations: await Promise.all(players.map(duration)), lengths: await Promise.all(players.map(samples)),
    sticky: getComputedStyle(document.querySelector("thead th")).position,
    width: document.documentElement.clientWidth, needed: document.documentElement.scrollWidth,
  };
  parent.postMessage(JSON.stringify(found), "*");
});
</script>"""
FRAME = """<!DOCTYPE html>
<script>addEventListener("message", message => { document.querySelector("pre").textContent = message.data; });</script>
<pre></pre>
<iframe src="probed.html" style="width: 390px; height: 844px; border: 0"></iframe>"""


@pytest.mark.long
def test_a_browser_shows_every_picture_and_can_play_every_sound(evaluated, shown, tmp_path):
    """In a frame of a phone's width, under the page's own policy except that a script may ask how it went."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)}")
    html = (evaluated / "results" / "report.html").read_text(encoding="utf-8")
    probed = html.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';", 1)
    (tmp_path / "probed.html").write_text(probed.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME)

    def open_in(name: str, *flags: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [
                browser,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                f"--user-data-dir={tmp_path / 'profile'}",
                "--window-size=390,844",
                "--hide-scrollbars",
                "--virtual-time-budget=20000",
                "--enable-logging=stderr",
                *flags,
                name,
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
        )

    dumped = open_in(f"file://{tmp_path / 'frame.html'}", "--dump-dom").stdout
    found = json.loads(re.search(r"<pre>(.*)</pre>", dumped, flags=re.DOTALL)[1])
    assert found["images"] == [[True, int(image["width"]), int(image["height"])] for image in shown.elements["img"]]
    seconds = [3 * 0.6 if "traversal" in player["data-file"] else 0.5 for player in shown.elements["audio"]]
    assert found["durations"] == pytest.approx(seconds, abs=1e-3)  # browsers keep microseconds
    assert found["lengths"] == [round(8000 * length) for length in seconds]
    assert found["sticky"] == "sticky"  # the policy lets the page's own style through
    assert found["needed"] == found["width"] == 390  # figures and table scroll inside it, the page itself does not

    page_itself = open_in(f"file://{evaluated / 'results' / 'report.html'}", f"--screenshot={tmp_path / 'phone.png'}")
    assert "Content Security Policy" not in page_itself.stderr and "CONSOLE" not in page_itself.stderr
    colours = np.asarray(Image.open(tmp_path / "phone.png").convert("L"))
    assert colours.shape[0] >= 700 and colours.min() < 100 < 200 < colours.max()  # ink on paper


@pytest.mark.parametrize(
    "front_end, words",
    [
        (
            FrontEnd("gainshape", n_mels=64, smoothing=5.0, range_db=30.0, level_rows=16, db_min=-80.0, **COMMON),
            "(gainshape: decibels down to 30 dB below each frame's largest band, and 16 rows that hold that band's "
            "level, from -80 to +6 dB against a full-scale sine) of 64 bands, filters widened to fall by 10 dB in 5 "
            "bands",
        ),
        (
            FrontEnd("logmel", smoothing=0.0, **COMMON),
            "(logmel: decibels from -80 to +6 dB against a full-scale sine) of 128 bands and 2 frames, window ",
        ),
        (FrontEnd("paper", **COMMON), "(paper: linear power, each frame divided by its own maximum) of 128 bands"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_the_front_end_is_described_as_it_is(front_end, words):
    """Bands are bands, rows of the level are not, and skirts are named."""
    rows, (entry,), media = made_up("VAE")
    entry = replace(entry, front_end=front_end)
    assert words in " ".join(Page(report.render(rows, [entry], [media], state="last", seed=0)).words)

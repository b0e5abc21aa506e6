"""The page of an evaluation, results/report.html: all that was written is in it, unharmed, and nothing from elsewhere; names
are text; a browser shows its pictures and can play its sounds. That equal evaluations give equal pages is tested in
test_eval.py, with every other file."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

import create
import eval as evaluate_script
import trainvae
from syntone.dataset.file import save_npz
from syntone.evaluation import markup
from syntone.evaluation import report as page
from syntone.features.front_end import FrontEnd

FAST = ["--metrics", "mig", "modularity", "--device", "cpu"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NASTY = '<script>alert("1")</script>'
VOID = {"meta", "link", "img", "br"}


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
def trained(dataset_path, tmp_path_factory, fewer_tones):
    folder = tmp_path_factory.mktemp("checkpoints")
    assert (
        trainvae.main(
            [
                "--dataset",
                str(dataset_path),
                "--output_dir",
                str(folder),
                "--epochs",
                "1",
                "--batch_size",
                "16",
                "--device",
                "cpu",
                "--model",
                "VAE",
                "BetaVAE",
            ]
        )
        == 0
    )
    return folder


def run(trained, folder, *more: str) -> None:
    paths = [str(trained / f"{name}_seed0.pt") for name in ("BetaVAE", "VAE")]
    assert (
        evaluate_script.main(
            [
                "--model",
                *paths,
                "--output_dir",
                str(folder / "results"),
                "--figures_dir",
                str(folder / "Figures"),
                *FAST,
                *more,
            ]
        )
        == 0
    )


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    """A folder with results, and Figures where other pictures lie too."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "Figures").mkdir()
    (folder / "Figures" / "A_stranger_VAE.png").write_bytes(b"no picture")
    run(trained, folder)
    return folder


@pytest.fixture(scope="module")
def shown(evaluated) -> Page:
    return Page((evaluated / "results" / "report.html").read_text(encoding="utf-8"))


def test_the_table_is_that_of_the_markdown_file(evaluated, shown):
    lines = (evaluated / "results" / "table.md").read_text().splitlines()
    expected = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert len(expected) > 5 and shown.cells == expected
    assert lines[-1] in shown.words


def test_every_figure_of_this_evaluation_and_no_other_is_in_the_page(evaluated, shown):
    files = {path.name: path.read_bytes() for path in (evaluated / "Figures").iterdir() if "stranger" not in path.name}
    assert len(files) >= 2 * 4 + 2
    names = [word for word in shown.words if word.endswith((".png", ".gif"))]  # in the captions
    assert sorted(names) == sorted(files)
    for name, image in zip(names, shown.elements["img"]):
        data = decoded(image["src"], "image/gif" if name.endswith("gif") else "image/png")
        assert data == files[name]
        opened = Image.open(io.BytesIO(data))
        opened.load()
        assert opened.size == (int(image["width"]), int(image["height"])) == markup.picture_size(data)
        assert image["alt"].startswith(("VAE: ", "BetaVAE: "))
        assert image["alt"].split(":")[0] in name or name.endswith("gif")


def test_every_sound_is_in_the_page_with_its_samples(evaluated, shown):
    files = {
        str(path.relative_to(evaluated / "results" / "audio")): path
        for path in (evaluated / "results" / "audio").rglob("*.wav")
    }
    players = {player["data-file"]: player for player in shown.elements["audio"]}
    assert len(files) == 2 * (3 + 3 + 3 + 8) == len(shown.elements["audio"]) and set(players) == set(files)
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


def test_labels_say_what_is_heard(evaluated, shown):
    labels = {player["data-file"]: player["aria-label"] for player in shown.elements["audio"]}
    assert re.search(
        r"original: (sine|triangle|square|sawtooth), amplitude [\d.]+, \d+ Hz", labels["VAE/original_1.wav"]
    )
    document = json.loads((evaluated / "results" / "metrics.json").read_text())
    kl = next(entry["kl_nats"] for entry in document["latents"] if entry["model"] == "VAE")
    for latent, nats in enumerate(kl):
        label = labels[f"VAE/traversal_z{latent}.wav"]
        assert f"z{latent}: {nats:.2f} nats" in label and ("collapsed" in label) == (nats <= 0.01)
    described = " ".join(shown.words)
    for words in (
        "72 sounds of 0.5 s at 8,000 Hz",
        "tones.npz",
        "(3 levels, 0.1 to 1)",
        "every combination once",
        "1 epoch,",
        "beta 4",
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


def test_without_figures_the_page_holds_the_table(evaluated, trained, tmp_path, capsys):
    run(trained, tmp_path, "--no_figures")
    found = Page((tmp_path / "results" / "report.html").read_text(encoding="utf-8"))
    assert found.cells == Page((evaluated / "results" / "report.html").read_text(encoding="utf-8")).cells
    assert not {"img", "audio"} & set(found.elements) and "no figures or sounds were asked for" in found.words
    assert f"page: {tmp_path / 'results' / 'report.html'}" in capsys.readouterr().out.splitlines()[-1]


def test_sounds_beyond_the_limit_are_left_out_by_kind_and_named(evaluated, monkeypatch):
    sounds = page.list_sounds(evaluated / "results" / "audio", "VAE")
    assert page.within_limit(sounds) == (sounds, "")
    monkeypatch.setattr(page, "MAX_SOUND_BYTES", 9 * 8058 * 4 // 3)  # originals, reconstructions and samples
    kept, words = page.within_limit(sounds)
    assert [sound.kind for sound in kept] == 3 * ["original"] + 3 * ["reconstruction"] + 3 * ["sample"]
    assert "traversal sounds" in words


def test_names_are_text_whatever_they_hold(tmp_path, monkeypatch, fewer_tones):
    """Sounds from arrays: a factor, a file and a recipe named like markup, and no tones' keys."""
    monkeypatch.chdir(tmp_path)
    path = f"{NASTY.replace('/', '')}'&\u202e.npz"
    rng = np.random.default_rng(0)
    save_npz(
        path,
        x=0.1 * rng.standard_normal((24, 4000)),
        factors=np.arange(24)[:, None] % 3,
        factor_values=np.arange(24.0)[:, None] % 3,
        factor_names=[NASTY],
        factor_kinds=["nominal"],
        sample_rate=8000,
        recipe={"what": "<b>noise</b>", "level_names": {NASTY: ["<i>", '"', "'&amp;"]}},
    )
    assert (
        trainvae.main(["--dataset", path, "--model", "VAE", "--epochs", "1", "--latent_dim", "2", "--device", "cpu"])
        == 0
    )
    assert evaluate_script.main(["--model", "checkpoints/VAE_seed0.pt", "--metrics", "mig", "--device", "cpu"]) == 0
    html = (tmp_path / "results" / "report.html").read_text(encoding="utf-8")
    found = Page(html)
    assert not {"script", "b", "i"} & set(found.elements) and "\u202e" not in html
    assert f"MIG, {NASTY}" in [line[0] for line in found.cells]
    described = " ".join(found.words)
    assert (
        NASTY.replace("/", "") in described
        and f"{NASTY} (<i>, \", '&amp;)" in described
        and "<b>noise</b>" in described
    )
    assert {
        player["aria-label"].split("original: ")[1]
        for player in found.elements["audio"]
        if player["data-file"].startswith("VAE/original")
    } <= {"<i>", '"', "'&amp;"}


def test_every_part_of_the_markup_escapes_its_words():
    sound = markup.Player(NASTY, b"", NASTY, NASTY)
    gif = markup.Picture(f"{NASTY}.gif", b"GIF89a" + bytes(4), NASTY)
    parts = [
        markup.paragraph(NASTY, kind="soft"),
        markup.table([[NASTY, NASTY], [NASTY, f"{NASTY} [{NASTY}"]], label=NASTY),
        markup.picture(gif),
        markup.pairs([(NASTY, [sound])]),
        markup.singles([(NASTY, [sound])]),
        markup.heading(NASTY),
        markup.section("a", NASTY, []),
        markup.folded("b", NASTY, NASTY, [], is_open=True),
        markup.fold(NASTY, NASTY),
    ]
    html = markup.document(NASTY, lead=NASTY, links=[("a", NASTY)], parts=parts)
    assert "script" not in Page(html).elements and NASTY not in html and html.count(markup.text(NASTY)) > 20


def test_what_no_html_may_hold_is_replaced():
    assert markup.text("a\0\x1b[1m\ud800\u202e\u3000\nb") == "a\ufffd\ufffd[1m\ufffd\ufffd\u3000\nb"


@pytest.mark.parametrize(
    "stem, expected",
    [
        ("Original_vs_Reconstructed_BetaVAE", ("BetaVAE", "Original_vs_Reconstructed")),
        ("VAE_Anything_New", ("VAE", "Anything_New")),
        ("Deep_VAE_Anything", ("Deep_VAE", "Anything")),
        ("Generated_Samples", (None, "Generated_Samples")),
        ("MyVAE", (None, "MyVAE")),
    ],
)
def test_figures_belong_to_the_model_in_their_names(stem, expected):
    assert page.owner(stem, ["VAE", "BetaVAE", "Deep_VAE"]) == expected


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
<pre></pre><iframe src="probed.html" style="width: 390px; height: 844px; border: 0"></iframe>"""  # no window is that narrow


def test_a_browser_shows_every_picture_and_can_play_every_sound(evaluated, shown, tmp_path):
    """At a phone's width, under the page's own policy except that a script may ask how it went."""
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
    seconds = [2 * 0.6 if "traversal" in player["data-file"] else 0.5 for player in shown.elements["audio"]]
    assert found["durations"] == pytest.approx(seconds, abs=1e-3)  # browsers keep microseconds
    assert found["lengths"] == [round(8000 * length) for length in seconds]
    assert found["sticky"] == "sticky"  # the policy lets the page's own style through
    assert found["needed"] == found["width"] == 390  # figures and table scroll inside it, the page itself does not

    page_itself = open_in(f"file://{evaluated / 'results' / 'report.html'}", f"--screenshot={tmp_path / 'phone.png'}")
    assert "Content Security Policy" not in page_itself.stderr and "CONSOLE" not in page_itself.stderr
    colours = np.asarray(Image.open(tmp_path / "phone.png").convert("L"))
    assert colours.shape[0] >= 700 and colours.min() < 100 < 200 < colours.max()  # ink on paper


def test_the_front_end_is_described_as_it_is():
    """Bands are bands, rows of the level are not, and skirts are named."""
    common = {"sample_rate": 16000, "n_samples": 16000}
    gainshape = page.front_end_words(
        FrontEnd("gainshape", n_mels=64, smoothing=5.0, range_db=30.0, level_rows=16, **common)
    )
    assert "of 64 bands, filters with skirts that fall by 10 dB in 5 bands and 32 frames" in gainshape
    assert "down to 30 dB below each frame's largest band, and 16 rows that hold the level" in gainshape
    plain = page.front_end_words(FrontEnd("logmel", **common))
    assert "logmel: decibels from -80 to +6 dB" in plain and "skirts" not in plain
    assert "divided by its own maximum" in page.front_end_words(FrontEnd("paper", **common))


def test_a_page_names_files_and_no_folders(trained, tmp_path):
    grid = ["--sample_rate", "8000", "--duration", "0.5", "--freq_end", "3000", "--num_freqs", "5", "--num_amps", "3"]
    assert create.main([*grid, "--file_path", str(tmp_path / "other.npz")]) == 0
    run(trained, tmp_path, "--no_figures", "--dataset", str(tmp_path / "other.npz"))
    text = (tmp_path / "results" / "report.html").read_text(encoding="utf-8")
    assert "other.npz was made by another recipe" in text and str(tmp_path) not in text

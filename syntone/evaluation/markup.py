"""The HTML of a report: records in, text out. The page needs nothing but itself: pictures and sounds stand in it as data:
URIs, there is no script, and its Content-Security-Policy lets a browser fetch nothing.

Every text is escaped here, so that callers pass plain text: names of factors, classes and files are their owners'.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from unicodedata import category

IMAGE_TYPES = {".png": "image/png", ".gif": "image/gif"}
STYLE = """
:root { color-scheme: light dark; --ink: #1b2430; --soft: #5a6675; --line: #d8dee6; --paper: #ffffff; --panel: #f4f6f9;
  --original: #1f4e79; --model: #b84a0c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #a3afbd; --line: #37414e; --paper: #14181d;
  --panel: #1e242b; --original: #8fc1f0; --model: #f59a5c; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 3.2rem; -webkit-text-size-adjust: 100%; }
body { margin: 0; font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: var(--ink);
  background: var(--paper); }
header, main { max-width: 78rem; margin: 0 auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 1.4rem 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2rem 0 .6rem; }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .5rem; }
p { margin: .4rem 0; max-width: 75ch; overflow-wrap: anywhere; }
.soft { color: var(--soft); font-size: .9rem; }
.warning { border-left: .3rem solid var(--model); padding-left: .7rem; }
nav { position: sticky; top: 0; z-index: 3; background: var(--paper); border-bottom: 1px solid var(--line);
  white-space: nowrap; overflow-x: auto; }
nav ul { max-width: 78rem; margin: 0 auto; padding: 0 .5rem; list-style: none; display: flex; }
nav a { display: block; padding: .6rem .5rem; color: var(--original); text-decoration: none; }
nav a:hover { text-decoration: underline; }
.scroll { overflow: auto; border: 1px solid var(--line); border-radius: .4rem; }
:focus-visible { outline: 2px solid var(--model); outline-offset: 2px; }
.table { max-height: 85vh; }
table { border-collapse: separate; border-spacing: 0; font-size: .9rem; font-variant-numeric: tabular-nums; min-width: 100%; }
th, td { padding: .35rem .8rem; text-align: left; vertical-align: top; white-space: nowrap; background: var(--paper);
  border-bottom: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 0; }
thead th { position: sticky; top: 0; z-index: 1; background: var(--panel); }
tbody th { position: sticky; left: 0; font-weight: 500; border-right: 1px solid var(--line); }
thead th:first-child { left: 0; z-index: 2; border-right: 1px solid var(--line); }
td small { display: block; color: var(--soft); font-size: .8rem; }
details.model { border: 1px solid var(--line); border-radius: .5rem; margin: 1rem 0; padding: 0 1rem; }
details.model[open] { padding-bottom: 1rem; }
details.model > summary { cursor: pointer; margin: 0 -1rem; padding: .7rem 1rem; background: var(--panel);
  border-radius: .5rem; }
details.model > summary h2 { display: inline; margin: 0; }
details.model > summary span { color: var(--soft); font-size: .9rem; margin-left: .5rem; }
figure { margin: 0; }
figure.picture { margin: .5rem 0 1.2rem; }
figure.picture .scroll { background: #ffffff; }
figure.picture img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { font-size: .9rem; }
.picture figcaption { color: var(--soft); padding: .3rem 0; }
.swipe { display: none; }
code { font-size: .85em; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--panel); padding: .6rem .8rem; border-radius: .4rem; }
.players { display: grid; gap: .7rem; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); margin: .6rem 0; }
.players.pairs { grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); }
.card { border: 1px solid var(--line); border-radius: .4rem; padding: .5rem .7rem .6rem; min-width: 0; }
.card > p { margin: 0 0 .3rem; font-weight: 600; }
.pair { display: grid; gap: .6rem; grid-template-columns: 1fr 1fr; }
.pair figure { min-width: 0; }
.original figcaption { color: var(--original); }
.reconstruction figcaption { color: var(--model); }
audio { display: block; width: 100%; height: 2.6rem; margin-top: .2rem; }
@media (max-width: 45rem) {
  h1 { font-size: 1.35rem; }
  th, td { padding: .35rem .55rem; }
  tbody th { max-width: 9.5rem; white-space: normal; }
  figure.picture img { max-width: none; }
  .swipe { display: inline; }
  td small { white-space: normal; width: 9rem; }
  details.model { padding: 0 .6rem; }
  details.model > summary { margin: 0 -.6rem; }
  .players { grid-template-columns: 1fr; }
  .card { padding: .45rem .5rem .5rem; }
}
@media print { nav { display: none; } .table { max-height: none; } }
"""


@dataclass(frozen=True)
class Picture:
    """A PNG or GIF: file name, bytes, and what it shows in words (caption and alternative text)."""

    name: str
    data: bytes
    caption: str


@dataclass(frozen=True)
class Player:
    """A WAV file: its path below the folder of sounds, bytes, what kind of sound it is, and the label that is read out."""

    name: str
    data: bytes
    kind: str
    label: str


def text(words: object) -> str:
    """Plain text as HTML, in elements and in quoted attributes alike. Control and format characters, lone surrogates and the
    like, which an HTML file may not hold or which reorder what is read, become U+FFFD."""
    known = "".join(
        "\ufffd" if category(letter)[0] == "C" and letter not in "\n\t" else letter for letter in str(words)
    )
    return escape(known, quote=True)


def data_uri(data: bytes, *, mime: str) -> str:
    """Bytes as a data: URI."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the first bytes of a PNG or a GIF."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")


def paragraph(words: str, *, kind: str = "") -> str:
    return f'<p class="{kind}">{text(words)}</p>' if kind else f"<p>{text(words)}</p>"


def table(cells: Sequence[Sequence[str]], *, label: str) -> str:
    """Cells, header first, as a table that scrolls both ways under its header and beside its first column. What a cell holds
    from its first `[` on (floor, ceiling and adjusted score) stands on a second line."""

    def cell(words: str) -> str:
        score, bracket, rest = words.partition(" [")
        return f"<td>{text(score)}" + (f" <small>[{text(rest)}</small></td>" if bracket else "</td>")

    head = "".join(f'<th scope="col">{text(words)}</th>' for words in cells[0])
    lines = [f'<tr><th scope="row">{text(line[0])}</th>{"".join(map(cell, line[1:]))}</tr>' for line in cells[1:]]
    return (
        f'<div class="scroll table" role="region" tabindex="0" aria-label="{text(label)}">\n<table>\n<thead><tr>{head}</tr>'
        "</thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody>\n</table>\n</div>"
    )


def picture(shown: Picture) -> str:
    """A figure with its caption. On a phone it keeps its natural size, in which its letters can be read, and scrolls."""
    width, height = picture_size(shown.data)
    uri = data_uri(shown.data, mime=IMAGE_TYPES[shown.name[-4:]])
    return (
        f'<figure class="picture">\n<div class="scroll" role="region" tabindex="0" aria-label="{text(shown.caption)}">'
        f'<img src="{uri}" alt="{text(shown.caption)}" width="{width}" height="{height}" decoding="async"></div>\n'
        f"<figcaption>{text(shown.caption)}. <code>{text(shown.name)}</code>"
        f'<span class="swipe">, {width} pixels wide: swipe sideways</span></figcaption>\n</figure>'
    )


def player(sound: Player, *, caption: str) -> str:
    """A sound with its controls. Nothing of it is decoded before it is played."""
    return (
        f'<figure class="{text(sound.kind)}"><figcaption>{text(caption)}</figcaption><audio controls preload="none" '
        f'data-file="{text(sound.name)}" aria-label="{text(sound.label)}" '
        f'src="{data_uri(sound.data, mime="audio/wav")}"></audio></figure>'
    )


def pairs(titled: Sequence[tuple[str, Sequence[Player]]]) -> str:
    """Cards of a title and sounds beside each other, each under the name of its kind."""
    cards = [
        f'<div class="card">\n<p>{text(title)}</p>\n<div class="pair">\n'
        + "\n".join(player(sound, caption=sound.kind) for sound in sounds)
        + "\n</div>\n</div>"
        for title, sounds in titled
    ]
    return '<div class="players pairs">\n' + "\n".join(cards) + "\n</div>"


def singles(titled: Sequence[tuple[str, Sequence[Player]]]) -> str:
    """Cards of one sound under a title."""
    cards = [f'<div class="card">{player(sound, caption=title)}</div>' for title, sounds in titled for sound in sounds]
    return '<div class="players">\n' + "\n".join(cards) + "\n</div>"


def heading(words: str) -> str:
    return f"<h3>{text(words)}</h3>"


def section(name: str, title: str, parts: Sequence[str]) -> str:
    return f'<section id="{text(name)}">\n<h2>{text(title)}</h2>\n' + "\n".join(parts) + "\n</section>"


def folded(name: str, title: str, note: str, parts: Sequence[str], *, is_open: bool) -> str:
    """A section that opens and closes by its title."""
    return (
        f'<details class="model" id="{text(name)}"{" open" if is_open else ""}>\n<summary><h2>{text(title)}</h2> '
        f"<span>{text(note)}</span></summary>\n" + "\n".join(parts) + "\n</details>"
    )


def fold(title: str, words: str) -> str:
    """A text of which only the title is seen at first."""
    return f"<details>\n<summary>{text(title)}</summary>\n<pre>{text(words)}</pre>\n</details>"


def document(title: str, *, lead: str, links: Sequence[tuple[str, str]], parts: Sequence[str]) -> str:
    """The whole page.

    Parameters
    ----------
    title, lead : heading, and the line below it
    links : name of a section and what its link says
    parts : HTML of the sections
    """
    style = base64.b64encode(hashlib.sha256(STYLE.encode("utf-8")).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'sha256-{style}'; base-uri 'none'; "
        "form-action 'none'"
    )
    items = "".join(f'<li><a href="#{text(name)}">{text(words)}</a></li>' for name, words in links)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{text(title)}: {text(lead)}</title>",
            '<link rel="icon" href="data:,">',
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            f"<header>\n<h1>{text(title)}</h1>\n{paragraph(lead, kind='soft')}\n</header>",
            f'<nav aria-label="Sections"><ul>{items}</ul></nav>',
            "<main>",
            *parts,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )

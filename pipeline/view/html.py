"""Plain values -> HTML for a notebook: facts, tables, players, pictures. Text is escaped, colours are the page's."""

import base64
import html
import io
from collections.abc import Mapping, Sequence

import numpy as np

from actors.contract import SAMPLE_RATE
from pipeline.storage.text import clean_id
from pipeline.view.pictures import recording_png, spectrograms_png

FIRST_S = 15.0
"""Of a longer recording only so much is played and drawn: about 0.6 MB of HTML."""
CELL = "text-align:left;padding:2px 14px 2px 0;vertical-align:top"
NAME = f"{CELL};font-weight:normal;opacity:.75"
NO_PLAYER = "a player, where the notebook is opened in Jupyter"
"""Where a code host takes players out of what it shows, this is left."""
MAX_TEXT = 300
"""Characters of a text that are shown."""


def recording_html(
    id_: str, facts: Mapping[str, object], wave: np.ndarray | None, codes: np.ndarray, duration_s: float, missing: str
) -> str:
    """A recording: a player and pictures of `wave` (float32 at 24 kHz), a heat map of `codes` int16 [F, 16].

    `wave` and `codes` hold its first seconds, at most FIRST_S. `missing`: said in place of a player without a wave.
    """
    sound = _paragraph(missing) if wave is None else player(wave)
    what = "Codes" if wave is None else "Wave, spectrogram and codes"
    picture = image(recording_png(wave, codes), f"{what} of {id_} over time")
    return _block(f"<b>{text(id_)}</b>", table(facts), sound, picture, _cut(duration_s))


def listening_html(id_: str, sounds: Mapping[str, np.ndarray], duration_s: float, problems: Sequence[str]) -> str:
    """`sounds` (float32 at 24 kHz, at most FIRST_S) by title: a player each, side by side, then their spectrograms."""
    cell = '<div style="display:inline-block;margin-right:24px">{}<br>{}</div>'
    players = "".join(cell.format(text(title), player(wave)) for title, wave in sounds.items())
    names = " and ".join(sounds)
    picture = image(spectrograms_png(sounds), f"Spectrograms of {id_}: {names}") if sounds else ""
    return _block(f"<b>{text(id_)}</b>", *map(_paragraph, problems), players, picture, _cut(duration_s))


def run_html(
    title: str,
    facts: Mapping[str, object],
    failures: Sequence[Mapping[str, object]],
    recordings: Sequence[Mapping[str, object]],
) -> str:
    """A run: `facts`, then failures by reason and the first recordings, a table each."""
    return _block(
        f"<b>{text(title)}</b>",
        table(facts),
        *([_paragraph("Failures by reason"), rows_table(failures)] if failures else []),
        *([_paragraph("First recordings"), rows_table(recordings)] if recordings else []),
    )


def player(wave: np.ndarray) -> str:
    """An audio element that holds `wave` as FLAC: what is heard has no losses but the codec's."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, wave, SAMPLE_RATE, "PCM_16", format="FLAC")
    return f'<audio controls preload="metadata" src="{_data("audio/flac", file.getvalue())}">{NO_PLAYER}</audio>'


def image(png: bytes, says: str) -> str:
    """A picture; `says` is read aloud in its place."""
    return f'<img src="{_data("image/png", png)}" alt="{text(says)}" style="max-width:100%">'


def table(facts: Mapping[str, object]) -> str:
    """Names and values."""
    rows = "".join(
        f'<tr><th style="{NAME}">{text(name)}</th><td style="{CELL}">{text(value)}</td></tr>'
        for name, value in facts.items()
    )
    return f'<table style="margin:4px 0">{rows}</table>'


def rows_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows of the same keys, which are the header."""
    head = "".join(f'<th style="{CELL}">{text(name)}</th>' for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f'<td style="{CELL}">{text(value)}</td>' for value in row.values()) + "</tr>" for row in rows
    )
    return f'<table style="margin:4px 0"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def text(value: object) -> str:
    """Escaped for HTML and attributes, without control characters, at most MAX_TEXT characters."""
    shown = clean_id(str(value))
    return html.escape(shown if len(shown) <= MAX_TEXT else f"{shown[:MAX_TEXT]}...")


def _cut(duration_s: float) -> str:
    return _paragraph(f"The first {FIRST_S:g} of {duration_s:,.1f} s.") if duration_s > FIRST_S else ""


def _paragraph(said: str) -> str:
    return f'<div style="margin-top:6px">{text(said)}</div>'


def _block(*pieces: str) -> str:
    return "<div>" + "\n".join(f"<div>{piece}</div>" for piece in pieces if piece) + "</div>"


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"

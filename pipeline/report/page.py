"""Sections and players -> the HTML of the page. All text is escaped by jinja2; nothing is fetched by the page."""

from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from pipeline.report.players import PLAYED_S
from pipeline.report.section import Section
from pipeline.report.survey import KINDS, Player

HERE = Path(__file__).parent


def render(name: str, written: str, sections: Sequence[Section], players: Sequence[Player], footer: str) -> str:
    """`name` of the run, and when the page was `written`; the title of the first section is the page's headline."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    css = Markup((HERE / "page.css").read_text())
    return environment.get_template("page.html.j2").render(
        name=name,
        written=written,
        sections=sections,
        players=players,
        footer=footer,
        kinds=KINDS,
        played_s=PLAYED_S,
        css=css,
    )

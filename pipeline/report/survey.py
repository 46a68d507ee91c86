"""A sample of a run's recordings -> figures that need audio, and players; within a bound of seconds."""

import itertools
import random
import time
from dataclasses import dataclass

import pyarrow as pa

from pipeline.loading import SourceRules
from pipeline.report.players import data_uri
from pipeline.report.quality import compare
from pipeline.report.sound import Signal, measure
from pipeline.report.sources import LONGEST_S, Heard, hear
from pipeline.run.find_waves import Waves

LEAST = 6
"""Recordings that are heard, and players that are made, however short the time is: a small run has some, too."""
PATIENCE_S = 15.0
"""Of LEAST, for sources that answer slowly or not at all any more."""
OF_MEASURING = 0.6
"""Share of the time for measuring; the rest is for players."""
RANKED_BY = "log-mel distance"
"""What the worst and the median are told by."""
KINDS = ("worst", "median", "random")
PLAYERS = 18
"""An equal number of each of KINDS."""


@dataclass(frozen=True)
class Measured:
    """A recording of the sample in numbers."""

    id: str
    source_rate: int  # Hz
    signal: Signal
    quality: dict[str, float]  # by `quality.measures`; empty without a reconstruction


@dataclass(frozen=True)
class Player:
    """A recording to listen to."""

    kind: str  # one of KINDS
    measured: Measured
    original: str  # data URIs
    decoded: str | None


@dataclass(frozen=True)
class Survey:
    """What was heard."""

    drawn: int  # recordings that were looked for
    gone: int  # whose source could not be read any more, or has changed
    measured: list[Measured]
    players: list[Player]
    longest_s: float = LONGEST_S  # of each recording at most


def survey(rows: pa.Table, waves: Waves, rules: SourceRules, seconds: float, seed: int = 0) -> Survey:
    """Hear as many of `rows`, a sample of `read_columns`, as `seconds` allow, at least LEAST."""
    begin_s = time.monotonic()
    wanted = rows.to_pylist()
    measured, drawn = [], 0
    for heard in hear(wanted, waves, rules):
        drawn += 1
        if heard is not None:
            measured.append(_measured(heard))
        if _over(begin_s, OF_MEASURING * seconds, drawn):
            break
    chosen = choose(measured, seed)
    again = [row for row in wanted if row["id"] in {one.id for _, one in chosen}]
    uris: dict[str, tuple[str, str | None]] = {}
    for heard in hear(again, waves, rules):
        if heard is not None:
            uris[heard.id] = (data_uri(heard.original), None if heard.decoded is None else data_uri(heard.decoded))
        if _over(begin_s, seconds, len(uris)):
            break
    players = [Player(kind, one, *uris[one.id]) for kind, one in chosen if one.id in uris]
    return Survey(drawn, drawn - len(measured), measured, players)


def _over(begin_s: float, seconds: float, done: int) -> bool:
    """True once there are no `seconds` left; the first LEAST may take longer, but not for ever."""
    passed_s = time.monotonic() - begin_s
    return passed_s > seconds and (done >= LEAST or passed_s > PATIENCE_S)


def choose(measured: list[Measured], seed: int = 0) -> list[tuple[str, Measured]]:
    """At most PLAYERS recordings, each once, with the kind that it stands for; without reconstructions all are random.

    In turns (worst, median, random, worst, ...), so that the first few have some of each.
    """
    ranked = sorted((one for one in measured if RANKED_BY in one.quality), key=lambda one: -one.quality[RANKED_BY])
    each = min(PLAYERS, len(ranked) + len(KINDS) - 1) // len(KINDS)  # of few recordings, too, a third are the worst
    worst, rest = ranked[:each], ranked[each:]
    begin = min(max(0, len(ranked) // 2 - each - each // 2), max(0, len(rest) - each))
    median = rest[begin : begin + each]
    taken = {one.id for one in worst + median}
    others = [one for one in measured if one.id not in taken]
    chosen = (worst, median, random.Random(seed).sample(others, min(PLAYERS - len(taken), len(others))))
    turns = itertools.zip_longest(*chosen)
    return [(kind, one) for turn in turns for kind, one in zip(KINDS, turn, strict=True) if one is not None]


def _measured(heard: Heard) -> Measured:
    quality = {} if heard.decoded is None else compare(heard.decoded, heard.original)
    return Measured(heard.id, heard.source_rate, measure(heard.original), quality)

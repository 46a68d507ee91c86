"""What failed so far, and where -> whether the run goes on. Failures are rows; too many of them are one error.

Counts are of this command, but for the bound that a user sets, which is of the run. A read task that is done again
counts again, so the bound may come a little early.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

import pyarrow as pa

from pipeline.errors import TooManyFailures, UnexpectedError, plural
from pipeline.run.transient import may_pass
from pipeline.schema import SKIP

LEAST = 100
"""Recordings before a share of them says anything."""
NODE_SHARE, OTHERS_SHARE = 0.5, 0.1
"""A node that fails more than the first of its recordings, while the others together fail less than the second, is
taken for the cause. Where all nodes fail alike the inputs are, and the run goes on."""
UNEXPECTED_SHARE = 0.05
"""More errors that nobody foresaw are taken for a mistake of voxmill or of its installation."""
REASONS = 3
"""Reasons that a message names."""
SHOWN = 300
"""Characters of a reason."""


class Place(NamedTuple):
    """Where recordings are worked on."""

    node: str  # its name for people
    stage: str  # read, encode or decode
    node_id: str  # Ray's


@dataclass
class Counts:
    """Recordings that came through a stage on a node, or failed there."""

    finished: int = 0  # failures too
    failures: int = 0
    unexpected: int = 0
    passing: int = 0  # of the failures, those that another attempt may not meet
    reasons: list[str] = field(default_factory=list)  # the first REASONS

    def add(self, other: "Counts") -> None:
        """Sum."""
        self.finished += other.finished
        self.failures += other.failures
        self.unexpected += other.unexpected
        self.passing += other.passing
        self.reasons = (self.reasons + other.reasons)[:REASONS]

    def see(self, rows: pa.Table, stage: str) -> None:
        """Count rows that leave `stage`: last chunks, failures of this stage, and what readers skip."""
        columns = [*(rows[name].to_pylist() for name in ("stage", "chunk", "chunks")), may_pass(rows).to_pylist()]
        for row, (failed, chunk, chunks, passing) in enumerate(zip(*columns, strict=True)):
            if failed is None:
                self.finished += chunk + 1 == chunks
            elif failed == SKIP:
                self.finished += stage == "read"
            elif failed == stage:
                id_, error, message = (rows[name][row].as_py() for name in ("id", "error", "message"))
                unexpected, reason = error == UnexpectedError.__name__, f"{id_}: {error}: {message}"[:SHOWN]
                self.add(Counts(1, 1, int(unexpected), int(passing), [reason]))


class Census:
    """The counts of every place, in an actor of its own: readers and pools add, the driver reads."""

    def __init__(self) -> None:
        self.counts: dict[Place, Counts] = {}

    def add(self, place: Place, counts: Counts) -> None:
        """Called by readers and pools."""
        self.counts.setdefault(place, Counts()).add(counts)

    def get(self) -> dict[Place, Counts]:
        """Called by the driver."""
        return self.counts


class Earlier(NamedTuple):
    """What a run held before a command: recordings, and failures among them."""

    finished: int
    failures: int


def refuse_excess(
    counts: Mapping[Place, Counts], limit: int | str | None, planned: int | None, earlier: Earlier
) -> None:
    """Raise TooManyFailures where the run has more than `limit` (a number, or a share such as "5%") with the `earlier`
    ones, too many that nobody foresaw, or where one node fails and the others do not.

    A share is of the run's recordings, with the `planned` ones; where their number is not known, of those finished,
    LEAST at least.
    """
    total = _sum(counts)
    read = _sum({place: one for place, one in counts.items() if place.stage == "read"}).finished
    failed, whole = total.failures + earlier.failures, None if planned is None else planned + earlier.finished
    if limit is not None and total.failures and failed > _most(limit, whole, read + earlier.finished):
        place = max(counts, key=lambda place: counts[place].failures)
        before = f" ({earlier.failures} of them before)" if earlier.failures else ""
        bound = f"max_failures is {limit}: {counts[place].failures} of them"
        _stop(f"{plural(failed, 'recording')} failed{before}, and {bound}", place, counts, _RAISE)
    if read >= LEAST and total.unexpected > UNEXPECTED_SHARE * read:
        place = max(counts, key=lambda place: counts[place].unexpected)
        here = counts[place].unexpected
        _stop(f"Errors that nobody foresaw: {total.unexpected} of {read} recordings, {here} of them", place, counts)
    for place in (place for place, one in counts.items() if _fails(one, NODE_SHARE)):
        others = _sum({other: one for other, one in counts.items() if other.stage == place.stage and other != place})
        if others.finished >= LEAST and not _fails(others, OTHERS_SHARE):
            bad = f"{counts[place].failures} of {counts[place].finished}"
            rest = f"{others.failures} of {others.finished} on the others"
            _stop(f"Mend this node, or take it out: {bad} recordings failed, but {rest};", place, counts)


def refuse_failed(failed: int, limit: int | str | None, planned: int | None, finished: int) -> None:
    """Raise TooManyFailures where more than `limit` of a run's recordings failed in earlier commands: of those
    `planned`, or as far as `finished`."""
    if limit is not None and failed > _most(limit, planned, finished):
        raise TooManyFailures(
            f"{plural(failed, 'recording')} of the run failed before, and max_failures is {limit}. Raise it to go on "
            "with the rest; `voxmill retry RUN --set max_failures=null` tries again what failed."
        )


def shaky(counts: Mapping[Place, Counts]) -> frozenset[str]:
    """The ids of the nodes where inputs could not be fetched that another attempt may fetch."""
    return frozenset(place.node_id for place, one in counts.items() if one.passing)


def _fails(counts: Counts, share: float) -> bool:
    return counts.finished >= LEAST and counts.failures > share * counts.finished


_RAISE = "raise max_failures to go on; `voxmill retry RUN --set max_failures=null` tries again what failed"
_AGAIN = "the same command (without --overwrite) goes on from there, and `voxmill retry RUN` tries again what failed"


def _stop(what: str, place: Place, counts: Mapping[Place, Counts], advice: str = _AGAIN) -> NoReturn:
    raise TooManyFailures(
        f"{what} in stage {place.stage} on node {place.node}, the first: {' | '.join(counts[place].reasons)}. What is"
        f" committed stays: {advice}."
    )


def _most(limit: int | str, planned: int | None, finished: int) -> float:
    """The number of failures that `limit` allows."""
    if isinstance(limit, int):
        return limit
    return float(limit.rstrip("%")) / 100 * (max(finished, LEAST) if planned is None else planned)


def _sum(counts: Mapping[Place, Counts]) -> Counts:
    total = Counts()
    for one in counts.values():
        total.add(one)
    return total

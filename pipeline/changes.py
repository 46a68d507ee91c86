"""What the inputs hold and what a run has committed -> recordings of equal ids and different fingerprints."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileSystem, LocalFileSystem

from pipeline.errors import InputError, plural
from pipeline.run.alike import Numbered
from pipeline.run.committed import Done
from pipeline.run.keys import Keys
from pipeline.run.layout import CODES, PARTS, parts
from pipeline.run.parts import read_part
from pipeline.schema import EACH, FINGERPRINT_SCHEMA, file_ids, spoken_ids
from pipeline.sources.formats import recordings
from pipeline.sources.inputs import Discovered
from pipeline.sources.inside import container_of
from pipeline.sources.plan import task_of
from pipeline.sources.rows import taken
from pipeline.sources.task import UNIT_SCHEMA, Container, containers
from pipeline.storage.at_once import at_once
from pipeline.storage.filesystem import locate
from pipeline.storage.location import is_local, local_path, redact
from pipeline.storage.stamp import Stamp, local_stamps, same_content
from pipeline.storage.text import clean_id, clean_ids, id_hashes, redacted

SHOWN = 3
"""Recordings that a message names."""
ROWS_OF_A_CONTAINER = 16
"""Rows of a part that are of one container, on average, from which on they are compared at once, not one by one."""


@dataclass
class Changes:
    """Committed recordings of which the inputs hold another one of the same id."""

    hashes: set[bytes] = field(default_factory=set)  # `id_hashes`
    examples: list[str] = field(default_factory=list)  # of the first SHOWN: both fingerprints
    other_channels: bool = False  # whether of some of them other channels are asked for than were read

    def add(self, hash_: bytes, id_: str, before: str, now: str) -> None:
        """`before` and `now`: what `told_bounds` says."""
        if hash_ not in self.hashes and len(self.examples) < SHOWN:
            self.examples.append(f"{id_!r} was read from {before}; now it is {now}")
        self.hashes.add(hash_)


def changes(keys: Keys, inputs: Discovered) -> Changes:
    """Compare every committed row with what `inputs` hold now: location, size, version, bounds, channel.

    What a store does not tell is not compared. A file that a manifest names is looked up where it is local; remote ones
    are compared by their location and bounds. Members of containers are compared by their container. Nothing is read of
    `keys` yet; they know the parts then.
    """
    comparison = None
    for rows, hashes in keys.reading():
        comparison = comparison or Comparison(inputs, moved=False)  # of a new run, nothing is looked at
        comparison.add(rows, hashes)
    return comparison.finish(keys.fs, keys.run) if comparison else Changes()


class Comparison:
    """`changes`, of committed rows as they are read. `moved`: the inputs may be copies elsewhere, which are compared by
    size and bounds (a copy has times of its own)."""

    def __init__(self, inputs: Discovered, moved: bool) -> None:
        self.files, self.containers = Files(inputs, moved), Containers(inputs, moved)
        self.changed, self.unsure = Changes(), False

    def add(self, rows: pa.Table, hashes: np.ndarray) -> None:
        """`rows` of a part, id and FINGERPRINT_SCHEMA among their columns, and the hashes of their ids."""
        at = self.files.find(rows, hashes)
        known = at >= 0
        if known.all():
            self.files.compare(rows, hashes, at, self.changed)
            return
        self.files.compare(rows.filter(pa.array(known)), hashes[known], at[known], self.changed)
        if self.containers.places:
            self.unsure |= self.containers.compare(rows.filter(pa.array(~known)), hashes[~known], self.changed)

    def finish(self, fs: FileSystem, run: str) -> Changes:
        """What was found. Reads the parts again where only the ids of all members tell."""
        if self.unsure:
            members = self.containers.members()
            for rows, hashes in committed_rows(fs, run):
                self.containers.compare_members(rows, hashes, self.changed, members)
        return self.changed


def refuse_other_columns(keys: Keys, carried: pa.Schema, run: str) -> None:
    """Raise InputError for a column that travels and has another type in the parts of the run: no reader could combine
    them."""
    seen = pa.schema([])
    for part in keys.parts(CODES):
        if part.carried.equals(seen):
            continue
        seen = part.carried
        for name in set(seen.names).intersection(carried.names):
            there, here = pa.schema([seen.field(name)]), pa.schema([carried.field(name)])
            try:
                pa.unify_schemas([there, here], promote_options="permissive")
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                raise InputError(
                    f"column {name!r} is {there.types[0]} in what {run} holds and {here.types[0]} in the inputs: "
                    "columns that travel need one type; convert or rename it, or give --out a new folder"
                ) from None


def refuse_inside(inputs: Sequence[str], schemes: tuple[str, ...], fs: FileSystem, run: str) -> None:
    """Raise InputError for an input inside the run: its own WAVs would become its recordings."""
    for location in inputs:
        store, path = locate(location, schemes)
        if store == fs and f"{_real(fs, path)}/".startswith(f"{_real(fs, run)}/"):
            raise InputError(f"The input {redact(location)} lies inside the run {run}. Give --out another folder.")


def _real(fs: FileSystem, path: str) -> str:
    return os.path.realpath(path) if isinstance(fs, LocalFileSystem) else path


def to_redo(changed: Changes, done: Done, rule: str) -> set[bytes]:
    """Which of the `changed` recordings (`id_hashes`) are to be tokenized anew, by the setting `input.changed`.

    redo: all. keep: those of which only some chunks are committed, because chunks of two fingerprints are never joined.
    Raises InputError for refuse, and for keep where other channels are asked for: a run holds one kind.
    """
    if not changed.hashes or rule == "redo":
        return changed.hashes
    if rule == "keep" and not changed.other_channels:
        partial = set(id_hashes(pa.array(list(done.partial), pa.string())).tolist())
        return changed.hashes & partial
    channels = "has changed, or is asked for in other channels"
    what = channels if changed.other_channels else "or has changed"
    advice = "input.changed=keep if they are the same recordings (moved, copied or touched)"
    raise InputError(
        f"The run has {plural(len(changed.hashes), 'recording')} whose input is another file now, {what}: "
        f"{'; '.join(changed.examples)}. Set {'the channels as before' if changed.other_channels else advice}, "
        "input.changed=redo to tokenize them anew, or give --out a new folder. Failures that were mended are what "
        "`voxmill retry RUN` reads again."
    )


def committed_rows(fs: FileSystem, run: str) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """id and FINGERPRINT_SCHEMA of every part, and the hashes of its ids."""

    def read(part: tuple[str, pa.Schema]) -> pa.Table:
        return read_part(fs, *part, ["id", *FINGERPRINT_SCHEMA.names])

    found = [(path, schema) for folder, schema in PARTS.items() for path in parts(fs, run, folder)]
    return ((rows, id_hashes(rows["id"])) for rows in at_once(read, found))


class Files:
    """The plain files among the inputs, and their ids, `Numbered`."""

    def __init__(self, inputs: Discovered, moved: bool) -> None:
        self.moved = moved
        tables = [one.units.select(UNIT_SCHEMA.names) for one in inputs.found if one.kind == "files"]
        self.units = pa.concat_tables([UNIT_SCHEMA.empty_table(), *tables])
        self.ids = Numbered(id_hashes(self.units["@id"]))

    def find(self, rows: pa.Table, hashes: np.ndarray) -> np.ndarray:
        """The number in `units` of each committed row, or of the file that it is of; -1 where it has none."""
        inside = pc.or_(rows["stretches"].is_valid(), pc.fill_null(pc.greater(rows["channel"], EACH), False))
        if not pc.any(inside).as_py():
            return self.ids.find(hashes)
        at = self.ids.find(id_hashes(_spoken(rows)))
        return np.where(at >= 0, at, self.ids.find(id_hashes(_files_of(rows))))

    def compare(self, rows: pa.Table, hashes: np.ndarray, at: np.ndarray, changed: Changes) -> None:
        """Add what differs between committed rows and the `units` of the numbers `at`."""
        units = looked_up(taken(self.units, at))
        units = units.append_column("source", clean_ids(redacted(units["@location"])))
        here = np.array(pc.fill_null(pc.equal(units["source"], rows["source"]), False))
        odd = (
            pc.fill_null(pc.match_substring_regex(units["@location"], "^file://.*%([01]|7F)"), False).to_numpy() & ~here
        )
        for row in np.flatnonzero(odd).tolist():  # as it was written when such names were no URIs
            here[row] = rows["source"][row].as_py() == clean_id(local_path(units["@location"][row].as_py()))
        same = np.ones(len(units), bool)
        for name, unset in (("start_s", 0.0), ("end_s", -1.0)):
            bound = pc.if_else(rows["stretches"].is_valid(), None, rows[name])  # a stretch is of what has no bounds
            same &= pc.equal(pc.fill_null(units[f"@{name}"], unset), pc.fill_null(bound, unset)).to_numpy()
        as_asked = _same_channel(units["@id"], units["@channel"], rows)
        changed.other_channels |= not as_asked.all()
        same &= as_asked
        same &= (here | self.moved) & _same_contents(units, rows, here)
        for row in np.flatnonzero(~same).tolist():
            if len(changed.examples) == SHOWN:
                changed.hashes.update(hashes[~same].tolist())
                break
            unit, before = units.slice(row, 1).to_pylist()[0], rows.slice(row, 1).to_pylist()[0]
            stamp = Stamp(unit["@size"], unit["@version"])
            now = told_bounds(unit["source"], stamp, unit["@start_s"], unit["@end_s"], unit["@channel"])
            changed.add(hashes[row], before["id"], _told(before), now)


def looked_up(units: pa.Table) -> pa.Table:
    """`units` with the stamps of local files that were not listed."""
    unknown = pc.and_(units["@size"].is_null(), units["@version"].is_null()).to_numpy()
    if not unknown.any():
        return units
    places = units["@location"].filter(pa.array(unknown)).to_pylist()
    stamps = local_stamps([local_path(place) if place and is_local(place) else None for place in places])
    for name, values in (("@size", [one.size for one in stamps]), ("@version", [one.version for one in stamps])):
        at, kind = units.schema.get_field_index(name), UNIT_SCHEMA.field(name)
        column = pc.replace_with_mask(units[name].combine_chunks(), pa.array(unknown), pa.array(values, kind.type))
        units = units.set_column(at, kind, column)
    return units


def _same_contents(units: pa.Table, rows: pa.Table, here: np.ndarray) -> np.ndarray:
    """bool [n]: `same_content` of the stamps of `units` and `rows`; of copies elsewhere only the sizes."""
    sizes = pc.fill_null(pc.equal(units["@size"], rows["source_size"]), True).to_numpy()
    now, before = units["@version"], rows["source_version"]
    tag, tagged = (pc.starts_with(one, '"') for one in (now, before))
    versions = pc.fill_null(pc.or_(pc.equal(now, before), pc.not_equal(tag, tagged)), True).to_numpy()
    return sizes & (versions | ~here)


def _spoken(rows: pa.Table) -> pa.ChunkedArray:
    """The ids of committed rows; of a stretch of speech, of what it is a stretch of."""
    stretch = rows["stretches"].is_valid()
    return pc.if_else(stretch, spoken_ids(rows["id"]), rows["id"]) if pc.any(stretch).as_py() else rows["id"]


def _files_of(rows: pa.Table) -> pa.ChunkedArray:
    """As `_spoken`; of the channel of a file of which each is a recording, the file's."""
    ids = _spoken(rows)
    return pc.if_else(pc.fill_null(pc.greater(rows["channel"], EACH), False), file_ids(ids), ids)


def _same_channel(ids: pa.ChunkedArray, channels: pa.ChunkedArray, rows: pa.Table) -> np.ndarray:
    """bool [n]: whether rows are of the `channels` that units of `ids` ask for, or one of several where it is each."""
    own = _spoken(rows)
    apart = pc.and_(pc.equal(pc.fill_null(channels, -1), EACH), pc.not_equal(ids, own))
    alike = pc.and_(pc.equal(pc.fill_null(channels, -1), pc.fill_null(rows["channel"], -1)), pc.equal(ids, own))
    return pc.or_(apart, alike).to_numpy()


def _comparable(now: Stamp, before: Stamp, here: bool) -> tuple[Stamp, Stamp]:
    """What of two stamps is compared: all where they are of one location, else the sizes."""
    return (now, before) if here else (Stamp(now.size, None), Stamp(before.size, None))


class Containers:
    """The containers among the inputs."""

    def __init__(self, inputs: Discovered, moved: bool) -> None:
        self.moved = moved
        self.tasks = [task_of(inputs, one.kind, one.units) for one in inputs.found if one.kind != "files"]
        self.prefixed = inputs.prefixed
        self.places = {container.source: container for task in self.tasks for container in containers(task)}
        self.ids = {container.id: container for container in self.places.values()}
        self.nested = any(id_[: mark.start()] in self.ids for id_ in self.ids for mark in re.finditer("[/#]", id_))

    def members(self) -> set[bytes]:
        """The hashes of the ids of all recordings in the containers. Opens and reads them."""
        ids = [one.id for task in self.tasks for one in recordings(task)]
        return set(id_hashes(pa.array(ids, pa.string())).tolist())

    def compare(self, rows: pa.Table, hashes: np.ndarray, changed: Changes) -> bool:
        """Add what differs. Returns whether only the ids of all members would tell: where those have no prefix.

        Raises InputError for a member that has another id now: it would be there twice.
        """
        unsure = False
        other = ~self.as_before(rows)
        rows, hashes = rows.filter(pa.array(other)), hashes[other]
        for hash_, row in zip(hashes.tolist(), rows.to_pylist(), strict=True):
            self.refuse_other_id(row)
            container = self.owner_of(row["id"]) if self.prefixed else next(iter(self.places.values()))
            if container is None or self.has(row, container):
                continue
            if self.prefixed:
                self.add(hash_, row, container, changed)
            else:
                unsure = True
        return unsure

    def as_before(self, rows: pa.Table) -> np.ndarray:
        """bool [n]: rows that need no other look. Most of a rerun's are read from what a container still is, under an
        id of it; the rows of a part have few containers, of which each is looked at once."""
        found = np.zeros(len(rows), bool)
        inside = pc.list_element(pc.split_pattern(pc.fill_null(rows["source"], ""), "::", max_splits=1), 0)
        names = inside.unique().to_pylist()
        if self.nested or len(names) * ROWS_OF_A_CONTAINER > len(rows):
            return found
        for container in (self.places[name] for name in names if name in self.places):
            at = np.flatnonzero(pc.equal(inside, container.source))
            mine = rows.take(at)
            alike = mine.group_by(["source_size", "source_version", "channel"]).aggregate([])
            if len(alike) == 1 and self.has(mine.slice(0, 1).to_pylist()[0], container):
                found[at] = pc.equal(pc.starts_with(mine["id"], f"{container.id}/"), self.prefixed)
        return found

    def refuse_other_id(self, row: dict) -> None:
        """Raise InputError where a member of a container has its id with a prefix now, and had it without, or the
        reverse."""
        place = container_of(row["source"] or "")
        container = self.places.get(place or "")
        if place is None or container is None:
            return
        member = row["source"].removeprefix(f"{place}::")
        begins = f"{container.id}/"
        if row["id"].startswith(begins) != self.prefixed and (self.prefixed or not member.startswith(begins)):
            ways = ("the only input", "one of several inputs")
            then, now = ways if self.prefixed else reversed(ways)
            raise InputError(
                f"{row['source']} is in the run as {row['id']!r}: {place} was {then} then, and is {now} now, which "
                "gives its recordings other ids. They would be there twice. Give the inputs as they were given before "
                "(to `voxmill retry` with --inputs), or --out a new folder."
            )

    def compare_members(self, rows: pa.Table, hashes: np.ndarray, changed: Changes, lone: set[bytes]) -> None:
        """Add rows of other content that have the id of a member of the only container: `lone`, hashes."""
        (container,) = self.places.values()
        owners = id_hashes(_spoken(rows) if container.channel != EACH else _files_of(rows)).tolist()
        for owner, hash_, row in zip(owners, hashes.tolist(), rows.to_pylist(), strict=True):
            if owner in lone and not self.has(row, container):
                self.add(hash_, row, container, changed)

    def add(self, hash_: bytes, row: dict, container: Container, changed: Changes) -> None:
        """Add a row that `container` does not have as it was read."""
        changed.other_channels |= not as_asked(row, container)
        changed.add(hash_, row["id"], _told(row), _told_of(container))

    def has(self, row: dict, container: Container) -> bool:
        """Whether a committed row was read from what `container` is now."""
        source = row["source"] or ""  # parts of other writers may not say it
        here = source == container.source or source.startswith(f"{container.source}::")
        known = Stamp(row["source_size"], row["source_version"])
        return (
            as_asked(row, container)
            and (here or self.moved)
            and same_content(*_comparable(container.stamp, known, here))
        )

    def owner_of(self, id_: str) -> Container | None:
        """The container among whose recordings' ids `id_` is: its own id, and "/" or "#" behind it."""
        ends = [end for end, mark in enumerate(id_) if mark in "/#"]
        return next((self.ids[id_[:end]] for end in (len(id_), *reversed(ends)) if id_[:end] in self.ids), None)


def as_asked(row: dict, container: Container) -> bool:
    """Whether a committed row is of the channels that are asked for of `container`."""
    return row["channel"] is not None if container.channel == EACH else row["channel"] == container.channel


def _told(row: dict) -> str:
    known = Stamp(row["source_size"], row["source_version"])
    return told_bounds(row["source"], known, row["start_s"], row["end_s"], row["channel"])


def _told_of(container: Container) -> str:
    return told_bounds(container.source, container.stamp, channel=container.channel)


def told_bounds(
    source: str | None,
    stamp: Stamp,
    start_s: float | None = None,
    end_s: float | None = None,
    channel: int | None = None,
) -> str:
    """Source, bounds, channel, size and version in words, for messages."""
    words = [source or "an unknown location"]
    if start_s or end_s is not None:
        words.append(f"{start_s or 0:g} to {'the end' if end_s is None else f'{end_s:g}'} s")
    if channel is not None:
        words.append("each channel" if channel == EACH else f"channel {channel}")
    words += [f"{stamp.size:,} bytes"] if stamp.size is not None else []
    words += [f"version {stamp.version}"] if stamp.version is not None else []
    return ", ".join(words)

"""All inputs as the user typed them -> what they hold together, on the driver. Rows stay in Arrow.

Ids are relative to the input given: below a folder or a glob's fixed part, the path; a single file, its name; a
manifest, its "id" column or the path as written; in a container, its own id, "/" and the member's name, or the bare
member's name where the container is the only input.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError, listed, plural
from pipeline.schema import EACH, file_ids, spoken_ids
from pipeline.sources.discover import discover
from pipeline.sources.expand import expand
from pipeline.sources.formats import suffixes
from pipeline.sources.found import Found, Rules
from pipeline.sources.passed_over import in_words
from pipeline.sources.task import UNIT_SCHEMA, has_split
from pipeline.storage.access import DEFAULT, Access
from pipeline.storage.id_set import among, id_set, repeated
from pipeline.storage.location import redact

MAX_NOTES = 10
"""Of how inputs were understood: a corpus may have a thousand manifests."""
TABLES = STREAMED, SAVED, FRAME = "_ex_iterable", "save_to_disk", "columns"
"""Attributes of datasets' IterableDataset, of its others, and of data frames: their rows may be decoded or fetched."""


@dataclass(frozen=True)
class Discovered:
    """What the inputs hold."""

    found: list[Found]
    carried: pa.Schema  # columns that travel to the output, under names that it does not use itself
    passed_over: Counter[str]  # hidden files and folders, and files that are no audio, by suffix
    runs: list[str]  # runs below the inputs, which are passed over too
    column: str | None
    access: Access
    notes: list[str]  # how inputs were understood, for the user
    channel: int | None  # of what no manifest says it: as "@channel" in UNIT_SCHEMA
    vad: bool = False  # stretches of speech are the recordings

    @property
    def recordings(self) -> int | None:
        """How many, where no file or container must be opened to know."""
        counts = [one.recordings if one.kind != "files" or not has_split(one.units) else None for one in self.found]
        return None if self.vad or None in counts else sum(count or 0 for count in counts)

    @property
    def prefixed(self) -> bool:
        """Whether the ids of a container's recordings start with the container's own."""
        return not (len(self.found) == 1 and self.found[0].alone)


def named(inputs: str | PathLike[str] | Iterable[str | PathLike[str]]) -> list[str]:
    """One input or many, as text. Raises InputError for what is neither a path nor a URI, before it takes the next."""
    if isinstance(inputs, str | PathLike):
        return [fspath(inputs)]
    whole = isinstance(inputs, Mapping) or any(hasattr(inputs, name) for name in TABLES)  # their items are no inputs
    return [_path(one) for one in (inputs if isinstance(inputs, Iterable) and not whole else [inputs])]


def _path(one: object) -> str:
    if isinstance(one, str | PathLike):
        return fspath(one)
    some = list(one.values())[:1] if isinstance(one, Mapping) else []  # of splits
    if any(hasattr(each, STREAMED) for each in (one, *some)):
        advice = "A streamed dataset: give its files, 'hf://datasets/OWNER/NAME/**/*.parquet'."
    elif hasattr(one, SAVED):
        advice = "A datasets object: ds.save_to_disk(DIR), then give DIR."
    elif hasattr(one, FRAME):
        advice = "A table of paths: write it to a manifest (Parquet or CSV), then give that."
    else:
        advice = "Audio in memory is written to files first (soundfile.write), or encoded by Codec.encode."
    raise InputError(f"An input is a {type(one).__name__}; expected paths and URIs. {advice}")


def discover_all(
    inputs: Sequence[str],
    column: str | None = None,
    access: Access = DEFAULT,
    *,
    root: str | None = None,
    channel: int | None = None,
    vad: bool = False,
) -> Discovered:
    """What `inputs` hold. `column` names the path (or audio) column of manifests and Parquet shards; relative paths of
    manifests start at `root`, by default at the manifest's folder. `channel`, as "@channel" in UNIT_SCHEMA, is of every
    recording of which no manifest says another. `vad`: the recordings are the stretches of speech in what is found.

    Raises InputError: a missing path, no audio, a scheme that is not allowed, two recordings of one id, columns that do
    not fit together.
    """
    rules, passed_over = Rules(column, access, root), Counter[str]()
    found: list[Found] = []
    runs: list[str] = []
    for location in (one for given in inputs for one in expand(given)):
        more, passed, inside = discover(location, rules)
        found += more
        passed_over += passed
        runs += inside
    if not sum(one.units.num_rows for one in found):
        raise InputError(_nothing(inputs, passed_over, runs))
    carried = unify(found)
    refuse_duplicates(found)
    if channel is not None:
        found = [_of_channel(one, channel) for one in found]
        refuse_channel_ids(found)
    if vad:
        refuse_segments(found)
    notes = [note for one in found for note in one.notes]
    if len(notes) > MAX_NOTES:
        notes = [*notes[:MAX_NOTES], f"and {len(notes) - MAX_NOTES:,} more of this kind"]
    return Discovered(found, carried, passed_over, runs, column, access, notes, channel, vad)


def unify(found: Sequence[Found]) -> pa.Schema:
    """One schema for the columns that travel. Integers and floats widen; other conflicts name both inputs."""
    whole, origin = pa.schema([]), dict[str, tuple[pa.DataType, str]]()
    for one in found:
        try:
            whole = pa.unify_schemas([whole, one.carried], promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            raise InputError(_conflict(one, origin)) from None
        for column in one.carried:
            origin.setdefault(column.name, (column.type, one.source))
    return whole


def _conflict(one: Found, origin: dict[str, tuple[pa.DataType, str]]) -> str:
    for column in one.carried:
        kind, source = origin.get(column.name, (column.type, ""))
        try:
            pa.unify_schemas([pa.schema([(column.name, kind)]), pa.schema([column])], promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return (
                f"column {column.name!r} is {kind} in {source} and {column.type} in {one.source}: columns that travel"
                " need one type; convert or rename one of them"
            )
    return f"the columns of {one.source} do not fit those of the other inputs"


def refuse_duplicates(found: Sequence[Found]) -> None:
    """Two recordings, or two containers, of one id are an InputError that names both."""
    named = [_named(one) for one in found]
    twice = repeated(id_set(pa.chunked_array([chunk for one in named for chunk in one["@id"].chunks], pa.string())))
    if not len(twice):
        return
    rows = ((one["@id"], np.flatnonzero(among(one["@id"], twice))) for one in named)
    first = next(ids[int(numbers[0])].as_py() for ids, numbers in rows if len(numbers))
    sources, origins = [], []
    for one, names in zip(found, named, strict=True):
        for row in np.flatnonzero(pc.equal(names["@id"], first).to_numpy())[:2].tolist():
            sources.append(f"{redact(names['@location'][row].as_py())} (from {one.source}, row {row})")
            origins.append((one.source, names["@location"][row].as_py(), names))
    advice = 'Ids are relative to each input: give their common parent folder, or a manifest with an "id" column'
    if origins[0][2] is origins[1][2]:
        advice = 'They are of one input: give each a name of its own, or an id in a column "id" of a manifest'
    elif origins[0][:2] == origins[1][:2]:
        advice = "The input is given twice: leave one out"
    raise InputError(f"two recordings have the id {first!r}: {sources[0]} and {sources[1]}. {advice}")


def _of_channel(one: Found, channel: int) -> Found:
    """`one`, the setting's `channel` where it names none; a container's task has it."""
    if one.kind != "files":
        return one
    at = one.units.schema.get_field_index("@channel")
    filled = pc.fill_null(one.units["@channel"], channel)
    return replace(one, units=one.units.set_column(at, UNIT_SCHEMA.field("@channel"), filled))


def refuse_channel_ids(found: Sequence[Found]) -> None:
    """A recording that has the id of a channel of a file of which each channel is one is an InputError."""
    units = [one.units for one in found if one.kind == "files"]
    apart = [table["@id"].filter(pc.equal(table["@channel"], EACH)) for table in units]
    alike = [table["@id"].filter(pc.match_substring_regex(table["@id"], r"@ch\d+$")) for table in units]
    for ids in filter(len, alike):
        for split in map(id_set, apart):
            clash = ids.filter(pa.array(among(file_ids(ids), split)))
            if len(clash):
                one, file = clash[0].as_py(), file_ids(clash)[0].as_py()
                raise InputError(
                    f"the recording {one!r} has the id that a channel of {file!r} gets under input.channels=split:"
                    " give one of them another id"
                )


def refuse_segments(found: Sequence[Found]) -> None:
    """Where stretches of speech become recordings, a segment of a manifest is an InputError, and so is a recording that
    has the id of such a stretch of another one."""
    tables = [one.units for one in found if one.kind == "files"]
    for table in tables:
        given = pc.or_(pc.is_valid(table["@start_s"]), pc.is_valid(table["@end_s"]))
        if pc.any(given).as_py():
            raise InputError(
                f"the manifest gives the times of {plural(pc.sum(given).as_py(), 'segment')}, first of"
                f" {table['@id'][pc.index(given, True).as_py()].as_py()!r}, and"
                " input.vad finds them itself: set input.vad=none, or leave the times out of the manifest"
            )
    ids = pa.chunked_array([chunk for table in tables for chunk in table["@id"].chunks], pa.string())
    alike = pa.chunked_array([one.filter(pc.not_equal(spoken_ids(one), one)) for one in ids.chunks], pa.string())
    if not len(alike):
        return
    known, spoken = id_set(ids), spoken_ids(alike)
    clash = alike.filter(pa.array(among(spoken, known) | among(file_ids(spoken), known)))
    if len(clash):
        raise InputError(
            f"the recording {clash[0].as_py()!r} has an id as stretches of speech in another recording get under"
            " input.vad: give one of them another id"
        )


def _named(one: Found) -> pa.Table:
    """A container may be several units (of one row group each, say) under one id."""
    names = one.units.select(["@id", "@location"])
    return names if one.kind == "files" else names.group_by(["@id", "@location"], use_threads=False).aggregate([])


def _nothing(inputs: Sequence[str], passed_over: Counter[str], runs: Sequence[str]) -> str:
    manifests = [suffix for suffix in suffixes(listed=False) if not suffix.endswith(".gz")]
    seen = [in_words(passed_over)] if passed_over or not runs else []
    seen += [f"{plural(len(runs), 'run')} ({listed(runs, 3)})"] if runs else []
    return (
        f"no audio found in {', '.join(redact(location) for location in inputs) or 'no inputs'}: passed over"
        f" {' and '.join(seen)}; expected files that end in {' '.join(suffixes())};"
        f" a manifest ({' '.join(manifests)} .parquet) must be named itself"
    )

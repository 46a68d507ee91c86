"""A tar shard (WebDataset naming) -> its recordings. The text of a recording's .json and .txt siblings travels."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, cast

import pyarrow as pa

from pipeline.archive import TEXT_SUFFIXES, Archive, Member, fail, read_members
from pipeline.errors import DuplicateId, RecordingError, UnsupportedAudio
from pipeline.files import redact
from pipeline.names import clean_id
from pipeline.task import Item

TAR_CARRIED = pa.schema([(suffix, pa.string()) for suffix in TEXT_SUFFIXES])
"""The columns of every tar shard: which siblings it has is known only once it is read."""
MAX_TEXT_BYTES = 16 << 20
"""Of one sibling: it becomes a cell of every row of its recording."""


@dataclass(frozen=True)
class Shard:
    """A tar file and how its recordings are named."""

    id: str
    archive: Archive
    prefixed: bool  # recordings' ids start with the shard's own and "/"
    carried: pa.Schema

    @property
    def source(self) -> str:
        return clean_id(redact(self.archive.location))

    def columns(self) -> dict[str, pa.Scalar]:
        """The carried columns of a recording without siblings."""
        return {column.name: pa.scalar(None, column.type) for column in self.carried}


def members(shard: Shard, done: frozenset[str]) -> Iterator[Item]:
    """Every recording of `shard` that is not in `done`. Where the shard breaks, a last item with its own id."""
    seen: dict[str, int] = {}
    group: list[Member] = []
    failure = None
    try:
        for member in read_members(shard.archive):
            if group and member.key != group[0].key:
                yield from _fresh(group, shard, seen, done)
                group = []
            group.append(member)
    except RecordingError as error:
        failure = error
    yield from _fresh(group, shard, seen, done)
    if failure is not None and shard.id not in done:
        yield Item(shard.id, shard.source, shard.id, shard.columns(), partial(fail, failure))


def _fresh(group: list[Member], shard: Shard, seen: dict[str, int], done: frozenset[str]) -> Iterator[Item]:
    return (item for item in list(_recordings(group, shard, seen)) if item.id not in done)


def _recordings(group: list[Member], shard: Shard, seen: dict[str, int]) -> Iterator[Item]:
    """The audio members of one key. `seen` (id -> offset) grows."""
    columns = shard.columns()
    broken: RecordingError | None = None
    try:
        columns |= {m.suffix: pa.scalar(_text(m), pa.string()) for m in group if m.suffix in TEXT_SUFFIXES}
    except RecordingError as e:
        broken = e
    for member in group:
        if not member.is_audio:
            continue
        source = f"{shard.source}::{member.name}"
        id = f"{shard.id}/{member.name}" if shard.prefixed else member.name
        error: RecordingError | None = broken
        if id in seen:
            error = DuplicateId(
                f"{source}: a second member of this name at byte {member.offset}, the first is at byte {seen[id]};"
                " the members of a shard need different names"
            )
            id = next(other for number in range(2, len(seen) + 3) if (other := f"{id}#{number}") not in seen)
        seen[id] = member.offset
        yield Item(id, source, member.name, columns, partial(fail, error) if error else member.open)


def _text(member: Member) -> str:
    with member.open() as file:
        content = cast(BinaryIO, file).read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise UnsupportedAudio(f"its {member.name} is over {MAX_TEXT_BYTES >> 20} MiB: too long for a column of text")
    return content.decode(errors="replace")

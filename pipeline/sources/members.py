"""The members of an archive (WebDataset naming) -> its recordings. The text of .json and .txt siblings travels.

The sibling of spk.001.wav is spk.001.txt; where there is none, that of WebDataset's key, spk.txt.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from pipeline.audio.suffixes import AUDIO_SUFFIXES
from pipeline.errors import DuplicateId, RecordingError, UnexpectedError, UnsupportedAudio
from pipeline.sources.task import Container, InputRecording
from pipeline.storage.text import is_hidden
from pipeline.storage.translate import reason

TEXT_SUFFIXES = ("json", "txt")
CARRIED = pa.schema([(suffix, pa.string()) for suffix in TEXT_SUFFIXES])
"""The columns of every archive: which siblings it has is known only once it is read."""
MAX_TEXT_BYTES = 16 << 20
"""Of one sibling: it becomes a cell of every row of its recording."""

WANTED_SUFFIXES = (*AUDIO_SUFFIXES, *(f".{suffix}" for suffix in TEXT_SUFFIXES))

Opener = Callable[[], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True)
class Member:
    """One audio or text file."""

    name: str
    key: str  # as `key_of` says
    stem: str  # the name up to the last dot of its last part
    suffix: str  # all behind that dot, in lower case
    offset: int  # of its content, in the uncompressed archive
    open: Opener

    @property
    def is_audio(self) -> bool:
        return self.name.lower().endswith(AUDIO_SUFFIXES)


def member_of(name: str, offset: int, opener: Opener) -> Member:
    """The member called `name` (as `clean_id` makes it)."""
    folder, slash, base = name.rpartition("/")
    stem, _, suffix = base.rpartition(".")
    return Member(name, key_of(name), folder + slash + stem, suffix.lower(), offset, opener)


def key_of(name: str) -> str:
    """WebDataset's key: the name up to the first dot of its last part."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def is_wanted(name: str) -> bool:
    """True for audio and text, unless hidden."""
    return not is_hidden(name) and name.lower().endswith(WANTED_SUFFIXES)


@contextmanager
def fail(error: RecordingError) -> Iterator[BinaryIO]:
    """The open of what is known to be broken."""
    raise error
    yield  # makes it a context manager


def broken(container: Container, error: RecordingError) -> InputRecording:
    """What comes in the place of recordings that are not found in a container: one whose open raises `error`."""
    return InputRecording(
        container.failure_id,
        container.source,
        container.id,
        container.nulls(),
        partial(fail, error),
        stamp=container.stamp,
        channel=container.channel,
    )


def unexpected(container: Container, error: Exception) -> UnexpectedError:
    """What reading `container` raised and nobody thought of: one odd container must not end a run of millions."""
    return UnexpectedError(f"{container.source}: {reason(error)}; please report it with the file")


class Seen(NamedTuple):
    """The ids of an archive so far, with the offsets of their members, and how often each came again."""

    offsets: dict[str, int]
    again: Counter[str]


def recordings(archive: Container, members: Iterator[Member], done: frozenset[str]) -> Iterator[InputRecording]:
    """Every recording that is not in `done`; siblings lie beside each other. Where `members` breaks, a last one under
    the archive's own id fails with it."""
    seen = Seen({}, Counter())
    group: list[Member] = []
    why: RecordingError | None = None
    try:
        for member in members:
            if group and member.key != group[0].key:
                full, group = group, [member]  # else it would come twice where this breaks
                yield from _fresh(full, archive, seen, done)
            else:
                group.append(member)
    except RecordingError as error:
        why = error
    except Exception as error:
        why = unexpected(archive, error)
    yield from _fresh(group, archive, seen, done)
    if why is not None and archive.id not in done:
        yield broken(archive, why)


def _fresh(group: list[Member], archive: Container, seen: Seen, done: frozenset[str]) -> Iterator[InputRecording]:
    return (one for one in list(_of_key(group, archive, seen)) if one.id not in done)


def _of_key(group: list[Member], archive: Container, seen: Seen) -> Iterator[InputRecording]:
    """The audio members of one key. `seen` grows."""
    texts = {(m.stem, m.suffix): m for m in group if m.suffix in TEXT_SUFFIXES}
    read = cache(_text)  # several recordings may share a text
    for member in group:
        if not member.is_audio:
            continue
        columns = archive.nulls()
        error: RecordingError | None = None
        try:
            columns |= {m.suffix: pa.scalar(read(m), pa.string()) for m in _siblings(member, texts)}
        except RecordingError as e:
            error = e
        except Exception as e:
            error = unexpected(archive, e)
        source = f"{archive.source}::{member.name}"
        id = f"{archive.id}/{member.name}" if archive.prefixed else member.name
        if id in seen.offsets:
            error = DuplicateId(
                f"{source}: a second member of this name at byte {member.offset}, the first is at byte"
                f" {seen.offsets[id]}; the members of a shard need different names"
            )
            name = id
            while id in seen.offsets:
                seen.again[name] += 1
                id = f"{name}#{seen.again[name] + 1}"
        seen.offsets[id] = member.offset
        yield InputRecording(
            id,
            source,
            member.name,
            columns,
            partial(fail, error) if error else member.open,
            stamp=archive.stamp,
            channel=archive.channel,
        )


def _siblings(member: Member, texts: dict[tuple[str, str], Member]) -> Iterator[Member]:
    """Of each suffix, the text of the member's own name, else that of its key. `texts`: (stem, suffix) -> member."""
    for suffix in TEXT_SUFFIXES:
        found = texts.get((member.stem, suffix)) or texts.get((member.key, suffix))
        if found is not None:
            yield found


def _text(member: Member) -> str:
    """A sibling's text without a byte order mark, which JSON parsers refuse; a .txt without the line ends behind it,
    which are the file's and not the transcript's."""
    with member.open() as file:
        content = file.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise UnsupportedAudio(f"its {member.name} is over {MAX_TEXT_BYTES >> 20} MiB: too long for a column of text")
    text = content.decode("utf-8-sig", errors="replace")
    return text.rstrip("\r\n") if member.suffix == "txt" else text

"""The sources of recordings inside a container ("shard.tar::a.wav") -> these recordings, found in it again."""

import itertools
import re
from collections.abc import Iterable, Iterator

from pipeline.errors import UnreadableAudio
from pipeline.sources.formats import FORMATS, recordings
from pipeline.sources.plan import plan
from pipeline.sources.task import InputRecording
from pipeline.storage.location import redact

_SUFFIXES = (suffix for kind, one in FORMATS.items() if kind not in ("files", "manifest") for suffix in one.suffixes)
_CONTAINER = re.compile(rf"(.*?({'|'.join(map(re.escape, _SUFFIXES))}))::", re.IGNORECASE | re.DOTALL)


def container_of(source: str) -> str | None:
    """ "a.tar" of the source "a.tar::b.wav"; None of a file. Names may have "::" themselves: "a.tar::b::c.wav"."""
    found = _CONTAINER.match(source)
    return found[1] if found else None


def find(container: str, sources: Iterable[str], column: str | None = None) -> Iterator[InputRecording]:
    """Those of `sources` that `container` still holds, in its order; it is read no further than the last of them.

    `column`: of the audio in a Parquet shard (`input.column`). Raises VoxmillError for a container that is gone.
    """
    wanted = set(sources)
    for found in itertools.chain.from_iterable(map(recordings, plan([container], column=column).tasks)):
        if found.source in wanted:
            yield found
            wanted.remove(found.source)
            if not wanted:
                return


def content(container: str, source: str, column: str | None = None) -> bytes:
    """The bytes of the recording at `source`, in `container`. Raises VoxmillError for one that is not there now."""
    for found in find(container, [source], column):
        return read(found)
    raise UnreadableAudio(f"{redact(container)} holds no {source.removeprefix(container)[2:]} any more")


def read(found: InputRecording) -> bytes:
    """The bytes of a recording. Raises RecordingError."""
    with found.open() as file:
        return file.read()

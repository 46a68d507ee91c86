"""The sources of recordings inside a container ("shard.tar::a.wav") -> these recordings, found in it again."""

import itertools
from collections.abc import Iterable, Iterator

from pipeline.errors import UnreadableAudio
from pipeline.sources.formats import recordings
from pipeline.sources.plan import plan
from pipeline.sources.task import InputRecording
from pipeline.storage.location import redact


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


def content(source: str, column: str | None = None) -> bytes:
    """The bytes of the recording at `source`. Raises VoxmillError for one that is not there any more."""
    container = source.rpartition("::")[0]
    for found in find(container, [source], column):
        return read(found)
    raise UnreadableAudio(f"{redact(container)} holds no {source.removeprefix(container)[2:]} any more")


def read(found: InputRecording) -> bytes:
    """The bytes of a recording. Raises RecordingError."""
    with found.open() as file:
        return file.read()

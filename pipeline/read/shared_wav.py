"""A WAV that several read tasks share -> the chunks of one of them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from actors.contract import output_length
from pipeline.audio.chunk import Chunk, chunk_count, context_of, cut
from pipeline.audio.decode import Audio, open_audio
from pipeline.audio.resample import resample_from, start_before
from pipeline.errors import UnreadableAudio
from pipeline.read.reading import Reading
from pipeline.sources.split import shareable
from pipeline.sources.task import InputRecording, Range


def changed(before: str, now: str) -> str:
    """What is said of a file that is another one than before."""
    return f"it changed while it was read, from {before} to {now}; keep inputs as they are until the run is complete"


def shared_chunks(
    item: InputRecording,
    part: Range,
    how: Reading,
    skip: frozenset[int],
    opened: Callable[[], AbstractContextManager[BinaryIO]],
) -> Iterator[tuple[Chunk, int, Audio]]:
    """The chunks `part` of `item` but those in `skip`, and how many it has in all, which its header tells.

    `opened` gives the file's bytes. Raises RecordingError, also where it is another file than was planned. A sample
    that is not finite fails the range that holds it; what other ranges gave is dropped when the run settles.
    """
    wanted = [chunk for chunk in range(part.first_chunk, part.last_chunk + 1) if chunk not in skip]
    if not wanted:
        return
    with opened() as file:
        wav = shareable(file)
    if wav is None or wav.samples != part.samples:
        seen = "no whole WAV" if wav is None else f"{wav.samples} samples"
        raise UnreadableAudio(f"{item.name}: {changed(f'{part.samples} samples', seen)}")
    how.wanted.check(wav.samples / wav.rate, item.name)
    chunks = chunk_count(output_length(wav.samples, wav.rate), how.chunk_samples)
    begin = wanted[0] * how.chunk_samples - context_of(wanted[0], how.chunk_samples, how.context_samples)
    start_s = start_before(begin, wav.rate) / wav.rate  # exact: rounded back to the sample
    with (
        opened() as file,
        open_audio(file, item.name, start_s=start_s, channel=item.channel, **how.rules) as audio,
    ):
        blocks = resample_from(audio.blocks, audio.rate, begin)
        for chunk in cut(blocks, how.chunk_samples, how.context_samples, wanted[0]):
            if chunk.index not in skip:
                yield chunk, chunks, audio
            if chunk.index == wanted[-1]:
                return

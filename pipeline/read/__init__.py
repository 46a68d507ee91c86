"""The read stage: a read task -> chunk rows. Its recordings are decoded, resampled and cut as streams, file by file."""

from pipeline.read.chunks import read_chunks
from pipeline.read.reading import Reading

__all__ = ["Reading", "read_chunks"]

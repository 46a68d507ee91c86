"""The read stage: a read task -> chunk rows. Its recordings are decoded, resampled and cut as streams, file by file."""

from pipeline.read.chunks import read_chunks
from pipeline.read.reading import Reading
from pipeline.read.tables import ROWS_OF_A_TABLE

__all__ = ["ROWS_OF_A_TABLE", "Reading", "read_chunks"]

"""An error of a file system -> a VoxmillError that names the location, without credentials."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from pipeline.errors import VoxmillError
from pipeline.storage.location import redact
from pipeline.storage.network_retry import client_errors


@contextmanager
def errors_as(location: str, error: type[VoxmillError]) -> Iterator[None]:
    """Inside, errors of file systems are raised as `error`: one line with the location, without credentials."""
    try:
        yield
    except FileNotFoundError as e:
        cause = e.__cause__  # of fsspec: the server's answer
        if cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in (404, 410):
            raise error(f"{redact(location)}: no such file or folder") from None
        raise error(f"{redact(location)}: cannot be read ({reason(cause)})") from None
    except PermissionError as e:
        raise error(f"{redact(location)}: permission denied ({reason(e)})") from None
    except IsADirectoryError:
        raise error(f"{redact(location)}: a folder, where a file was expected") from None
    except (EOFError, UnicodeError, pa.ArrowException, *client_errors()) as e:
        raise error(f"{redact(location)}: cannot be read ({reason(e)})") from None


@contextmanager
def opening_errors_as(location: str, error: type[VoxmillError]) -> Iterator[None]:
    """`errors_as` for opening alone: also what clients raise for a location that they cannot make sense of."""
    with errors_as(location, error):
        try:
            yield
        except (ValueError, NotImplementedError) as e:
            if isinstance(e, OSError):
                raise
            raise error(f"{redact(location)}: cannot be read ({reason(e)})") from None


def reason(error: BaseException) -> str:
    """The class and text of an error in one line of at most 400 characters, without credentials."""
    text = " ".join(redact(str(error)).split())
    return f"{type(error).__name__}: {text}"[:400] if text else type(error).__name__

"""A folder as an object store that is slow to answer, which counts its requests."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyarrow.fs import LocalFileSystem, SubTreeFileSystem


class Store(SubTreeFileSystem):
    """`count` and `most`: by method, its calls, and those that were answered at the same time. Paths lie below
    `folder`."""

    def __init__(self, folder: Path, wait_s: float = 0.02) -> None:
        super().__init__(str(folder), LocalFileSystem())
        self.wait_s, self.lock = wait_s, threading.Lock()
        self.count, self.most, self.now = Counter[str](), Counter[str](), Counter[str]()

    def delete_file(self, path: str) -> None:
        with self._answering("delete_file"):
            super().delete_file(path)

    def delete_dir(self, path: str) -> None:
        with self._answering("delete_dir"):
            super().delete_dir(path)

    def get_file_info(self, what: Any) -> Any:
        for _ in what if isinstance(what, list) else [what]:  # as pyarrow asks a store: one path after the other
            with self._answering("get_file_info"):
                pass
        return super().get_file_info(what)

    def open_input_file(self, path: str) -> Any:
        with self._answering("open_input_file"):
            return super().open_input_file(path)

    def open_output_stream(self, path: str, **options: Any) -> Any:
        with self._answering("open_output_stream"):
            return super().open_output_stream(path, **options)

    @contextmanager
    def _answering(self, name: str) -> Iterator[None]:
        with self.lock:
            self.count[name] += 1
            self.now[name] += 1
            self.most[name] = max(self.most[name], self.now[name])
        time.sleep(self.wait_s)
        try:
            yield
        finally:
            with self.lock:
                self.now[name] -= 1

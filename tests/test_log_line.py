"""Lines of the log."""

import subprocess
import sys

CODE = """
import sys
from pipeline.log_line import log_line
sys.stdin.read()  # until the reader of stderr is gone
for line in range(3):
    log_line(str(line))
print("done")
"""


def test_a_log_without_a_reader_ends_nothing() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        assert started.stderr is not None
        started.stderr.close()
        started.stderr = None
        said, _ = started.communicate("")
    assert (started.returncode, said) == (0, "done\n")

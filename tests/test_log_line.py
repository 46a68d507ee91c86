"""Lines of the log."""

import subprocess
import sys

import pytest

from pipeline.log_line import log_line

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


def test_what_a_terminal_obeys_is_shown_instead(capsys: pytest.CaptureFixture[str]) -> None:
    log_line("column '\x1b]0;title\x07é\x9b31m':\n\tone")
    assert capsys.readouterr().err == "voxmill: column '\\x1b]0;title\\x07é\\x9b31m':\n\tone\n"

"""The scripts for Slurm: the array form really runs, with stand-ins for sbatch and scontrol; both are sound bash."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import open_run
from pipeline.cli.demo import CLIPS

CONFIGS = Path(__file__).parents[2] / "configs"
SBATCH = """#!/usr/bin/env bash
# sbatch --array=M-N SCRIPT ARGUMENTS...: the tasks one after the other
set -e
numbers=${1#--array=}
tasks=($(seq "${numbers%-*}" "${numbers#*-}"))
shift
for task in "${tasks[@]}"; do
  SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task SLURM_ARRAY_TASK_COUNT=${#tasks[@]} bash "$@"
done
"""
SCONTROL = """#!/usr/bin/env bash
echo "$@" >> "$0.said"
"""


@pytest.fixture
def commands(tmp_path: Path) -> dict[str, str]:
    """An environment with the stand-ins and this installation's `voxmill` on its path."""
    for name, text in (("sbatch", SBATCH), ("scontrol", SCONTROL)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return {**os.environ, "PATH": f"{path.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.mark.parametrize("name", ["slurm.sh", "slurm_array.sh"])
def test_bash_takes_it_and_usage_is_said(name: str) -> None:
    subprocess.run(["bash", "-n", CONFIGS / name], check=True)
    done = subprocess.run(["bash", CONFIGS / name, "corpus"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: sbatch")


RAY = """#!/usr/bin/env bash
# ray symmetric-run OPTIONS -- COMMAND, on the head: it ends with 0 where Ray does not start
[[ $RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT -gt 30 ]] || exit 9
[[ -z $STARTS ]] && exit 0
while [[ $1 != -- ]]; do shift; done
shift
"$@"
"""
VOXMILL = """#!/usr/bin/env bash
[[ "$*" == "tokenize a corpus --out out --set ray_address=auto --precision fp32" ]] && exit "$ENDS_WITH"
"""


@pytest.mark.parametrize(("starts", "ends_with", "code"), [("", 0, 1), ("yes", 0, 0), ("yes", 3, 3)])
def test_a_job_ends_as_its_run(
    tmp_path: Path, commands: dict[str, str], starts: str, ends_with: int, code: int
) -> None:
    for name, text in (("srun", '#!/usr/bin/env bash\nshift; "$@"\n'), ("ray", RAY), ("voxmill", VOXMILL)):
        path = tmp_path / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
    given = {"SLURM_JOB_NODELIST": "n", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "1"}
    given |= {"SLURM_GPUS_PER_TASK": "0", "STARTS": starts, "ENDS_WITH": str(ends_with), "TMPDIR": str(tmp_path)}
    job = ["bash", CONFIGS / "slurm.sh", "a corpus", "out", "--precision", "fp32"]
    done = subprocess.run(job, env=commands | given, capture_output=True, text=True, check=False)
    assert (done.returncode, "Ray did not start" in done.stderr) == (code, not starts), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


@pytest.mark.slow
def test_an_array_and_a_merge(tmp_path: Path, small_model: Path, commands: dict[str, str]) -> None:
    out = tmp_path / "out"
    options = ["--model", small_model, "--set", "reconstruct=false"]
    script = [CONFIGS / "slurm_array.sh", CLIPS, out, *options]
    task = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "2"}
    with subprocess.Popen(["bash", *script], env=commands | task) as preempted:
        while not list(out.glob("shard-0/.lock*")):
            assert preempted.poll() is None
            time.sleep(0.1)
        preempted.send_signal(signal.SIGTERM)
    assert preempted.returncode == 0
    assert (tmp_path / "bin" / "scontrol.said").read_text() == "requeue 7_0\n"
    assert not (out / "shard-0" / "_SUCCESS").exists()
    subprocess.run(["sbatch", "--array=0-1", *script], env=commands, check=True)
    (out / "shard-1" / "_SUCCESS").unlink()
    subprocess.run(["sbatch", "--array=1-1", *script], env=commands | {"SHARDS": "2"}, check=True)
    merge = ["voxmill", "merge", out / "shard-0", out / "shard-1", "--out", out / "run"]
    subprocess.run(merge, env=commands, check=True)
    run = open_run(out / "run")
    assert len(run) == 7
    assert len(run.failures()) == 1

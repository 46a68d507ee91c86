#!/usr/bin/env bash
# One run on several nodes, which are one Ray cluster while it lasts:
#
#   sbatch --nodes=4 configs/slurm.sh CORPUS OUT [options of `voxmill tokenize`]
#
# OUT must be seen by all nodes. A job that is preempted, or comes to its time limit, is put back into the queue and goes
# on where it stopped. Its nodes are its own (--exclusive): at the end, every Ray on them is stopped.
#SBATCH --job-name=voxmill
#SBATCH --exclusive
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-task=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
set -euo pipefail
if (($# < 2)); then
  echo "usage: sbatch --nodes=4 $0 CORPUS OUT [options of voxmill tokenize]" >&2
  exit 2
fi
corpus=$1 out=$2
shift 2
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

ran=$(mktemp) # the run's exit code: `ray symmetric-run` ends with 0 where Ray does not start
trap 'rm -f "$ran"' EXIT
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=600 # seconds for all nodes to appear; Ray's own is 30

srun --nodes="$SLURM_JOB_NUM_NODES" ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$SLURM_GPUS_PER_TASK" -- \
  bash -c 'code=0; voxmill tokenize "$@" || code=$?; echo "$code" >"$0"; exit "$code"' \
  "$ran" "$corpus" --out "$out" --set ray_address=auto "$@" &
running=$!
requeue() {
  kill -TERM "$running" 2>/dev/null || true
  wait "$running" || true # what is committed stays
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
}
trap requeue TERM
code=0
wait "$running" || code=$?
if [[ ! -s $ran ]]; then
  echo "voxmill did not come to an end: Ray did not start on all nodes, or a node was lost (see above)" >&2
  exit $((code ? code : 1))
fi
exit "$(<"$ran")"

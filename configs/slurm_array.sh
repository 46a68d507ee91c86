#!/usr/bin/env bash
# Many independent runs, one for each task of a job array, each with its shard of the inputs and a Ray of its own:
#
#   sbatch --array=0-15 configs/slurm_array.sh CORPUS OUT [options of `voxmill tokenize`]
#   SHARDS=16 sbatch --array=3,7 configs/slurm_array.sh CORPUS OUT ...    # some of them again: of how many there are
#   voxmill merge OUT/shard-* --out OUT/run      # once all tasks have ended well
#
# A task that is preempted, or comes to its time limit, is put back into the queue and goes on where it stopped.
#SBATCH --job-name=voxmill
#SBATCH --gpus-per-task=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
set -euo pipefail
if (($# < 2)); then
  echo "usage: sbatch --array=0-15 $0 CORPUS OUT [options of voxmill tokenize]" >&2
  exit 2
fi
corpus=$1 out=$2 shard=$SLURM_ARRAY_TASK_ID
shift 2

voxmill tokenize "$corpus" --out "$out/shard-$shard" --shard "$shard/${SHARDS:-$SLURM_ARRAY_TASK_COUNT}" "$@" &
running=$!
requeue() {
  kill -TERM "$running" 2>/dev/null || true
  wait "$running" || true # what is committed stays
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$shard"
  exit 0
}
trap requeue TERM
wait "$running"

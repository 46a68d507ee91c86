"""What is known of a recording or of a run -> the HTML that a notebook shows for it."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from actors.contract import FRAME_RATE, SAMPLE_RATE
from pipeline.errors import plural
from pipeline.storage.location import redact
from pipeline.view.html import FIRST_S, recording_html, run_html

MOST_REASONS = 10


def show_recording(fields: Mapping[str, Any], wave: np.ndarray | None, missing: str) -> str:
    """`fields` of a `Recording` by name, the beginning of its reconstruction or why there is none: facts, a player,
    its wave, spectrogram and codes."""
    codes, duration_s = fields["codes"], fields["num_samples"] / SAMPLE_RATE
    facts = {
        "audio": f"{duration_s:.2f} s, {fields['source_rate']:,} Hz, {plural(fields['source_channels'], 'channel')}",
        "codes": f"int16 [{len(codes)}, {codes.shape[1]}]",
        "source": _near(fields["source"]) + _cut_of(fields),
        **fields["carried"],
    }
    shown = codes[: round(FIRST_S * FRAME_RATE)]
    return recording_html(fields["id"], facts, wave, shown, duration_s, missing)


def show_run(
    location: str,
    summary: Mapping[str, Any],
    recordings: int,
    failures: pa.Table,
    first: Sequence[Mapping[str, Any]],
) -> str:
    """`summary`: run.json, {} without one; `recordings`: how many are whole; `first`: fields of some, by name."""
    facts: dict[str, object] = {"recordings": f"{recordings:,}"}
    if counts := summary.get("counts"):
        facts |= {"audio": _length(counts["audio_s"]), "frames": f"{counts['frames']:,}"}
        facts |= {"skipped": f"{counts['skipped']:,}"} if counts["skipped"] else {}
    facts["failures"] = f"{len(failures):,}"
    if summary.get("attempts"):
        last = summary["attempts"][-1]
        facts["speed"] = f"{last['times_real_time']:,.1f} times real time ({last['wall_s']:,.1f} s)"
    if summary:
        facts["model"] = f"{summary['model']['id']}, sha256 {summary['model']['sha256'][:12]}"
        facts["computed"] = f"{summary['precision']} on {summary['device']}, attention {summary['attention']}"
    if summary.get("agreement_with_fp32"):
        facts["agreement"] = f"{summary['agreement_with_fp32'][0]:.2%} of codebook 0 as in fp32"
    facts |= {"warning": "; ".join(summary["warnings"])} if summary.get("warnings") else {}
    title = f"{redact(location)}: {summary.get('state', 'codes without run.json')}"
    return run_html(title, facts, _reasons(failures), _first(first))


def _reasons(failures: pa.Table) -> list[dict[str, object]]:
    """Failures by stage and error, the most frequent first, each with an example."""
    keys = list(zip(failures["stage"].to_pylist(), failures["error"].to_pylist(), strict=True))
    return [
        {"failures": f"{number:,}", "error": error, "stage": stage, "example": row["id"], "says": row["message"]}
        for (stage, error), number in Counter(keys).most_common(MOST_REASONS)
        for row in failures.slice(keys.index((stage, error)), 1).to_pylist()
    ]


def _first(recordings: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """A row each; columns that came with the input are last."""
    carried = dict.fromkeys(name for one in recordings for name in one["carried"])
    return [
        {
            "id": one["id"],
            "seconds": f"{one['num_samples'] / SAMPLE_RATE:.2f}",
            "Hz": one["source_rate"],
            "channels": one["source_channels"],
            "source": _near(one["source"]) + _cut_of(one),
            **{name: one["carried"].get(name, "") for name in carried},
        }
        for one in recordings
    ]


def _near(location: str) -> str:
    """A path below the working directory without that directory's name; other locations as they are."""
    here = os.path.join(os.getcwd(), "")
    return location.removeprefix(here)


def _cut_of(fields: Mapping[str, Any]) -> str:
    start_s, end_s, channel = fields["start_s"], fields["end_s"], fields["channel"]
    until = "the end" if end_s is None else f"{end_s:g} s"
    segment = "" if start_s is None and end_s is None else f", from {start_s or 0:g} s to {until}"
    return segment + ("" if channel is None else f", channel {channel}")


def _length(seconds: float) -> str:
    return f"{seconds / 3600:,.2f} h" if seconds >= 3600 else f"{seconds:,.1f} s"

"""`decode`: the recordings of a finished run, or of any Parquet with its schema -> WAVs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray

from actors.checkpoint import find_model
from pipeline.cluster.session import session
from pipeline.errors import InputError, ModelError
from pipeline.job import prepare
from pipeline.run.reader import Run, open_run
from pipeline.settings import load_settings
from pipeline.storage.location import redact
from pipeline.waves import Decoded, decode_codes


def decode(
    run: str | Path | Run,
    out: str | Path,
    *,
    ids: list[str] | None = None,
    config: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    **overrides: Any,
) -> Decoded:
    """Decode recordings of `run` (all, or those in `ids`) to `out/<id>.wav`, PCM 16 at 24 kHz, `num_samples` long.

    The model is the run's, unless `model` names another copy of the same weights. Raises InputError for ids that the
    run does not have, OutputError for a finished run that lacks parts or holds others, ModelError for other weights.
    """
    opened = open_run(run)
    made_by = opened.summary().get("model", {})
    given = {key: value for key, value in overrides.items() if value is not None}
    default = {"model": made_by["id"]} if made_by else {}
    chosen = load_settings(config, {**default, **(settings or {}), **given})
    if ids is None:
        opened.refuse_other_parts()
    held = opened.holding(ids or [])
    if missing := [id_ for id_ in ids or [] if id_ not in held]:
        raise InputError(
            f"{redact(opened.location)} has no codes of {', '.join(map(repr, missing))}. The column id of its parts "
            "lists what it has."
        )
    model = find_model(chosen.model)
    with session(chosen):
        job = prepare(chosen, model, str(out), ray.cluster_resources(), ("decode",))
        if made_by and made_by["sha256"] != job.sha256:
            raise ModelError(
                f"The codes were made with weights {made_by['sha256'][:12]}..., but {chosen.model} holds "
                f"{job.sha256[:12]}.... Give --model a copy of {made_by['id']}."
            )
        return decode_codes(opened, ids, job.fs, job.run, job.decoding, job.waves)

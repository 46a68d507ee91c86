"""A row, whatever types its columns have -> one line of JSON."""

import base64
import json
import math
from datetime import date, time
from typing import Any


def json_line(value: dict[str, Any], escaped: bool = False) -> str:
    """One line of JSON, UTF-8 as it is or, `escaped`, ASCII; dates are ISO 8601, bytes Base64, NaN and infinities (no
    JSON) null."""
    try:
        return json.dumps(value, ensure_ascii=escaped, default=_as_json, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=escaped, default=_as_json)


def _as_json(value: Any) -> str:
    if isinstance(value, date | time):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inside) for name, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inside) for inside in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

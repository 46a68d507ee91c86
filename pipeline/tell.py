"""What a pool has finished -> the run's census and meter. Each of its actors imports this file: it imports little."""

import pyarrow as pa

from pipeline.cluster.keeper import Kept
from pipeline.cluster.spent import Spent, tell, this_node
from pipeline.run.bound import Counts, Place


def tell_finished(meter: Kept, census: Kept, stage: str, rows: pa.Table, busy_s: float) -> None:
    """Tell both of `rows`, which leave `stage` after a call of `busy_s`; does not wait."""
    node, node_id = this_node()
    counts, spent = Counts(), Spent()
    counts.see(rows, stage)
    census.tell("add", Place(node, stage, node_id), counts)
    spent.see(rows, stage, busy_s)
    tell(meter, stage, spent)

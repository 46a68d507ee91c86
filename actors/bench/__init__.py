"""Speed, memory and agreement of upstream and of this engine."""

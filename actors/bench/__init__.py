"""Speed, memory and equal codes of upstream and of this engine."""

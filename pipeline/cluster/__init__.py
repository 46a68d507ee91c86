"""Ray: joining or starting one, what each pool gets, what every node must have, progress."""

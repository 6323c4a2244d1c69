"""The check on a GPU: the plan of work, its schedule, the processes that do it, and what they find."""

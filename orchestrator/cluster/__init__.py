"""Ray's start and end, its nodes, and what of them a trial gets."""

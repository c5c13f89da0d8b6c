"""The parts of a study's HTML page: each makes one section from the study's rows, and nothing where it has none."""

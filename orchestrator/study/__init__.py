"""One run of a command: from a plan to its trials' ends and its table."""

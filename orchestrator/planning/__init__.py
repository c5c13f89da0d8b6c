"""From the words of a request to a study's trials, what they cost, and whether they fit the data."""

"""From MLflow's records to a table with its statistics, pictures and reports."""

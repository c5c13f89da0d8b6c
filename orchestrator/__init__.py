"""From words on the command line to a study's table: plan, schedule, tracking, progress."""

"""`python -m orchestrator.run new NAME`: a folder to start a study of one's own from."""

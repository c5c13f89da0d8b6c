"""Where things are kept, and which study refers to which artefact."""

"""What would fail an hour into a study, looked for before it starts."""

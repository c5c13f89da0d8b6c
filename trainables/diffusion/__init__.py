"""Noise schedules, the forward process and the samplers."""

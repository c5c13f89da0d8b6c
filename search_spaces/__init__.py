"""What a study varies: presets, ablation variants, controls."""

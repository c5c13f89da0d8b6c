"""One trial, whole: data, diffusion, U-Net, training, evaluation. Needs neither Ray nor MLflow."""

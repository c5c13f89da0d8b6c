"""The U-Net, its blocks and their cost."""

"""Train a run into its folder: the loop, augmentation, losses, devices and checkpoints."""

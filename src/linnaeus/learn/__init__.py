"""Learning: the machine, the loop, optimizers, objectives, checkpoints."""

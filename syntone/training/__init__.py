"""Training: runs, checkpoints, the loop, several processes."""

from syntone.training.checkpoint import load_checkpoint

__all__ = ["load_checkpoint"]

"""What the three scripts share that is neither a model nor a metric."""

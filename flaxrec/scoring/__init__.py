"""Pure functions of logits and labels: losses, the softmax in blocks, ranking metrics."""

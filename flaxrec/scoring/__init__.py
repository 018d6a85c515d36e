"""Pure functions of scores and labels: losses, the softmax in blocks, ranking metrics."""

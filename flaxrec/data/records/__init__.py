"""Records of the reference: finished contexts instead of interactions."""

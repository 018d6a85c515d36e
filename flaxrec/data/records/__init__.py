"""The reference's TFRecords: stored contexts instead of interactions."""

"""From files to training-ready arrays.

interactions (what a reader returns) <- movielens, tables, synthetic (the readers)
timelines (per-user order, vocabularies, feature columns) -> splits (which events are labels)
contexts (the last L activities before a label, gathered on the device)
histories (a context in the data's own ids, for the Recommender)
tfrecord -> examples -> records: the reference's finished examples instead, straight to timelines
"""

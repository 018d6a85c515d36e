"""From files to training-ready arrays.

sources (readers of files, the generator of the embedded data) -> interactions
timelines (each user's events in order; vocabulary, columns, gaps) -> splits (which are labels)
contexts, windows (the last L activities before labels, gathered on the device)
histories (a context in the data's own ids, for the Recommender)
records: the reference's finished examples instead, straight to timelines
dataset: all of it in one call; spec: what a model must know of the data
"""

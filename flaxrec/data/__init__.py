"""From files to training-ready arrays.

sources (readers of files, the synthetic generator) -> interactions
timelines (each user's events in order; vocabulary, columns, moments) -> splits (which are labels)
contexts, windows (the last L activities before labels, gathered on the device)
histories (a context in the data's own ids, for the Recommender)
records (the reference's TFRecord examples) -> timelines directly
dataset: all of it in one call; spec: what a model needs to know of the data
"""

"""The dual encoder in Flax NNX.

features -> encoders -> context_encoder, and label_encoder; dual_encoder joins them.
Shape letters: B batch, L context length, C channels of a group (or candidates, where said),
D width of the encodings, E embedding width, U LSTM units.
"""

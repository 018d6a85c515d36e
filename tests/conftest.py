"""Settings of all tests; its place also lets them import `helpers`."""

from hypothesis import settings

# The same examples every time: a failure is a change of the code, not of the draw.
settings.register_profile("house", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("house")

"""Settings of the unit tests: few examples each time, as they run at every commit."""

from hypothesis import settings

settings.register_profile("unit", max_examples=40, deadline=None)
settings.load_profile("unit")

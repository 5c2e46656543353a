"""How property tests run."""

from hypothesis import settings

settings.register_profile("crayai", deadline=None)  # a busy machine is no failure
settings.load_profile("crayai")

"""How hard the fuzz tests try: a little, and the same on every run; or, for `make fuzz`, much, and anew each time."""

import os

from hypothesis import HealthCheck, settings

#: `python -m tests.fuzz` sets it for the pytest that it starts.
PROFILE_VARIABLE = "FUZZ_PROFILE"

_BOTH = settings(
    deadline=None,
    print_blob=True,
    # One browser and one API serve all examples of a test, and each example says how it wants them.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("ci", _BOTH, max_examples=30, derandomize=True)
settings.register_profile("long", _BOTH, max_examples=300)

#: Decorates every fuzz test.
fuzz = settings.get_profile(os.environ.get(PROFILE_VARIABLE, "ci"))

"""Settings that all tests share."""

from hypothesis import HealthCheck, settings

# No test measures time, so that a slow or busy machine fails none.
settings.register_profile(
    "flock", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("flock")

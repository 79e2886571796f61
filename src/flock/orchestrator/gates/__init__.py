"""Is everything that one run needs here? Pure: time comes in as a value."""

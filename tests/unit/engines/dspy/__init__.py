"""The default engine and its parts."""

"""One module at a time, without I/O."""

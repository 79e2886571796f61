"""`flock board`: what lies in a board's file, and care of it."""

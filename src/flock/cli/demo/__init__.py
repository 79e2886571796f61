"""`flock demo`: a review of a Python source tree, done by agents on a board."""

"""The graph of a board before anything runs: data, and a drawing of it."""

"""What holds for anything that Hypothesis can think of."""

"""What looks wrong about a board before it runs."""

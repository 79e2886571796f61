"""What the user declares and what lies on the board."""

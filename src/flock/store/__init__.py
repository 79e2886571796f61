"""Where the board lasts."""

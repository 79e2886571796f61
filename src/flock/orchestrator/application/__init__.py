"""Boards as hosts use them: a request in, a result out."""

"""Answers of a small model under a grammar: how many validate at the first try, how long they take."""

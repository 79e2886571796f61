"""Boards in real processes that are killed at any moment: is anything lost, or there twice?"""

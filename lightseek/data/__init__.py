"""Synthetic pages: where letters and words come from, and how they are drawn and worn.

Knows nothing of models.
"""

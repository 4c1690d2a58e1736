"""Measuring a reader against pages whose true text is known.

`metrics` compares two texts, `suite` reads a folder and pools the figures of each set, `report` is
what comes out: JSON, a table on the terminal, a table in the documentation. None of them knows a
model: they see anything that turns files into documents.
"""

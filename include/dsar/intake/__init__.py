"""Reads rows of the source and the decisions of operators."""

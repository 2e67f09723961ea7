"""The package and the receipt of a request, and writing them to storage."""

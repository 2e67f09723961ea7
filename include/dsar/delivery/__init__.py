"""Makes the package and the receipt of a request, and writes them to storage."""

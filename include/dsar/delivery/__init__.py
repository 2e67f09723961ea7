"""What the person gets and what proves it: the receipt and the package. Pure rendering."""

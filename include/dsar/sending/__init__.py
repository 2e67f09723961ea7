"""What the submit stage is made of."""

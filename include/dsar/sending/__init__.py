"""The parts of the submit stage."""

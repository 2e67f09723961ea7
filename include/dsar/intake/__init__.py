"""What enters: rows of the source, their identifiers, regulations and decisions."""

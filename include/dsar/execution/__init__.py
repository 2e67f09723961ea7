"""Code that the stages of one account share."""

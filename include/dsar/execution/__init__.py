"""What the stages of one account share."""

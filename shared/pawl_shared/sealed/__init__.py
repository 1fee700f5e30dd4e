"""Text sealed per subject, and the keys to it."""

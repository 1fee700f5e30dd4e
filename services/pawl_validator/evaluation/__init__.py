"""Measurements of a candidate beside champion and base. Runs in a child process; the gates judge what it finds."""

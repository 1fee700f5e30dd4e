"""What people are shown: pure functions from stored events to plain values, for the API and the console alike."""

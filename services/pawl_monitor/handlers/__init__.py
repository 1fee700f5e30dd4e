"""What the runner calls: folds over events, and the effect that freezes a data set."""

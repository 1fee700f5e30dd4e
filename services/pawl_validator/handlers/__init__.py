"""What the runner calls: the fold over events, and the effects that it owes."""

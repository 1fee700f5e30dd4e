"""The monitor's decisions: pure functions of a frozen policy, an explicit state and an observation."""

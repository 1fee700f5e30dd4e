"""Decisions of the validator: pure functions of a frozen policy, an explicit state and an observation."""

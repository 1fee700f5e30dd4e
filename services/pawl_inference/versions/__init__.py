"""Which versions this replica serves, and how they come and go."""

"""From a dataset snapshot to training examples: pure steps, each counted in a quality report."""

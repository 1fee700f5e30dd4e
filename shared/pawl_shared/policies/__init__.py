"""What people decide beforehand: the contents of model.yaml and of experiments."""

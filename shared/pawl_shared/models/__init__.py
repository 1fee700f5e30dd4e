"""Models as files: bases, adapters, serving graphs."""

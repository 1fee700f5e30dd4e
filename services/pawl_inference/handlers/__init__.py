"""From a request to its answer and its record, without HTTP."""

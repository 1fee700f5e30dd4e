"""HTTP: routes, who may ask, and what is told in which shape."""

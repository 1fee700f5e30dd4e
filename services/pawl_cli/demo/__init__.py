"""The demo: a synthetic crowd, the story of what the services decide, and the chart at its end."""

"""Who may ask a service for what."""

"""HTTP: the JSON API, the live feed, logins, and the console's pages."""

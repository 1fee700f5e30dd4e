"""How alerts leave."""

"""What the topics tell, for people."""

"""What was answered and said of it, kept until Kafka has it."""

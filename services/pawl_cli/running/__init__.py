"""All of Pawl on this machine: processes, ports, the embedded Kafka."""

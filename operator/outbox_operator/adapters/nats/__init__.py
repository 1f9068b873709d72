"""NATS and JetStream: driver, streams, pull consumers, publishing, error codes."""

"""The ways into the emulated service: its own HTTP server, and moto."""

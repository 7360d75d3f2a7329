"""The emulated service itself, independent of HTTP libraries and of moto."""

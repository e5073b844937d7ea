"""Bytes and payloads: framing, schema, names, units. Knows no socket, clock or greenlet."""

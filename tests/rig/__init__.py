"""What tests stand on: both ends of a session without a network, a manual clock, faults by name."""

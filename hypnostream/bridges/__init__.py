"""Everything that enters or leaves the process: EDF, LSL, ZeroMQ, tables, pictures."""

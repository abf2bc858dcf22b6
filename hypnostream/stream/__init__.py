"""Time and samples: sources, clocks, ring buffer, conditioning, sensor quality and the 30 s grid."""

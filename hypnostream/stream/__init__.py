"""Time and samples: sources, clocks, conditioning, sensor quality and the 30 s grid."""

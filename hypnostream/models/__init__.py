"""Torch modules, each with step = chunk = whole sequence. Nothing here knows files, sockets or clocks."""

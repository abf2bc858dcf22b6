"""A model at work: bundle, backends, session. Knows nothing of files that hold recordings, nor of sockets."""

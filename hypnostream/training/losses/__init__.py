"""What training descends: one loss a file, each process's part adding up to the whole batch's."""

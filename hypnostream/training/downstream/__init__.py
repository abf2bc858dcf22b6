"""Step 3: fine-tuning, probes and few labels, for apnea and hypopnea."""

"""Recordings of many sets in one form, on disk as Parquet."""

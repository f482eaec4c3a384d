"""Whether a folder is what its user takes it for: files, records, frames."""

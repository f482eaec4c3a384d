"""How files and folders are written whole, held by one process, and read within limits and after a check."""

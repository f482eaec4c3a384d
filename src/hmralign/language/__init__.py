"""Words on poses: what can be said of a body, said of it, read from a typed sentence, and measured on joints."""

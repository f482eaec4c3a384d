"""Published data sets as they lie on disk -> annotated persons in the frame `cam`; one file per format."""

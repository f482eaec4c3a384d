"""Predictions as other systems write them, in their own formats: disk -> `data.prediction_file.PredictionFile`."""

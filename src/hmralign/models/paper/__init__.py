"""The papers' models at full size, tensor for tensor, so that published weights fit."""

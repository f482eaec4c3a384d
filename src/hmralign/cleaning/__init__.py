"""Which labels of a data set to keep: pure functions of the scores that a critic gave them."""

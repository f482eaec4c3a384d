"""A vision-language model as a critic: what it is asked, what its answers mean, how calls become scores of a group."""

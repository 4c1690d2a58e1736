"""Studies: questions to a model that one command answers with numbers and a plot."""

.PHONY: help setup fix check test test-slow docs

help:  ## show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST)

setup:  ## install the package and all that is needed to work on it
	python -m pip install -e '.[dev]'

fix:  ## format, and mend what can be mended
	ruff format .
	ruff check --fix .

check:  ## formatting, lint and types
	ruff format --check .
	ruff check .
	mypy

test:  ## the tests
	pytest

test-slow:  ## those that take minutes
	pytest -m slow

docs:  ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

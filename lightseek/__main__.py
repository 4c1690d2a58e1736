"""`python -m lightseek` is the command `lightseek`."""

from lightseek.cli import main

main(prog_name="lightseek")

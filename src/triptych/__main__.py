"""`python -m triptych`."""

from triptych.app.cli import main

main()

"""The command `triptych`, also as `python -m triptych`."""

import signal

# Ctrl-C while the command line is imported ends it without a traceback; `main` makes a KeyboardInterrupt of it again.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from triptych.app.cli import main

if __name__ == "__main__":
    main()

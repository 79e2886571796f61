"""Programs that are no servers: one that dies, is silent, chatters, or does not want to end."""

import signal
import sys

how = sys.argv[1]
if how == "dies":
    sys.stderr.write("the licence has expired\n")
    sys.exit(2)
elif how == "silent":
    sys.stdin.read()
elif how == "chatters":
    sys.stdout.write("Welcome to the chatter!\n" * 1000)
    sys.stdout.flush()
    sys.stdin.read()
elif how == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()

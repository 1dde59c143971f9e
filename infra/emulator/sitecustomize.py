"""Python reads this at start-up: infra/local.sh puts this folder on MiniStack's PYTHONPATH.

MiniStack's Lambda runtime API is a socketserver, which leaves Nagle's algorithm on. An answer sent in two pieces then
waits for the function's delayed ACK, 40 ms at every hop, and hides what the functions themselves take. AWS has no such
delay, so neither has the local stack.
"""

import socketserver

socketserver.StreamRequestHandler.disable_nagle_algorithm = True

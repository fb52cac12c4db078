"""Runs ClickHouse from libchdb.so until it is told to end: server.py LIBCHDB CONFIG

The library exports the clickhouse-local program. Its first query opens the HTTP port, its second reads standard
input, which is a pipe nobody writes to; so it serves until the pipe is closed, here on SIGTERM, and then
shuts down in order. SIGKILL is what it is anywhere: tables are as durable as ClickHouse's are.
"""

import ctypes
import os
import signal
import sys
import threading

QUERIES = "SYSTEM START LISTEN HTTP; SELECT count() FROM file('stdin', LineAsString) FORMAT Null"


def main(library, config):
    read_end, write_end = os.pipe()
    os.dup2(read_end, 0)
    signal.signal(signal.SIGTERM, lambda *_: os.close(write_end))

    run = ctypes.CDLL(library).chdb_query_cmdline
    run.restype = ctypes.c_void_p
    words = ["clickhouse-local", f"--config-file={config}", "--query", QUERIES]
    argv = (ctypes.c_char_p * (len(words) + 1))(*[word.encode() for word in words], None)
    # On a thread of its own, as Python handles signals on the main one only.
    server = threading.Thread(target=run, args=(len(words), argv))
    server.start()
    while server.is_alive():
        server.join(0.2)


main(sys.argv[1], sys.argv[2])

"""Measures execnet, for those figures of benches/calls.rs that it can do: with_execnet.py FIGURE [SSH-HOST SSH-CONFIG PYTHON-THERE]"""

import statistics
import sys
import time

import execnet

PIPELINED = 5000
ECHO = """
for item in channel:
    channel.send(item)
"""


def gateway(where):
    if not where:
        return execnet.makegateway("popen//python=" + sys.executable)
    host, config, python = where
    return execnet.makegateway("ssh=-F %s %s//python=%s" % (config, host, python))


def connect(where):
    times = []
    for _ in range(5):
        start = time.perf_counter()
        there = gateway(where)
        there.remote_exec("channel.send(None)").receive()
        times.append(time.perf_counter() - start)
        there.exit()
    print("connect %.3f ms" % (statistics.median(times) * 1e3))


def round_trip(where):
    channel = gateway(where).remote_exec(ECHO)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(100):
            channel.send(None)
            channel.receive()
        times.append((time.perf_counter() - start) / 100)
    print("round-trip %.2f us" % (statistics.median(times) * 1e6))


def pipelined(where):
    """As many items under way as calls of the others. The other end does not look up a function."""
    channel = gateway(where).remote_exec(ECHO)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        for _ in range(PIPELINED):
            channel.send(None)
        for _ in range(PIPELINED):
            channel.receive()
        times.append(time.perf_counter() - start)
    print("pipelined %.0f calls/s" % (PIPELINED / statistics.median(times)))


{"connect": connect, "round-trip": round_trip, "pipelined": pipelined}[sys.argv[1]](sys.argv[2:])
execnet.default_group.terminate(1)

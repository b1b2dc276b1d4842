"""Measures the figures of benches/calls.rs for Mitogen: with_mitogen.py FIGURE [SSH-HOST SSH-CONFIG PYTHON-THERE]"""

import statistics
import sys
import time

import mitogen.core
import mitogen.master
import mitogen.utils

CHUNK = 64 * 1024
CHUNKS = 1024
PIPELINED = 5000


def nothing():
    pass


def status(line):
    for entry in open("/proc/self/status"):
        if entry.startswith(line + ":"):
            return int(entry.split()[1])
    return 0


def flood(to, chunks):
    data = b"\7" * CHUNK
    for _ in range(chunks):
        to.send(mitogen.core.Blob(data))


def child(router, where):
    if not where:
        return router.local(python_path=sys.executable)
    host, config, python = where
    # Compression is Mitogen's default. It makes bulk data much slower.
    return router.ssh(hostname=host, ssh_args=["-F", config], python_path=python, compression=False)


def median_round_trip(context):
    times = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(100):
            context.call(nothing)
        times.append((time.perf_counter() - start) / 100)
    return statistics.median(times) * 1e6


def connect(router, where):
    times = []
    for _ in range(5):
        start = time.perf_counter()
        context = child(router, where)
        context.call(nothing)
        times.append(time.perf_counter() - start)
        context.shutdown(wait=True)
    print("connect %.3f ms" % (statistics.median(times) * 1e3))


def round_trip(router, where):
    print("round-trip %.2f us" % median_round_trip(child(router, where)))


def hops(router, where):
    first = child(router, where)
    near = median_round_trip(first)
    far = first
    for _ in range(3):
        far = router.local(via=far, python_path=sys.executable)
    print("hop %.2f us" % ((median_round_trip(far) - near) / 3))


def pipelined(router, where):
    context = child(router, where)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        replies = [context.call_async(nothing) for _ in range(PIPELINED)]
        for reply in replies:
            reply.get().unpickle()
        times.append(time.perf_counter() - start)
    print("pipelined %.0f calls/s" % (PIPELINED / statistics.median(times)))


def bulk(router, where):
    context = child(router, where)
    times = []
    for _ in range(3):
        receiver = mitogen.core.Receiver(router)
        start = time.perf_counter()
        done = context.call_async(flood, receiver.to_sender(), CHUNKS)
        for _ in range(CHUNKS):
            receiver.get().unpickle()
        done.get().unpickle()
        times.append(time.perf_counter() - start)
    print("bulk %.0f MiB/s" % (CHUNKS * CHUNK / 2**20 / statistics.median(times)))
    print("bulk-peak %d KiB" % context.call(status, "VmHWM"))


def resident(router, where):
    print("resident %d KiB" % child(router, where).call(status, "VmRSS"))


@mitogen.main(log_level="ERROR")
def main(router):
    figures = {
        "connect": connect,
        "round-trip": round_trip,
        "hops": hops,
        "pipelined": pipelined,
        "bulk": bulk,
        "resident": resident,
    }
    figures[sys.argv[1]](router, sys.argv[2:])

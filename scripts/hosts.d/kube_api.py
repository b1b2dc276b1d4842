#!/usr/bin/env python3
"""The parts of a Kubernetes API server and kubelet that a real kubectl needs to run a command in a pod.

    kube_api.py PORT POD=CONTAINER...

A pod is a docker container. `done` is one that has completed; nothing is allowed in the namespace `locked`. Commands
travel as since Kubernetes 1.31, by websockets (v5.channel.k8s.io).
"""

import base64
import hashlib
import http.server
import json
import struct
import subprocess
import sys
import threading
import urllib.parse

PODS = dict(word.split("=", 1) for word in sys.argv[2:])

# The channels of the protocol, which are the first byte of a payload, and the opcodes of a websocket.
STDIN, STDOUT, STDERR, STATUS, CLOSE = 0, 1, 2, 3, 255
TEXT, BINARY, BYE, PING, PONG = 1, 2, 8, 9, 10


def status(code, reason, message, **more):
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
            "reason": reason, "message": message, **more}


def pod(name):
    phase = "Succeeded" if name == "done" else "Running"
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": [{"name": "main", "image": "busybox"}]}, "status": {"phase": phase}}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, code, what):
        body = json.dumps(what).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        resources = [{"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get", "create"]}
                     for name, kind in [("pods", "Pod"), ("pods/exec", "PodExecOptions")]]
        fixed = {
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": resources},
        }
        if url.path in fixed:
            return self.answer(200, fixed[url.path])
        match url.path.strip("/").split("/"):
            case ["api", "v1", "namespaces", "locked", "pods", name, *_]:
                text = f'pods "{name}" is forbidden: User "u" cannot get resource "pods" in API group "" in the namespace "locked"'
                self.answer(403, status(403, "Forbidden", text))
            case ["api", "v1", "namespaces", _, "pods", name, *_] if name not in PODS:
                text = f'pods "{name}" not found'
                self.answer(404, status(404, "NotFound", text, details={"name": name, "kind": "pods"}))
            case ["api", "v1", "namespaces", _, "pods", name]:
                self.answer(200, pod(name))
            case ["api", "v1", "namespaces", _, "pods", name, "exec"]:
                if self.headers.get("Upgrade", "").lower() != "websocket":
                    return self.answer(400, status(400, "BadRequest", "this takes a kubectl that speaks websockets"))
                self.execute(PODS[name], urllib.parse.parse_qs(url.query)["command"])
            case _:
                self.answer(404, status(404, "NotFound", "there is nothing here"))

    do_POST = do_GET

    def execute(self, container, command):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.send_header("Sec-WebSocket-Protocol", "v5.channel.k8s.io")
        self.end_headers()
        self.close_connection = True
        self.lock = threading.Lock()
        process = subprocess.Popen(["docker", "exec", "-i", container, *command], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        outputs = [threading.Thread(target=self.copy, args=pair)
                   for pair in [(STDOUT, process.stdout), (STDERR, process.stderr)]]
        reader = threading.Thread(target=self.feed, args=(process.stdin,), daemon=True)
        for thread in [*outputs, reader]:
            thread.start()
        for thread in outputs:
            thread.join()
        code = process.wait()
        end = {"metadata": {}, "status": "Success"}
        if code:
            cause = {"reason": "ExitCode", "message": str(code)}
            text = f"command terminated with non-zero exit code: exit status {code}"
            end = status(500, "NonZeroExitCode", text, details={"causes": [cause]})
        self.send(BINARY, bytes([STATUS]) + json.dumps(end).encode())
        self.send(BYE, struct.pack(">H", 1000))

    def copy(self, channel, output):
        while data := output.read1(32768):
            self.send(BINARY, bytes([channel]) + data)

    def feed(self, stdin):
        """Passes the client's input, and its end, to the command."""
        try:
            while (message := self.receive())[0] != BYE:
                kind, data = message
                if kind == PING:
                    self.send(PONG, data)
                elif kind in (TEXT, BINARY) and data and data[0] == STDIN:
                    stdin.write(data[1:])
                    stdin.flush()
                elif kind in (TEXT, BINARY) and data == bytes([CLOSE, STDIN]):
                    break
        except (OSError, struct.error, ValueError):
            pass
        try:
            stdin.close()
        except OSError:
            pass

    def receive(self):
        first, length = struct.unpack(">BB", self.rfile.read(2))
        length &= 127
        if length == 126:
            length, = struct.unpack(">H", self.rfile.read(2))
        elif length == 127:
            length, = struct.unpack(">Q", self.rfile.read(8))
        mask = self.rfile.read(4)
        data = self.rfile.read(length)
        if len(data) < length:
            raise OSError("the client has gone")
        # All at once, as numbers.
        mask = (mask * (length // 4 + 1))[:length]
        return first & 15, (int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")).to_bytes(length, "big")

    def send(self, kind, data):
        length = len(data)
        if length < 126:
            head = struct.pack(">BB", 0x80 | kind, length)
        elif length < 65536:
            head = struct.pack(">BBH", 0x80 | kind, 126, length)
        else:
            head = struct.pack(">BBQ", 0x80 | kind, 127, length)
        try:
            with self.lock:
                self.wfile.write(head + data)
        except OSError:
            pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()

"""A server for the test client's tests, of the standard library only: answers with what it was asked.

Its options make it behave as servers under test do: badly, too.
"""

import argparse
import json
import signal
import ssl
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Echo(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def answer(self) -> None:
        name = 'at_' + self.path.partition('?')[0].strip('/').replace('/', '_').replace('.', '_')
        getattr(self, name, self.at_echo)()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = answer

    def body(self) -> bytes:
        if self.headers.get('Transfer-Encoding') == 'chunked':
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b''.join(chunks)
        return self.rfile.read(int(self.headers.get('Content-Length', 0)))

    def reply(self, status: int, content: bytes, media: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header('Content-Type', media)
        self.send_header('Content-Length', str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace('_', '-'), value)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(content)

    def at_echo(self) -> None:
        asked = {
            'method': self.command,
            'path': self.path,
            'headers': {name.lower(): value for name, value in self.headers.items()},
            'body': self.body().decode('latin-1'),
        }
        self.reply(200, json.dumps(asked).encode(), 'application/json')

    def at_argv(self) -> None:
        self.reply(200, json.dumps(sys.argv[1:]).encode(), 'application/json')

    def at_text(self) -> None:
        self.reply(200, 'grüß dich'.encode(), 'text/plain; charset=utf-8')

    def at_problem(self) -> None:
        self.reply(418, b'{"code": 41800}', 'application/problem+json')

    def at_broken(self) -> None:
        self.reply(200, b'{"code": ', 'application/json')

    def at_moved(self) -> None:
        self.reply(301, b'', 'text/plain', Location='/text')

    def at_login(self) -> None:
        self.reply(200, b'', 'text/plain', Set_Cookie='user=hans; Path=/')

    def at_slow(self) -> None:
        time.sleep(1)
        self.reply(200, b'late', 'text/plain')

    def log_message(self, format: str, *arguments: object) -> None:
        print('asked', self.path, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--port', type=int, required=True)
    parser.add_argument('--devel', action='store_true')
    parser.add_argument('--bare-flag', action='store_true')
    parser.add_argument('--some-name')
    parser.add_argument('--exit', type=int, help='end at once with this status')
    parser.add_argument('--never', action='store_true', help='never open the port')
    parser.add_argument('--stubborn', action='store_true', help='ignore SIGTERM')
    parser.add_argument('--child', action='store_true', help='start a process that outlives this one')
    parser.add_argument('--certificate', help='PEM file with certificate and key: serve https')
    options = parser.parse_args()
    print('starting')
    if options.child:
        child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep (600)'])
        print(f'child={child.pid};')
    if options.exit is not None:
        sys.exit(options.exit)
    if options.never:
        time.sleep(600)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if options.stubborn else lambda *_: sys.exit('terminated'))
    server = ThreadingHTTPServer(('127.0.0.1', options.port), Echo)
    server.daemon_threads = True
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == '__main__':
    main()

"""Certificates made for a test, and a TLS server before any plain one that does what servers do and
what they should not."""

import datetime
import ipaddress
import select
import socket
import ssl
import threading
import warnings

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CHUNK = 65536
RANDOM = slice(11, 43)          # of a ClientHello with its record's header
DAY = datetime.timedelta(days=1)


class Authority:
    """A CA. issue() gives (certificate, key) as paths of PEM files in its directory."""

    def __init__(self, directory, name="Test CA"):
        self.dir, self.count = directory, 0
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = self._write("ca", self._certificate(self.name, self.key.public_key(),
                                                        -DAY, 3 * DAY, [], True))

    def _certificate(self, subject, public, since, until, names, is_ca):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name)
                   .public_key(public).serial_number(x509.random_serial_number())
                   .not_valid_before(now + since).not_valid_after(now + until)
                   .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), True))
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        return builder.sign(self.key, hashes.SHA256())

    def _write(self, name, what):
        path = self.dir / f"{id(self)}-{self.count}-{name}.pem"
        if isinstance(what, x509.Certificate):
            data = what.public_bytes(serialization.Encoding.PEM)
        else:
            data = what.private_bytes(serialization.Encoding.PEM,
                                      serialization.PrivateFormat.PKCS8,
                                      serialization.NoEncryption())
        path.write_bytes(data)
        return path

    def issue(self, *names, since=-DAY, until=2 * DAY):
        """Names are of hosts, or addresses."""
        self.count += 1
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        cert = self._certificate(subject, key.public_key(), since, until,
                                 [_general(n) for n in names], False)
        return self._write("cert", cert), self._write("key", key)

    def own(self):
        """The CA's certificate and key themselves: one that is self-signed."""
        return self.path, self._write("ca-key", self.key)


def _general(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Cut:
    """What happens to the answers to GETs of a key: so many bytes of the body (None: all), then the
    end of the connection, with close_notify or without; no_length: the answer has no
    Content-Length. `left`: how many answers yet."""

    def __init__(self, key, after=None, no_length=False, notify=False, times=1):
        self.key, self.after, self.no_length = key.encode(), after, no_length
        self.notify, self.left, self.met = notify, times, 0


class Handshake:
    """One that was completed, or not: `error`."""

    def __init__(self, random):
        self.random, self.error = random, None
        self.resumed = self.version = self.alpn = self.subject = self.cipher = None


class TlsFront:
    """Listens on 127.0.0.1 and passes on to a plain server's port. `handshakes` holds each, `cut`
    is a Cut or None. `refusal`: the answer to each PUT when its head has come; then the connection
    is closed, with a reset if more has come."""

    def __init__(self, upstream, cert, key, versions=("TLSv1_2", "TLSv1_3"), alpn=(),
                 client_ca=None):
        self.upstream, self.cut, self.refusal, self.handshakes = upstream, None, None, []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)
        if versions[0] in ("TLSv1", "TLSv1_1"):
            self.context.set_ciphers("DEFAULT@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)     # old ones are the point
            self.context.minimum_version = ssl.TLSVersion[versions[0]]
            self.context.maximum_version = ssl.TLSVersion[versions[-1]]
        if alpn:
            self.context.set_alpn_protocols(list(alpn))
        if client_ca:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(client_ca)
        self.lock, self.open, self.threads, self.error = threading.Lock(), set(), [], None
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.socket.getsockname()[1]
        self._start(self._accept)

    def endpoint(self, host="127.0.0.1"):
        return f"https://{host}:{self.port}"

    def _start(self, function, *args):
        thread = threading.Thread(target=function, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                plain, _ = self.socket.accept()
            except OSError:
                return                      # closed
            self._start(self._serve, plain)

    def _serve(self, plain):
        try:
            with plain:
                self._handle(plain)
        except Exception as e:              # told by close(): a test must not miss it
            self.error = e

    def _handle(self, plain):
        plain.settimeout(30)
        hello = b""
        while len(hello) < RANDOM.stop:
            more = plain.recv(RANDOM.stop, socket.MSG_PEEK)
            if not more:
                return
            hello = more
        shake = Handshake(hello[RANDOM])
        with self.lock:
            self.handshakes.append(shake)
        try:
            client = self.context.wrap_socket(plain, server_side=True,
                                              suppress_ragged_eofs=True)
        except (OSError, ssl.SSLError) as e:
            shake.error = str(e)
            return
        shake.resumed, shake.version = client.session_reused, client.version()
        shake.alpn, shake.cipher = client.selected_alpn_protocol(), client.cipher()[0]
        shake.subject = (client.getpeercert() or {}).get("subject")
        with client, socket.create_connection(("127.0.0.1", self.upstream)) as server:
            with self.lock:
                self.open.add(client)
            try:
                _Connection(self, client, server).run()
            except (OSError, ssl.SSLError):
                pass                        # either side went away
            finally:
                with self.lock:
                    self.open.discard(client)

    def take_cut(self, line):
        with self.lock:
            cut = self.cut
            if not cut or cut.left == 0 or not line.startswith(b"GET ") or cut.key not in line:
                return None
            cut.left -= 1
            cut.met += 1
            return cut

    def full_handshakes(self):
        return [h for h in self.handshakes if not h.error and not h.resumed]

    def drop_connections(self):
        """All of them, without a word."""
        with self.lock:
            for client in self.open:
                try:
                    client.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.drop_connections()
        for thread in self.threads:
            thread.join(30)
        if self.error:
            raise self.error


class _Connection:
    """Requests and answers of one connection, and what a Cut does to an answer."""

    def __init__(self, front, client, server):
        self.front, self.client, self.server = front, client, server
        self.cut = None
        self.head = b""                     # of the answer that is cut, until it is whole
        self.left = None                    # bytes of it that are still passed on

    def run(self):
        while True:
            ready = [self.client] if self.client.pending() else \
                select.select([self.client, self.server], [], [], 60)[0]
            if not ready:
                return
            if self.client in ready:
                data = self.client.recv(CHUNK)
                if not data:
                    return
                if self.front.refusal and data.startswith(b"PUT "):
                    self.client.sendall(self.front.refusal)
                    return
                self.cut = self.front.take_cut(data.split(b"\r\n")[0]) or self.cut
                self.server.sendall(data)
            if self.server in ready and not self._answer(self.server.recv(CHUNK)):
                return

    def _answer(self, data):
        """False: the connection ends."""
        if not data:
            return False
        if not self.cut:
            self.client.sendall(data)
            return True
        if self.left is None:
            self.head += data
            if b"\r\n\r\n" not in self.head:
                return True
            data = self._edit_head()
        piece, self.left = data[:self.left], self.left - len(data)
        self.client.sendall(piece)
        if self.left > 0:
            return True
        if self.cut.notify:
            self.client.unwrap()
        return False

    def _edit_head(self):
        """Passes the head on; the rest is body."""
        head, _, body = self.head.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        length = next(int(x.split(b":")[1]) for x in lines
                      if x.lower().startswith(b"content-length:"))
        if self.cut.no_length:
            lines = [x for x in lines if not x.lower().startswith((b"content-length:",
                                                                   b"connection:"))]
            lines.append(b"Connection: close")
        self.client.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        self.left = length if self.cut.after is None else min(self.cut.after, length)
        return body

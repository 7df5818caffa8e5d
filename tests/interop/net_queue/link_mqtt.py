"""mqtt: server and clients are clients of one broker; their client ids are their UUIDs.

    c2s/<client>   from a client to the server
    s2c/<client>   from the server to it

QoS 0, not retained; each publish has the next piece of the byte stream."""

import paho.mqtt.client as mqtt

from link import Link


def new_client(name):
    version = getattr(mqtt, "CallbackAPIVersion", None)  # paho 2 asks for it
    args = [version.VERSION1] if version else []
    return mqtt.Client(*args, client_id=name, clean_session=True, protocol=mqtt.MQTTv311)


class Connection:
    """To the broker, in the loop.  `ready` is called when `topic` is subscribed, `arrived(topic,
    piece)` for each publish, `gone(why)` at the end, `writable` when it takes more."""

    def __init__(self, loop, spec, name, topic, owner):
        self.loop, self.topic, self.owner = loop, topic, owner
        self.hearing, self.file = True, None
        self.paho = new_client(name)
        self.paho.on_socket_open = self.on_open
        self.paho.on_socket_close = self.on_close
        self.paho.on_socket_register_write = self.on_want_write
        self.paho.on_socket_unregister_write = self.on_written
        self.paho.on_connect = lambda *_: self.paho.subscribe(topic, 0)
        self.paho.on_subscribe = lambda *_: owner.ready()
        self.paho.on_message = lambda _, __, message: owner.arrived(message.topic, message.payload)
        self.paho.on_disconnect = lambda _, __, code: owner.gone(f"broker: {code}")
        loop.call_soon(self.connect, spec)

    def connect(self, spec):
        try:
            self.paho.connect(spec["host"], spec["port"], keepalive=0)
        except OSError as error:
            self.owner.gone(repr(error))

    def on_open(self, _, __, sock):
        self.file = sock
        self.loop.add_reader(sock, self.paho.loop_read)

    def on_close(self, _, __, sock):
        self.file = None
        self.loop.remove_reader(sock)
        self.loop.remove_writer(sock)

    def on_want_write(self, _, __, sock):
        self.loop.add_writer(sock, self.write)

    def on_written(self, _, __, sock):
        self.loop.remove_writer(sock)

    def write(self):
        self.paho.loop_write()
        if not self.is_full():
            self.owner.writable()

    def is_full(self):
        return self.file is None or self.paho.want_write()

    def publish(self, topic, piece):
        self.paho.publish(topic, piece, 0)

    def hear(self, hearing):
        if self.file and hearing:
            self.loop.add_reader(self.file, self.paho.loop_read)
        elif self.file:
            self.loop.remove_reader(self.file)

    def end(self):
        self.paho.disconnect()

    def drop(self):
        """The broker learns nothing but that the socket has ended."""
        if self.file:
            self.hear(True)
            self.file.shutdown(2)


class MqttLink(Link):
    """What goes to one topic."""

    def __init__(self, end, session, owner, topic):
        super().__init__(end, session)
        self.owner, self.topic = owner, topic

    def is_full(self):
        return self.owner.connection.is_full()

    def write(self, piece):
        self.owner.connection.publish(self.topic, piece)

    def hear(self, hearing):
        self.owner.connection.hear(hearing)

    def finish(self):
        self.owner.finished(self)

    def drop(self, _):
        self.owner.connection.drop()


class Client:
    def __init__(self, end, loop, spec):
        self.link = MqttLink(end, end.new_session(), self, f"c2s/{end.own.hex()}")
        self.connection = Connection(loop, spec, end.own.hex(), f"s2c/{end.own.hex()}", self)

    def ready(self):
        self.link.opened()

    def arrived(self, _, piece):
        self.link.end.received(self.link, piece)

    def writable(self):
        self.link.pump()

    def gone(self, why):
        self.link.lost(why)

    def finished(self, link):
        self.connection.end()
        link.lost("end")


class Server:
    """A link begins with the first piece of a client, and ends with the fins."""

    def __init__(self, end, loop, spec):
        self.end, self.links, self.is_stopped = end, {}, False
        self.port = spec["port"]
        self.connection = Connection(loop, spec, end.own.hex(), "c2s/+", self)

    def ready(self):
        self.end.listening(self.port)

    def arrived(self, topic, piece):
        name = topic.partition("/")[2]
        link = self.links.get(name)
        if not link:
            if self.is_stopped:
                return
            link = MqttLink(self.end, self.end.new_session(), self, f"s2c/{name}")
            self.links[name] = link
            link.opened()
        self.end.received(link, piece)

    def writable(self):
        for link in list(self.links.values()):
            link.pump()

    def gone(self, why):
        for link in list(self.links.values()):
            self.finished(link, why)
        if not self.is_stopped:
            self.end.failed(why)

    def finished(self, link, why="end"):
        self.links.pop(link.topic.partition("/")[2], None)
        link.lost(why)
        self.end_if_over()

    def stop(self):
        self.is_stopped = True
        self.end_if_over()

    def end_if_over(self):
        if self.is_stopped and not self.links:
            self.connection.end()

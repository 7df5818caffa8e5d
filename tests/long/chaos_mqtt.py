"""What the chaos test needs for MQTT: publishes that get lost on their way."""

import random
import time

import mqtt


def sieve(drop):
    """Of publishes at QoS 0, those are lost of which `drop()` says so."""
    return mqtt.Sieve(lambda packet: mqtt.is_unanswered_publish(packet) and drop())


class Loss:
    """Which publishes of a connection are lost: one after another, mostly so far apart that what is
    lost is data (a client whose links worked for less than a second pauses ever longer), sometimes
    the next one, which is a part of the greeting.  `on_loss()` may say no."""

    def __init__(self, rng, on_loss):
        self.rng, self.on_loss = rng, on_loss
        self.next_at = 0
        self.plan()

    def plan(self):
        quick = self.rng.random() < 0.1
        self.next_at = time.monotonic() + (0 if quick else 1.05 + self.rng.random())

    def drop(self):
        if time.monotonic() < self.next_at:
            return False
        self.plan()
        return self.on_loss()


def blind_spots():
    """Streams of packets that a sieve takes apart wrongly, as lines for people."""
    rng = random.Random(1)
    found = []
    publish = [b"\x30" + bytes([200, 1]) + bytes(200), b"\x30\x02ab"]
    others = [b"\x10\x05MQTT5", b"\x32\x03abc", b"\xc0\x00", b"\x90\x80\x80\x01" + bytes(16384)]
    for _ in range(100):
        packets = [rng.choice(publish + others) for _ in range(20)]
        stream = b"".join(packets)
        through, out = sieve(lambda: True), b""
        while stream:
            n = rng.randrange(1, 300)
            out += through.feed(stream[:n])
            stream = stream[n:]
        if out != b"".join(p for p in packets if p in others):
            found.append(f"a stream of {len(packets)} packets came out wrong")
    return found

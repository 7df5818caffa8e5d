"""What goes wrong on this wire, as scripts: lists of steps that one link takes one after another.

    "ini" "fin"          a frame with our UUID, whichever of them the receiver takes it for
    "theirs"             a frame with the receiver's UUID
    ["data", spec]       a frame with a payload, see payload.py
    ["head", n]          an announced length, and nothing of the payload
    ["raw", spec]        bytes that are no frame
    ["lose", n]          the next n pieces of the stream are lost on their way
    ["cut", n, how]      when n more bytes have left the connection is lost: "end", "half" (we go on
                         reading), "reset"; or is silent: null
    ["drop", how]        the same behind what waits, but "reset" at once
    ["deaf", true]       nothing is read any more
    ["hold", true]       a grpc client's calls are not half-closed any more
    ["wait", kind]       for an event: "ini", "data", "fin", or "any" bytes

A link that was opened with "fault": NAME, or "script": [...], says nothing of its own."""

HELLO = ["data", {"text": "hello"}]
AFTER = ["data", {"text": "after"}]

EXECUTES = b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R."

FAULTS = {
    "silence": [],
    # W1, W6: nothing tells a payload from a fin, and nothing is said behind a fin
    "own-uuid-as-data": ["ini", HELLO, "fin", AFTER],
    "fin-twice": ["ini", "fin", "fin"],
    "data-after-fin": ["ini", HELLO, "fin", AFTER, AFTER],
    # W2: the first frame of 16 bytes is the ini
    "data-before-ini": [HELLO, "ini", AFTER],
    "no-ini": [HELLO, AFTER],
    "second-ini-of-another": ["ini", ["data", {"hex": "00112233445566778899aabbccddeeff"}], HELLO],
    # W3, W11: whose UUID it is; mqtt has one in the topic as well
    "ini-of-another": [["data", {"hex": "00112233445566778899aabbccddeeff"}], HELLO],
    "ini-of-the-receiver": [["wait", "ini"], "theirs", HELLO],
    # W4: an end without fin
    "end-without-ini": [["drop", "end"]],
    "end-in-ini": ["ini", ["cut", 10, "end"]],
    "end-without-fin": ["ini", HELLO, ["drop", "end"]],
    "half-end-without-fin": ["ini", HELLO, ["drop", "half"]],
    "reset-without-fin": ["ini", HELLO, ["wait", "any"], ["drop", "reset"]],
    "end-in-head": ["ini", HELLO, ["raw", {"hex": "000000"}], ["drop", "end"]],
    "end-in-payload": ["ini", ["head", 1000], ["raw", {"text": "part"}], ["drop", "end"]],
    "never-fin": ["ini", HELLO],
    "never-reads": ["ini", ["deaf", True]],
    # W7: a length is no promise
    "length-of-1-tib": ["ini", ["head", 1 << 40], ["raw", {"noise": [4096, 1]}]],
    "length-of-all-ones": ["ini", ["head", (1 << 64) - 1], ["raw", {"noise": [4096, 1]}]],
    "length-with-high-bit": ["ini", ["head", 1 << 63]],
    "length-of-1-tib-first": [["head", 1 << 40], ["raw", {"noise": [4096, 1]}]],
    "length-of-17-first": [["data", {"noise": [17, 1]}]],
    # W9: bytes out of step; the next head is found in the midst of a payload
    "shifted-by-one": ["ini", ["raw", {"hex": "00"}], HELLO, AFTER],
    "half-head-and-silence": ["ini", ["raw", {"hex": "00000000"}]],
    "half-ini-and-silence": ["ini", ["cut", 20, None]],
    "half-frame-and-silence": ["ini", ["head", 1000], ["raw", {"text": "part"}]],
    # W12: a pickle that calls os.system
    "pickle-that-executes": ["ini", ["data", {"hex": EXECUTES.hex()}]],
    # W13, and what other ports say
    "tls-hello": [["raw", {"hex": "1603010200010001fc0303"}]],
    "http": [["raw", {"text": "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"}]],
    # grpc: others wait while a call is held open
    "held-call": ["ini", ["hold", True]],
}

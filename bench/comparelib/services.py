"""What programs need while they run: certificates, a broker, iceoryx's daemon."""
import contextlib
import pathlib
import shutil
import subprocess
import sys
import time

from comparelib.job import KIB, MIB
from comparelib.programs import TREE, has_transport

sys.path.append(str(TREE / "tests/support"))

# pylint: disable=wrong-import-position
import mqtt  # noqa: E402

POOLS = [(128, 4096), (8 * KIB, 1024), (128 * KIB, 1024), (2 * MIB, 64), (8 * MIB, 32)]


def make_certs(folder):
    """A certificate that signed itself, for both sides; False: there is no openssl command."""
    command = shutil.which("openssl")
    if not command:
        return False
    subprocess.run([command, "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=bench",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{folder}/key.pem",
                    "-out", f"{folder}/cert.pem"], stderr=subprocess.DEVNULL, check=True)
    shutil.copy(f"{folder}/cert.pem", f"{folder}/ca.pem")
    return True


def broker_for(netqueue, absent):
    """A broker while the `with` block runs; None there: mqtt is not measured, `absent` says why."""
    if not has_transport(netqueue, "mqtt"):
        absent["transport mqtt"] = "not built"
        return contextlib.nullcontext()
    if not mqtt.mosquitto():
        absent["transport mqtt"] = "mosquitto is not installed"
        return contextlib.nullcontext()
    return mqtt.Broker()


def is_ready(daemon, log):
    """The daemon says that clients may come; False: it ended, or says nothing for ten seconds."""
    until = time.monotonic() + 10
    while daemon.poll() is None and time.monotonic() < until:
        if "ready" in log.read_text(errors="replace"):
            return True
        time.sleep(0.05)
    return False


@contextlib.contextmanager
def roudi(folder, programs, absent):
    """iceoryx's daemon, if it is to be measured, while the `with` block runs: chunks of all sizes.
    Where it does not start (it wants 600 MiB in /dev/shm) iceoryx is taken out of `programs`.
    Gives the process, or None."""
    command, log = shutil.which("iox-roudi"), pathlib.Path(folder) / "roudi.log"
    if "iceoryx" not in programs or not command:
        if programs.pop("iceoryx", None):
            absent["iceoryx"] = "its daemon iox-roudi is not installed"
        yield None
        return
    conf = pathlib.Path(folder) / "roudi.toml"
    conf.write_text("[general]\nversion = 1\n[[segment]]\n" + "".join(
        f"[[segment.mempool]]\nsize = {size}\ncount = {count}\n" for size, count in POOLS),
        encoding="ascii")
    with open(log, "wb") as out, subprocess.Popen(
            [command, "-m", "off", "-c", str(conf)], stdout=out, stderr=out) as daemon:
        try:
            if not is_ready(daemon, log):
                del programs["iceoryx"]
                said = " ".join(log.read_text(errors="replace").split())[-300:]
                absent["iceoryx"] = f"its daemon does not start: {said}"
            yield daemon
        finally:
            daemon.terminate()

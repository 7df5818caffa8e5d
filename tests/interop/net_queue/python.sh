# shellcheck shell=sh
# A Python that has the modules of both transports, if there is one: the answer is in $python.  That of
# the distribution has its packages, another may come first in the path.

python=
for candidate in python3 /usr/bin/python3; do
    command -v "$candidate" >/dev/null || continue
    : "${python:=$candidate}"
    if "$candidate" -c 'import grpc, paho.mqtt.client' 2>/dev/null; then
        python=$candidate
        break
    fi
done
